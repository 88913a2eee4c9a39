"""What travels between a run and those who embed for it: a header in JSON and arrays, sealed by a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pixelmill.errors import PixelmillError
from pixelmill.version import VERSION

FORMAT: Final = 1
_MAGIC: Final = b"pixelmill message\n"
_DIGEST: Final = hashlib.sha256().digest_size
_LENGTH: Final = 8
_DTYPES: Final = ("<f4", "<f8", "<i8", "<u8", "|u1")
"""What arrays may be of; each is written in this byte order."""
_LARGEST: Final = 2**30
"""Bytes of a header, which a few deflated ones may claim to be: about 10 million files."""


class MessageRefused(PixelmillError):
    """A message that cannot be used: damaged, cut off, of another store, another version or another kind."""


@dataclass(frozen=True, slots=True)
class Message:
    """`kind` says what it is, `store_id` of which store, `run` of which of its runs; `header` is JSON. Arrays are of
    float32, int64, uint64 or uint8; those of a decoded message cannot be written to."""

    kind: str
    store_id: str
    run: int
    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class _Said(BaseModel):
    """A header as it is written."""

    model_config = ConfigDict(strict=True)

    kind: str
    store_id: str
    run: int
    header: dict[str, Any]
    arrays: dict[str, Annotated[tuple[str, list[Annotated[int, Field(ge=0)]]], Field(strict=False)]]


def encode(message: Message) -> bytes:
    """The bytes of a message: magic, sha256 of all that follows, length of the header, header, arrays one by one."""
    arrays = {name: _plain(array) for name, array in message.arrays.items()}
    said = {
        "format": FORMAT, "version": VERSION, "kind": message.kind, "store_id": message.store_id, "run": message.run,
        "header": message.header, "arrays": {name: [a.dtype.str, a.shape] for name, a in arrays.items()},
    }  # fmt: skip
    text = json.dumps(
        said, default=os.fspath
    ).encode()  # ASCII: bytes of names that are no UTF-8 become escapes of lone surrogates
    if len(text) > _LARGEST:
        raise ValueError(
            f"Expected a header of at most {_LARGEST:,} bytes. Got {len(text):,}: make [run] shard_size smaller."
        )
    header = zlib.compress(text, 1)
    rest: list[Any] = [len(header).to_bytes(_LENGTH, "little"), header, *arrays.values()]
    return b"".join([_MAGIC, _digest(*rest), *rest])


def decode(data: bytes, kind: str, *, store_id: str | None = None) -> Message:
    """The message of a kind in `data`, of a certain store if one is named. Raises MessageRefused."""
    start = len(_MAGIC) + _DIGEST
    if not data.startswith(_MAGIC):
        raise MessageRefused(
            f"Expected a message of Pixelmill ({kind}). What was handed over begins otherwise. Remove it: something "
            "else wrote it."
        )
    rest = memoryview(data)[start:]
    if _digest(rest) != data[len(_MAGIC) : start]:
        raise MessageRefused(
            f"Expected a whole message ({kind}). Its checksum differs: it is damaged or cut off. Have it handed over "
            "again."
        )
    said, body = _opened(rest, kind)
    if said.kind != kind:
        raise MessageRefused(f"Expected a message of kind {kind!r}. Got {said.kind!r:.40}. Hand over that one.")
    if store_id is not None and said.store_id != store_id:
        raise MessageRefused(
            f"Expected a message ({kind}) of store {store_id}. It is of store {said.store_id!r:.40}. Hand it over to "
            "that one's run."
        )
    return Message(kind, said.store_id, said.run, said.header, _arrays(said.arrays, body, kind))


def mentions(data: bytes, digests: Collection[bytes], texts: Collection[str]) -> bool:
    """Whether a message, of whatever kind, has one of these sha256 or texts in it; also if it cannot be read."""
    rest = memoryview(data)[len(_MAGIC) + _DIGEST :]
    length = int.from_bytes(rest[:_LENGTH], "little")
    try:
        header = json.dumps(json.loads(_inflated(rest[_LENGTH : _LENGTH + length])), ensure_ascii=False)
    except (ValueError, zlib.error, RecursionError):
        return True
    body = bytes(rest[_LENGTH + length :])
    return (
        any(digest in body or digest.hex() in header for digest in digests)
        or any(json.dumps(text, ensure_ascii=False)[1:-1] in header for text in texts)
    )  # fmt: skip


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype.str not in _DTYPES:
        raise TypeError(f"Expected an array of {', '.join(_DTYPES)}. Got {array.dtype.str}.")
    return np.asarray(array, order="C")


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _opened(rest: memoryview, kind: str) -> tuple[_Said, memoryview]:
    """The header of what a checksum has vouched for, and what follows it. The checksum is no seal: whoever made the
    message may have been another version, or no friend."""
    length = int.from_bytes(rest[:_LENGTH], "little")
    try:
        said = json.loads(_inflated(rest[_LENGTH : _LENGTH + length]))
        if not isinstance(said, dict):
            raise ValueError("its header is no object")
        written_by = (said.get("format"), said.get("version"))
        if written_by == (FORMAT, VERSION):
            return _Said.model_validate(said), rest[_LENGTH + length :]
    except (ValueError, zlib.error, RecursionError) as error:
        raise _unreadable(kind, error) from error
    raise MessageRefused(
        f"Expected a message ({kind}) of Pixelmill {VERSION}. Version {written_by[1]!r:.20} wrote it. Install the same "
        "version on every machine."
    )


def _inflated(data: memoryview) -> bytes:
    inflate = zlib.decompressobj()
    header = inflate.decompress(data, _LARGEST)
    if not inflate.eof:
        raise ValueError("its header is cut off or too long")
    return header


def _arrays(layouts: Mapping[str, tuple[str, list[int]]], body: memoryview, kind: str) -> dict[str, np.ndarray]:
    arrays, at = {}, 0
    for name, (dtype, shape) in layouts.items():
        size = prod(shape) * np.dtype(dtype).itemsize if dtype in _DTYPES else -1
        if not 0 <= size <= len(body) - at:
            raise _unreadable(kind, f"array {name!r:.80} is not in it")
        try:
            arrays[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape)
        except (ValueError, OverflowError) as error:  # 0 * 2**70, or more than 64 dimensions
            raise _unreadable(kind, error) from error
        at += size
    if at != len(body):
        raise _unreadable(kind, f"{len(body) - at:,} bytes of it are no array")
    return arrays


def _unreadable(kind: str, why: object) -> MessageRefused:
    said = why.errors()[0]["msg"] if isinstance(why, ValidationError) else why
    return MessageRefused(
        f"Expected what Pixelmill {VERSION} writes ({kind}). Got what it cannot have written: {said}. Install the same "
        "version on every machine, and have it handed over again."
    )
