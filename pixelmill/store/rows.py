"""What passes between a store and other rooms: what shards gave, where files are, what changed, what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pixelmill.sources.found import FoundFile

KINDS = ("new", "changed", "moved", "duplicate", "removed")
"""What can happen to a file between two runs."""


@dataclass(frozen=True, slots=True)
class Content:
    """One content as it was read: its file, its sha256 (32 bytes), its size in pixels (0 if undecodable)."""

    file: FoundFile
    sha256: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of one matrix: `values[i]` (k, dim) belongs to `contents[index[i]]` of the shard."""

    index: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Facts:
    """Values of one group of columns: `values[name][i]` belongs to `contents[index[i]]` of the shard, and has the kind
    of that column: float64 or int64 (k,), or k texts in UTF-8."""

    fingerprint: str
    index: np.ndarray
    values: Mapping[str, np.ndarray | Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one image was not embedded. `sha256` None: its bytes could not be had; `fingerprint` '': every model."""

    path: str
    sha256: bytes | None
    stage: str
    reason: str
    fingerprint: str = ""
    model: str = ""


@dataclass(slots=True)
class ShardRows:
    """What a shard gave: contents in path order, each once; vectors by fingerprint; facts, if they were asked for; what
    was learnt of every file."""

    contents: list[Content] = field(default_factory=list)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    copies: list[tuple[FoundFile, bytes]] = field(default_factory=list)
    """Files that hold a content that is listed or stored already, with its sha256."""
    failures: list[Failure] = field(default_factory=list)
    facts: Facts | None = None


class Place(NamedTuple):
    """A file that holds the content of `row`; `path` is relative to `source`. 0 where bytes or mtime are not known."""

    row: int
    source: bytes
    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FolderCount:
    """Numbers of files by what happened to them in one folder; `folder` None: in all the folders that are not named."""

    folder: str | None
    new: int = 0
    changed: int = 0
    moved: int = 0
    duplicate: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run found: numbers of files since the last settled run, in all and by folder, the rows whose path must be
    published anew, and a few of those that are new, or that files which changed hold now, from all over them."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    duplicate: int = 0
    removed: int = 0
    stale_rows: tuple[int, ...] = ()
    folders: tuple[FolderCount, ...] = ()
    new_rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One image in quarantine, as people read it. `model` '' means every model; `since` in Unix seconds."""

    path: str
    row: int | None
    model: str
    stage: str
    reason: str
    since: float


@dataclass(slots=True)
class FailureGroup:
    """Images refused at one stage for one reason (numbers in it aside): those new since the last run, those known
    before, and a few of their paths, new ones first. `stage` and `reason` None: all for which there was no room."""

    stage: str | None
    reason: str | None
    new: int = 0
    known: int = 0
    examples: list[str] = field(default_factory=list)
