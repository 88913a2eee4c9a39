"""A store of photos that come, change, move and go, whose models get new generations: without models or pictures."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.ensembles import keep
from pixelmill.store.manifest import Matrix
from pixelmill.store.reader import Store
from pixelmill.store.rows import Failure, ShardRows, Vectors
from tests.support.columns import TIME, add_columns
from tests.support.stores import DIMS, SOURCE, provenance, sha256, shard_rows, vector

UNITS = {"taken.at": TIME}
"""The column of times; its name is none for most databases."""


class Photos:
    """A store in `folder` with vectors of `a` and `b`, which lacks some, an ensemble `both`, and columns `label`,
    `rating` and `taken.at`. `files` says what lies where, by the numbers of contents; `save` brings that in.

    Some contents are refused, so that they have no vectors. A vector follows from its content and the generation.
    """

    def __init__(self, folder: Path, *, seed: int = 0, number: int = 20, dtype: str = "float32") -> None:
        self.folder, self.dtype = folder, dtype
        self.random = random.Random(seed)
        self.files: dict[str, int] = {}
        self.new = 0
        self.generations = dict.fromkeys("ab", 0)
        self.coming: str | None = None
        self.backups: list[tuple[Path, dict[str, object]]] = []
        self.add(number)
        self.mix()
        self.relabel()

    def add(self, number: int = 5) -> None:
        """New photos."""
        for n in range(self.new, self.new + number):
            self.files[f"{n % 3}/bild ü {n}.jpg"] = n
        self.new += number
        self.save()

    def change(self, number: int = 2) -> None:
        """Other contents in files that are there."""
        for path in self._some(number):
            self.files[path], self.new = self.new, self.new + 1
        self.save()

    def move(self, number: int = 2) -> None:
        """Photos under other names."""
        for path in self._some(number):
            self.files[f"moved/{self.random.random()} {Path(path).name}"] = self.files.pop(path)
        self.save()

    def remove(self, number: int = 2, *, beside: bool = False) -> None:
        """Photos are gone: any, or some of which each has come after the other."""
        paths = sorted(self.files, key=self.files.__getitem__)
        start = self.random.randrange(max(1, len(paths) - number))
        for path in paths[start : start + number] if beside else self._some(number):
            del self.files[path]
        self.save()

    def bring_back(self, number: int = 2) -> None:
        """Contents that were gone are there again."""
        gone = sorted(set(range(self.new)) - set(self.files.values()))
        self.files |= {f"back/{n}.jpg": n for n in self.random.sample(gone, min(number, len(gone)))}
        self.save()

    def remake(self, model: str) -> None:
        """Begin a new generation of a model, of half the photos: it is not served."""
        self.finish()
        self.coming = model
        self.generations[model] += 1
        self.save()

    def finish(self) -> None:
        """Let the new generation that was begun be whole, and served."""
        if self.coming is None:
            return
        coming, self.coming = self.coming, None
        self.save()
        with StoreWriter(self.folder) as writer:
            fingerprint = self._matrix(writer, coming).provenance.fingerprint
            assert (
                writer.serve([fingerprint]) == [coming]
                or Store(self.folder)[coming].provenance.fingerprint == fingerprint
            )

    def mix(self) -> None:
        """The ensemble has other weights."""
        with StoreWriter(self.folder) as writer:
            keep(writer, "both", ["b", "a"], [self.random.randint(1, 4) / 4, self.random.randint(1, 4) / 4])

    def relabel(self, share: float = 1.0, *, kind: Callable[[float], object] = float) -> None:
        """A share of the photos have other labels, ratings (of a kind) and times, or none; the others those that follow
        from their row."""
        rows = range(len(Store(self.folder)))
        fresh = [self.random.random() < share for _ in rows]
        seeds = [self.random.random() if new else row / 1000 for row, new in zip(rows, fresh, strict=True)]
        known = [seed if int(seed * 1000) % 5 else None for seed in seeds]
        self.columns({
            "label": ["a label", *(None if seed is None else f"étiquette {seed:.2f}" for seed in known[1:])],
            "rating": [kind(7), *(None if seed is None else kind(seed * 1000) for seed in known[1:])],
            "taken.at": [-5, *(None if seed is None else int((seed - 0.5) * 10**13) for seed in known[1:])],
        })  # fmt: skip

    def columns(self, values: Mapping[str, Sequence[object]], units: Mapping[str, str] = UNITS) -> None:
        """Join columns to all rows; None is missing."""
        add_columns(self.folder, values, units)

    def compact(self) -> None:
        """All in one part, and nothing else left on disk."""
        with StoreWriter(self.folder) as writer:
            compact(writer, retention=-1)

    def back_up(self) -> None:
        """Keep a copy of the store, as it is."""
        place = self.folder.with_name(f"{self.folder.name}-{len(self.backups)}")
        shutil.copytree(self.folder, place)
        kept = {name: copy.deepcopy(getattr(self, name)) for name in ("files", "generations", "coming")}
        self.backups.append((place, kept))

    def put_back(self) -> None:
        """Let one of the copies take the store's place."""
        if self.backups:
            place, kept = self.random.choice(self.backups)
            shutil.rmtree(self.folder)
            shutil.copytree(place, self.folder)
            vars(self).update(copy.deepcopy(kept))

    def twin(self) -> Photos:
        """A copy of the store on another machine, so to say."""
        twin = copy.deepcopy(self)
        twin.folder = self.folder.with_name(f"{self.folder.name}-twin")
        shutil.copytree(self.folder, twin.folder)
        return twin

    def save(self) -> None:
        """Bring in what lies where, with vectors of all generations that are wanted."""
        with StoreWriter(self.folder) as writer:
            scan = writer.ledger.scans.begin()
            writer.ledger.scans.record(scan, [_found(path, number) for path, number in self.files.items()])
            writer.ledger.scans.mark_gone(scan, SOURCE)
            writer.commit(self._shard(writer))
            writer.update_locations(writer.ledger.changes().stale_rows)
            writer.ledger.settle()

    def _shard(self, writer: StoreWriter) -> ShardRows:
        paths: dict[int, list[str]] = {}
        for path, number in self.files.items():
            paths.setdefault(number, []).append(path)
        numbers = sorted(paths)
        shard = shard_rows(numbers, [])
        shard.contents = [
            replace(content, file=_found(paths[number][0], number))
            for content, number in zip(shard.contents, numbers, strict=True)
        ]
        shard.copies = [(_found(path, n), sha256(n)) for n in numbers for path in paths[n][1:]]
        shard.failures = [
            Failure(_found(paths[n][0], n).absolute, sha256(n), "decode", "bad") for n in numbers if is_refused(n)
        ]
        for model in "ab":
            for back in (1, 0) if model == self.coming else (0,):
                half = model == self.coming and not back
                self._add_vectors(shard, numbers, self._matrix(writer, model, back), model, back, half=half)
        return shard

    def _add_vectors(
        self, shard: ShardRows, numbers: Sequence[int], matrix: Matrix, model: str, back: int, *, half: bool
    ) -> None:
        wanted = [
            i for i, n in enumerate(numbers) if not (is_refused(n) or (model == "b" and n % 5 == 4) or (half and i % 2))
        ]
        made = f"{model} {self.generations[model] - back}"
        values = [vector(sha256(numbers[i]), made, matrix.provenance.dim, self.dtype) for i in wanted]
        if wanted:
            shard.vectors[matrix.provenance.fingerprint] = Vectors(np.array(wanted), np.stack(values))

    def _matrix(self, writer: StoreWriter, model: str, back: int = 0) -> Matrix:
        """The matrix of a model's generation, or the one before; every other has a dim more."""
        number = self.generations[model] - back
        return writer.matrix(provenance(model, dim=DIMS[model] + number % 2, version=number), self.dtype)  # type: ignore[arg-type]

    def _some(self, number: int) -> list[str]:
        return self.random.sample(sorted(self.files), min(number, len(self.files)))


def is_refused(number: int) -> bool:
    """Whether a content gets no vectors; in the store of the suite its row is its number."""
    return number % 11 == 7


def _found(path: str, number: int) -> FoundFile:
    return FoundFile(SOURCE, path, 10, number + 1, number + 1)
