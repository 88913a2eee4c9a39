"""What a worker is to do with one shard: its files, and what the store holds of contents that they may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.travel.files import is_number, packed_files, unpacked_files
from pixelmill.travel.messages import Message, MessageRefused, decode, encode

KIND: Final = "shard"
PREFIXES: Final = "prefixes"
PREFIX_BYTES: Final = 8
_SHA256: Final = 32


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """`fingerprints` are the matrices to fill. `contents` are stored ones that a file of the shard may hold, by sha256,
    with the matrices that lack them; `prefixes` (sorted, uint64) stand for many more that lack nothing: 8 bytes of the
    sha256 from byte `offset` on. `piece` counts what is left of a shard that is done piece by piece."""

    store_id: str
    run: int
    number: int
    fingerprints: tuple[str, ...]
    files: tuple[FoundFile, ...]
    contents: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    offset: int = 0
    piece: int = 0

    @property
    def images(self) -> int:
        """How many images it has."""
        return len(self.files)

    def lacking(self, sha256: bytes, prefixes: np.ndarray | None = None) -> frozenset[str]:
        """The matrices that lack a content: those it is listed with; none, if `prefixes` has it; else all."""
        if (listed := self.contents.get(sha256)) is not None:
            return listed
        if prefixes is not None and has_prefix(prefixes, sha256, self.offset):
            return frozenset()
        return frozenset(self.fingerprints)

    def after(self, taken: int, made: Iterable[tuple[bytes, str]]) -> ShardOrder:
        """What is left of it when its first `taken` files are done, and vectors of some contents were `made`: pairs of
        sha256 and fingerprint. A copy of one of these among the other files lacks nothing more."""
        contents = dict(self.contents)
        for sha256, fingerprint in made:
            contents[sha256] = contents.get(sha256, frozenset(self.fingerprints)) - {fingerprint}
        return replace(self, files=self.files[taken:], contents=contents, piece=self.piece + 1)

    def message(self) -> bytes:
        """The order as it travels."""
        bits = {fingerprint: 1 << i for i, fingerprint in enumerate(self.fingerprints)}
        header: dict[str, Any] = {
            "number": self.number, "piece": self.piece, "fingerprints": self.fingerprints, "offset": self.offset,
            "lacking": [sum(bits[f] for f in lacking) for lacking in self.contents.values()],
            **packed_files(self.files),
        }  # fmt: skip
        digests = np.frombuffer(b"".join(self.contents), np.uint8).reshape(-1, _SHA256)
        return encode(Message(KIND, self.store_id, self.run, header, {"contents": digests}))

    @classmethod
    def of(cls, data: bytes, *, store_id: str | None = None) -> ShardOrder:
        """The order that a message holds, of a certain store if one is named. Raises MessageRefused."""
        message = decode(data, KIND, store_id=store_id)
        try:
            return cls(message.store_id, message.run, **_read(message))
        except (LookupError, TypeError, ValueError) as error:
            raise _refused(KIND, error) from error


def _read(message: Message) -> dict[str, Any]:
    said, digests = message.header, message.arrays["contents"]
    fingerprints = tuple(said["fingerprints"])
    if not all(isinstance(fingerprint, str) for fingerprint in fingerprints):
        raise ValueError("its fingerprints are none")
    if not (is_number(said["number"], 0) and is_number(said["piece"], 0)):
        raise ValueError("its number is out of range")
    if not is_number(said["offset"], 0, _SHA256 - PREFIX_BYTES):
        raise ValueError("its offset is out of range")
    if digests.shape[1:] != (_SHA256,) or digests.dtype != np.uint8:
        raise ValueError("its checksums are none")
    lacking = (_lacking(mask, fingerprints) for mask in said["lacking"])
    return {
        "number": said["number"], "piece": said["piece"], "offset": said["offset"], "fingerprints": fingerprints,
        "files": unpacked_files(said),
        "contents": dict(zip((row.tobytes() for row in digests), lacking, strict=True)),
    }  # fmt: skip


def _lacking(mask: object, fingerprints: tuple[str, ...]) -> frozenset[str]:
    if not isinstance(mask, int) or not 0 <= mask < 1 << len(fingerprints):
        raise ValueError(f"{mask!r:.40} stands for none of its matrices")
    return frozenset(fingerprint for i, fingerprint in enumerate(fingerprints) if mask >> i & 1)


def prefixes_message(store_id: str, run: int, prefixes: np.ndarray) -> bytes:
    """Sorted prefixes, uint64 (N,), taken at `offset_of(run)`, as they travel: once a run."""
    return encode(Message(PREFIXES, store_id, run, {"offset": offset_of(run)}, {PREFIXES: prefixes.astype("<u8")}))


def prefixes_in(data: bytes, *, store_id: str | None = None) -> np.ndarray:
    """The prefixes that a message holds, uint64 (N,), sorted. Raises MessageRefused."""
    message = decode(data, PREFIXES, store_id=store_id)
    prefixes = message.arrays.get(PREFIXES, np.empty((0, 0)))
    if prefixes.dtype != np.uint64 or prefixes.ndim != 1 or (prefixes[1:] < prefixes[:-1]).any():
        raise _refused(PREFIXES, "what it holds are no sorted prefixes")
    if message.header.get("offset") != offset_of(message.run):
        raise _refused(PREFIXES, "they begin at another byte than those of its run")
    return prefixes


def _refused(kind: str, why: object) -> MessageRefused:
    return MessageRefused(
        f"Expected a message ({kind}) as a run writes it. Got one that it cannot have written: {why}. Have it handed "
        "over again."
    )


def prefixes_of(contents: np.ndarray, offset: int) -> np.ndarray:
    """The sorted prefixes, uint64 (N,), of contents (N, 32)."""
    picked = np.ascontiguousarray(contents[:, offset : offset + PREFIX_BYTES])
    return np.sort(picked.view("<u8").reshape(-1))


def has_prefix(prefixes: np.ndarray, sha256: bytes, offset: int) -> bool:
    """Whether some content with this prefix is among `prefixes`."""
    wanted = np.frombuffer(sha256, "<u8", count=1, offset=offset)[0]
    at = int(np.searchsorted(prefixes, wanted))
    return at < len(prefixes) and bool(prefixes[at] == wanted)


def offset_of(run: int) -> int:
    """Which bytes stand for a content in a run: others each time, so that two contents that look alike tonight do not
    tomorrow."""
    return run % (_SHA256 - PREFIX_BYTES + 1)
