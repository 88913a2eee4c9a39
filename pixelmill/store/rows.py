"""What a shard of images gave, on its way into a store: contents, vectors, failures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pixelmill.sources.found import FoundFile


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
    """What a shard gave: contents in path order, each once; vectors by fingerprint; what was learnt of every file."""

    contents: list[Content] = field(default_factory=list)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    copies: list[tuple[FoundFile, bytes]] = field(default_factory=list)
    """Files that hold a content that is listed or stored already, with its sha256."""
    failures: list[Failure] = field(default_factory=list)
