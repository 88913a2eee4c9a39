"""What came of a shard: rows and a report, as they travel back to the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pixelmill.run.results import ShardReport
from pixelmill.store.columns import ColumnGroup, Values
from pixelmill.store.manifest import Fillable, Matrix
from pixelmill.store.rows import Content, Facts, Failure, ShardRows, Vectors
from pixelmill.travel.facts import packed_facts, unpacked_facts
from pixelmill.travel.files import packed_files, unpacked_files
from pixelmill.travel.messages import Message, MessageRefused, decode, encode
from pixelmill.travel.shard_order import ShardOrder
from pixelmill.travel.validate import require_storable

KIND = "rows"
REPORT = TypeAdapter(ShardReport)
_SHA256 = 32


@dataclass(frozen=True, slots=True)
class ShardAnswer:
    """The rows that a piece of a shard gave, and what its worker tells of the work. `number` is the shard's, `rest`
    what is left of it after this `piece`; `unmeasured` are the matrices that held nothing yet with which the worker
    could compare what it makes."""

    store_id: str
    run: int
    number: int
    rows: ShardRows
    report: ShardReport
    unmeasured: tuple[str, ...] = ()
    piece: int = 0
    rest: ShardOrder | None = None

    @property
    def made(self) -> Iterator[tuple[bytes, str]]:
        """The contents of which there are vectors or facts, by sha256, each with the fingerprints of these."""
        for fingerprint, vectors in self.rows.vectors.items():
            yield from ((self.rows.contents[i].sha256, fingerprint) for i in vectors.index)
        if facts := self.rows.facts:
            yield from ((self.rows.contents[i].sha256, facts.fingerprint) for i in facts.index)

    def message(self) -> bytes:
        """The answer as it travels."""
        rows, arrays = rows_packed(self.rows)
        header = {
            "number": self.number, "piece": self.piece, "report": REPORT.dump_python(self.report), "rows": rows,
            "unmeasured": self.unmeasured,
        }  # fmt: skip
        if self.rest:
            arrays["rest"] = np.frombuffer(self.rest.message(), np.uint8)
        return encode(Message(KIND, self.store_id, self.run, header, arrays))

    @classmethod
    def of(cls, data: bytes, store_id: str, asked: Sequence[Fillable]) -> ShardAnswer:
        """The answer that a message holds, for a store and what was asked for. Raises MessageRefused for one that
        cannot be stored: of another store, or whose rows are not what such rows are."""
        message = decode(data, KIND, store_id=store_id)
        try:
            rows = rows_of(message.header["rows"], message.arrays, asked)
            report = REPORT.validate_python(message.header["report"])
            number, piece = int(message.header["number"]), int(message.header["piece"])
            unmeasured = tuple(map(str, message.header["unmeasured"]))
            rest = message.arrays.get("rest")
            left = None if rest is None else ShardOrder.of(rest.tobytes(), store_id=store_id)
            return cls(message.store_id, message.run, number, rows, report, unmeasured, piece, left)
        except (ValidationError, LookupError, TypeError, ValueError) as error:
            raise MessageRefused(f"Expected the rows of a shard. What was handed over is none: {error}") from error


def merged(parts: Sequence[ShardRows]) -> ShardRows:
    """What several passes over a shard gave, as one: each content once, with all its vectors and facts."""
    total, places, vectors = ShardRows(), dict[bytes, int](), dict[str, Vectors]()
    facts: list[Facts] = []
    for part in parts:
        moved = []
        for content in part.contents:
            if content.sha256 in places:
                total.copies.append((content.file, content.sha256))
            else:
                places[content.sha256] = len(total.contents)
                total.contents.append(content)
            moved.append(places[content.sha256])
        for fingerprint, made in part.vectors.items():
            more = Vectors(np.array(moved, dtype=np.int64)[made.index], made.values)
            vectors[fingerprint] = _joined(vectors[fingerprint], more) if fingerprint in vectors else more
        if part.facts:
            facts.append(replace(part.facts, index=np.array(moved, dtype=np.int64)[part.facts.index]))
        total.copies += part.copies
        total.failures += part.failures
    total.vectors = vectors
    total.facts = reduce(_with_facts, facts) if facts else None
    return total


def _with_facts(facts: Facts, more: Facts) -> Facts:
    """Facts with those of further contents, like `_joined`."""
    new: list[int] = np.flatnonzero(~np.isin(more.index, facts.index)).tolist()
    values: dict[str, Values] = {}
    for name, first in facts.values.items():
        second = more.values[name]
        if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            values[name] = np.concatenate([first, second[new]])
        else:
            values[name] = [*first, *(second[i] for i in new)]
    return Facts(facts.fingerprint, np.concatenate([facts.index, more.index[new]]), values)


def _joined(vectors: Vectors, more: Vectors) -> Vectors:
    """Vectors with those of further contents; what a copy gave that was read later is the same once more."""
    new = ~np.isin(more.index, vectors.index)
    index, values = (vectors.index, more.index[new]), (vectors.values, more.values[new])
    return Vectors(np.concatenate(index), np.concatenate(values))


def fitting(
    rows: ShardRows, report: ShardReport, matrices: Mapping[str, Matrix]
) -> tuple[ShardRows, ShardReport]:  # fmt: skip
    """Rows with the images in quarantine whose vectors float16 cannot hold, where `matrices`, by fingerprint, are of
    that, and what is told of them then."""
    failures, vectors, embedded = list(rows.failures), dict(rows.vectors), dict(report.embedded)
    for fingerprint, made in rows.vectors.items():
        if matrices[fingerprint].dtype != "float16":
            continue
        fits = (np.abs(made.values) <= np.finfo(np.float16).max).all(axis=1)
        model = matrices[fingerprint].provenance.model
        reason = f"{model} gave a vector that does not fit vector_dtype = 'float16'"
        for content in (rows.contents[i] for i in made.index[~fits]):
            failures.append(Failure(content.file.absolute, content.sha256, "embed", reason, fingerprint, model))
        vectors[fingerprint] = Vectors(made.index[fits], made.values[fits])
        embedded[model] -= int(np.count_nonzero(~fits))
    refused = {failure.path for failure in failures} - {failure.path for failure in rows.failures}
    report = replace(report, embedded=embedded, refused=report.refused + len(refused))
    return replace(rows, failures=failures, vectors=vectors), report


def rows_packed(rows: ShardRows) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Rows as they travel: what goes as JSON, and arrays."""
    facts, facts_arrays = packed_facts(rows.facts)
    header = {
        "contents": packed_files(content.file for content in rows.contents),
        "sizes": [[content.width, content.height] for content in rows.contents],
        "copies": packed_files(file for file, _ in rows.copies),
        "failures": [
            [f.path, f.sha256.hex() if f.sha256 else None, f.stage, f.reason, f.fingerprint, f.model]
            for f in rows.failures
        ],
        "matrices": list(rows.vectors),
        "facts": facts,
    }
    arrays = {
        **facts_arrays,
        "contents": _digests([content.sha256 for content in rows.contents]),
        "copied": _digests([sha256 for _, sha256 in rows.copies]),
    }
    for fingerprint, vectors in rows.vectors.items():
        arrays[f"index {fingerprint}"] = vectors.index.astype("<i8")
        arrays[f"values {fingerprint}"] = vectors.values.astype("<f4")
    return header, arrays


def rows_of(said: Mapping[str, Any], arrays: Mapping[str, np.ndarray], asked: Sequence[Fillable]) -> ShardRows:
    """The rows that travelled, for what was `asked`. Raises LookupError, TypeError, ValueError or MessageRefused for
    what cannot be stored."""
    contents, copied = _bytes(arrays["contents"]), _bytes(arrays["copied"])
    rows = ShardRows(
        contents=[
            Content(file, sha256, width, height)
            for file, sha256, (width, height) in zip(
                unpacked_files(said["contents"]), contents, said["sizes"], strict=True
            )
        ],
        copies=list(zip(unpacked_files(said["copies"]), copied, strict=True)),
        failures=[_failure(*failure) for failure in said["failures"]],
        vectors={f: Vectors(arrays[f"index {f}"], arrays[f"values {f}"]) for f in said["matrices"]},
        facts=unpacked_facts(said["facts"], arrays, [one for one in asked if isinstance(one, ColumnGroup)]),
    )
    require_storable(rows, asked)
    return rows


def _failure(path: str, sha256: str | None, stage: str, reason: str, fingerprint: str, model: str) -> Failure:
    return Failure(path, bytes.fromhex(sha256) if sha256 else None, stage, reason, fingerprint, model)


def _digests(digests: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _SHA256)


def _bytes(digests: np.ndarray) -> list[bytes]:
    if digests.ndim != 2 or digests.shape[1] != _SHA256:
        raise ValueError("its checksums are none")
    return [row.tobytes() for row in digests]
