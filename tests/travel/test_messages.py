"""What travels arrives as it was sent, or is refused in words: whatever the bytes are, nothing else comes of them."""

from __future__ import annotations

import hashlib
import json
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmill.travel import messages
from pixelmill.travel.messages import Message, MessageRefused, decode, encode
from pixelmill.version import VERSION
from tests.support.fuzz import lied, mutated

MAGIC = b"pixelmill message\n"
HEADER = {"files": [["/photos", "a\udce9.jpg", 1, 2**63 - 1, -1]], "text": "ü", "none": None}
ARRAYS = {
    "values": np.arange(12, dtype="<f4").reshape(3, 4), "none": np.empty((0, 32), np.uint8),
    "one": np.array(7, "<i8"), "every second": np.arange(20, dtype="<u8")[::2],
}  # fmt: skip
SENT = Message("rows", "store-1", 3, HEADER, ARRAYS)
DATA = encode(SENT)


def sealed(said: Any, body: bytes = b"") -> bytes:
    """A message by another hand: with any header, and a checksum that is right."""
    header = said if isinstance(said, bytes) else zlib.compress(json.dumps(said).encode())
    rest = len(header).to_bytes(8, "little") + header + body
    return MAGIC + hashlib.sha256(rest).digest() + rest


def header(data: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(zlib.decompressobj().decompress(data[len(MAGIC) + 40 :]))
    return said


def body(data: bytes) -> bytes:
    start = len(MAGIC) + 40
    return data[start + int.from_bytes(data[start - 8 : start], "little") :]


def test_what_was_sent_arrives() -> None:
    """Header and arrays are the same, names of files that are no UTF-8 and arrays without elements too."""
    got = decode(DATA, "rows", store_id="store-1")
    assert (got.kind, got.store_id, got.run, got.header) == ("rows", "store-1", 3, HEADER)
    assert got.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert got.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(got.arrays[name], array)


def test_the_layout_is_what_it_says() -> None:
    """Magic, sha256, length, deflated JSON, bytes of the arrays: read without the library."""
    assert header(DATA)["header"] == HEADER
    assert body(DATA)[: 12 * 4] == ARRAYS["values"].tobytes()
    assert len(encode(Message("rows", "store-1", 3, {"paths": ["/photos/2026"] * 10_000}))) < 2000


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begins otherwise.*Remove it"),
        (b"<html>", "begins otherwise"),
        (DATA[:-1], "damaged or cut off.*again"),
        (DATA[:30], "damaged or cut off"),
        (MAGIC, "damaged or cut off"),
        (DATA[:100] + b"!" + DATA[101:], "damaged or cut off"),
        (encode(Message("shard", "store-1", 3, {})), "kind 'rows'. Got 'shard'"),
        (encode(Message("rows", "store-2", 3, {})), "store store-1. It is of store 'store-2'"),
        (sealed(header(DATA) | {"version": "9.9.9"}, body(DATA)), f"Pixelmill {VERSION}. Version '9.9.9' wrote it. Inst"),
        (sealed({"format": 2, "version": "2.0"}), "Version '2.0' wrote it"),
        (sealed(header(DATA), body(DATA)[:-1]), "not in it"),
        (sealed(header(DATA), body(DATA) + b"!"), "1 bytes of it are no array"),
        (sealed(header(DATA) | {"run": "3"}, body(DATA)), "valid integer"),
        (sealed(header(DATA) | {"arrays": {"a": ["|O", [1]]}}, bytes(8)), "array 'a' is not in it"),
        (sealed(header(DATA) | {"arrays": {"a": ["<f4", [-1, -1]]}}, bytes(4)), "greater than"),
        (sealed(header(DATA) | {"arrays": {"a": ["<f4", [0, 2**70]]}}), "cannot have written"),
        (sealed(header(DATA) | {"arrays": {"a": ["<f4", [1] * 100]}}, bytes(4)), "cannot have written"),
        (sealed([]), "no object"),
        (sealed(zlib.compress(b"[" * 100_000)), "cannot have written"),
        (sealed(zlib.compress(b"9" * 5000)), "cannot have written"),
        (sealed(zlib.compress(b"\xff{}")), "cannot have written"),
        (sealed(zlib.compress(b"{}")[:-1]), "cut off"),
        (sealed(b"no deflate"), "cannot have written"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(data: bytes, said: str) -> None:
    """In words that name what was expected and what to do."""
    with pytest.raises(MessageRefused, match=said) as refused:
        decode(data, "rows", store_id="store-1")
    assert str(refused.value).startswith("Expected ")
    assert len(str(refused.value)) < 400


def test_a_header_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that would fill the memory are refused before they do, and none such is sent."""
    monkeypatch.setattr(messages, "_LARGEST", 1000)
    with pytest.raises(MessageRefused, match="too long"):
        decode(sealed(zlib.compress(b" " * 10_000 + b"{}")), "rows")
    with pytest.raises(ValueError, match="shard_size smaller"):
        encode(Message("rows", "s", 1, {"a": "x" * 1000}))


def test_other_arrays_are_not_sent() -> None:
    """What could not be read again is a mistake of whoever sends it."""
    for dtype in (">f4", "<f2", "|O", "<U3"):
        with pytest.raises(TypeError, match="Expected an array of"):
            encode(Message("rows", "s", 1, {}, {"a": np.zeros(3, dtype)}))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Nothing but a refusal comes of bytes that nobody sent, sealed or not."""
    for made in (data, MAGIC + data, sealed(data), sealed(zlib.compress(data))):
        with pytest.raises(MessageRefused):
            decode(made, "rows")


@pytest.mark.parametrize("change", [
    lambda rng: mutated(rng, DATA, encode(Message("shard", "store-2", 1, {}))),
    lambda rng: sealed(lied(rng, lied(rng, header(DATA))), body(DATA)),
    lambda rng: sealed(zlib.compress(mutated(rng, json.dumps(header(DATA)).encode(), b"[{")), body(DATA)),
])  # fmt: skip
def test_what_was_changed_on_the_way(change: Callable[[random.Random], bytes]) -> None:
    """A message with some of it wrong is refused, or one that could have been sent; also where its checksum is right."""
    for seed in range(300):
        with suppress(MessageRefused):
            got = decode(change(random.Random(seed)), "rows")
            assert isinstance(got.run, int)
            assert all(isinstance(array, np.ndarray) for array in got.arrays.values())
