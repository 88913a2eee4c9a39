"""What a worker is told to do comes out as it went in, and what cannot be true is refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill.sources.found import FoundFile
from pixelmill.travel.messages import Message, MessageRefused, decode, encode
from pixelmill.travel.shard_order import (
    PREFIX_BYTES,
    ShardOrder,
    has_prefix,
    offset_of,
    prefixes_in,
    prefixes_message,
    prefixes_of,
)

MOST = 2**63 - 1
MATRICES = ("a" * 64, "b" * 64, "c" * 64)
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name).map(os.fsdecode)
TIMES = st.integers(-MOST, MOST)
FILES = st.builds(FoundFile, st.sampled_from(["/photos", "/p\udcff", "s3://bucket/a.tar"]), NAMES, st.integers(0, MOST), TIMES, TIMES)  # fmt: skip
DIGESTS = st.binary(min_size=32, max_size=32)


def sha256(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def order(contents: int = 3) -> ShardOrder:
    """The first content lacks nothing, the second the last matrix, the third the first two, and so on."""
    lacking = [frozenset(m for j, m in enumerate(MATRICES) if i * 4 % 7 >> j & 1) for i in range(contents)]
    files = (FoundFile("/photos", "a/1.jpg", 10, 1, -1), FoundFile("/more.zip", "b.png", 0, 0, MOST))
    return ShardOrder("the store", 7, 3, MATRICES, files, dict(zip(map(sha256, range(contents)), lacking, strict=True)))


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(FILES, max_size=5),
    contents=st.dictionaries(DIGESTS, st.frozensets(st.sampled_from(MATRICES)), max_size=5),
    number=st.integers(0, MOST), run=st.integers(0, MOST), offset=st.integers(0, 32 - PREFIX_BYTES),
)  # fmt: skip
def test_an_order_comes_out_as_it_went_in(
    files: list[FoundFile], contents: dict[bytes, frozenset[str]], number: int, run: int, offset: int
) -> None:
    """Names that are no UTF-8, members of archives, times of 63 bits, whatever lacks whatever."""
    sent = ShardOrder("store", run, number, MATRICES, tuple(files), contents, offset)
    came = ShardOrder.of(sent.message(), store_id="store")
    assert came == sent
    assert [file.encoded for file in came.files] == [file.encoded for file in files]


def test_a_listed_content_lacks_what_it_is_listed_with() -> None:
    """Whatever the prefixes say; one that they have lacks nothing; any other lacks everything."""
    contents = np.frombuffer(sha256(1) + sha256(8), np.uint8).reshape(-1, 32)
    for run in range(60):
        asked = replace(order(), run=run, offset=offset_of(run))
        prefixes = prefixes_in(prefixes_message("the store", run, prefixes_of(contents, asked.offset)))
        assert asked.lacking(sha256(1), prefixes) == {MATRICES[2]}
        assert asked.lacking(sha256(8), prefixes) == frozenset()
        assert asked.lacking(sha256(8)) == asked.lacking(sha256(9), prefixes) == set(MATRICES)


def test_prefixes_are_of_the_bytes_of_their_run() -> None:
    """Every eight bytes of the sha256 get their turn, and contents that look alike in one run do not in the next."""
    assert {offset_of(run) for run in range(25)} == set(range(25))
    alike = sha256(1)[:8] + sha256(2)[8:]
    contents = np.frombuffer(sha256(1), np.uint8).reshape(1, 32)
    assert [has_prefix(prefixes_of(contents, o), alike, o) for o in range(25)] == [True] + [False] * 24


@settings(max_examples=30, deadline=None)
@given(known=st.lists(DIGESTS, max_size=20), others=st.lists(DIGESTS, max_size=5), offset=st.integers(0, 24))
def test_prefixes_are_found(known: list[bytes], others: list[bytes], offset: int) -> None:
    """Those of contents that are there, and none of others that begin otherwise."""
    prefixes = prefixes_of(np.frombuffer(b"".join(known), np.uint8).reshape(-1, 32), offset)
    assert all(has_prefix(prefixes, content, offset) for content in known)
    begin = {content[offset : offset + 8] for content in known}
    assert [has_prefix(prefixes, c, offset) for c in others] == [c[offset : offset + 8] in begin for c in others]


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no number": lambda said: said.pop("number"),
    "a number that is none": lambda said: said.update(number="3"),
    "bytes beyond a sha256": lambda said: said.update(offset=25),
    "matrices that are none": lambda said: said.update(fingerprints=[1, 2, 3]),
    "a matrix that is not wanted": lambda said: said.update(lacking=[0, 8, 0]),
    "less than none": lambda said: said.update(lacking=[0, -1, 0]),
    "half of it": lambda said: said.update(lacking=[0, 4]),
    "a root that is not there": lambda said: said["files"][0].__setitem__(0, 2),
    "the root before the first": lambda said: said["files"][0].__setitem__(0, -1),
    "no name": lambda said: said["files"][0].__setitem__(1, ""),
    "a name that ends early": lambda said: said["files"][0].__setitem__(1, "a\0b"),
    "a name of no file system": lambda said: said["files"][0].__setitem__(1, "\ud800"),
    "a name that is none": lambda said: said["files"][0].__setitem__(1, 5),
    "a size below none": lambda said: said["files"][0].__setitem__(2, -1),
    "a size beyond all": lambda said: said["files"][0].__setitem__(2, 2**63),
    "a time beyond all": lambda said: said["files"][0].__setitem__(3, -(2**63)),
    "a time that is none": lambda said: said["files"][0].__setitem__(4, 1.5),
    "a file without times": lambda said: said["files"][0].pop(),
    "files that are none": lambda said: said.update(files=[1]),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_order_that_cannot_be_true_is_refused(lie: str) -> None:
    """Its checksum is right, what it says is not: a worker is told so, and does nothing."""
    message = decode(order().message(), "shard")
    said = dict(message.header)
    LIES[lie](said)
    with pytest.raises(MessageRefused, match="handed over again"):
        ShardOrder.of(encode(replace(message, header=said)))


@pytest.mark.parametrize(
    "contents", [np.zeros((3, 31), np.uint8), np.zeros(96, np.uint8), np.zeros((3, 32), "<i8"), np.zeros((2, 32), np.uint8)]
)  # fmt: skip
def test_checksums_that_are_none_are_refused(contents: np.ndarray) -> None:
    """Too short, in another shape, of other numbers, or fewer than what lacks something."""
    message = decode(order().message(), "shard")
    with pytest.raises(MessageRefused):
        ShardOrder.of(encode(replace(message, arrays={"contents": contents})))
    with pytest.raises(MessageRefused):
        ShardOrder.of(encode(replace(message, arrays={})))


def test_a_damaged_order_and_one_of_another_store_are_refused() -> None:
    """By name; so are prefixes that are taken for an order."""
    data = order().message()
    with pytest.raises(MessageRefused, match="damaged or cut off"):
        ShardOrder.of(data[:-1])
    with pytest.raises(MessageRefused, match="other"):
        ShardOrder.of(data, store_id="other")
    with pytest.raises(MessageRefused, match="shard"):
        ShardOrder.of(prefixes_message("the store", 7, np.arange(3, dtype=np.uint64)))


def test_prefixes_that_cannot_be_true_are_refused() -> None:
    """Out of order, of another kind, or from other bytes than those of their run."""
    good = decode(prefixes_message("s", 7, np.arange(3, dtype=np.uint64)), "prefixes")
    assert prefixes_in(encode(good)).tolist() == [0, 1, 2]
    wrong = [np.array([2, 1], np.uint64), np.arange(3), np.zeros((2, 2), np.uint64)]
    bad: list[Message] = [replace(good, arrays={"prefixes": array}) for array in wrong]
    for message in (*bad, replace(good, arrays={}), replace(good, run=8), replace(good, header={})):
        with pytest.raises(MessageRefused):
            prefixes_in(encode(message))
