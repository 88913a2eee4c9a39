"""Make a target an exact mirror of a snapshot, a block of rows after the other, and go on where that stopped."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from pixelmill.deliver import base
from pixelmill.deliver.base import Changes, Held, Rows, Target
from pixelmill.deliver.generation import Generation
from pixelmill.deliver.wanted import Block, Wanted
from pixelmill.errors import DeliveryRefused, TargetUnavailable

_KEY_BYTES: Final = 4


@dataclass(slots=True)
class Progress:
    """How far a delivery is: rows sent and deleted, those of blocks that are not known to be right yet, whether readers
    got a new generation, and what is known of the one that is made right and of the one that they saw before."""

    generation: Generation | None = None
    before: Generation | None = None
    sent: int = 0
    deleted: int = 0
    behind: int | None = None
    is_anew: bool = False

    @property
    def seen(self) -> Generation | None:
        """The generation that readers see, as far as is known."""
        return self.generation if self.generation and self.generation.served else self.before


def mirror(
    wanted: Wanted,
    target: Target,
    progress: Progress,
    *,
    full: bool = False,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Make what the target serves equal to `wanted`; how far it came is left in `progress`, however it ends.

    A generation made otherwise than today is replaced by one made anew, which readers see when it is whole; with
    `full`, any is. Ends between two blocks once it `is_over`. Raises what targets raise, and TargetUnavailable where
    something else writes to the target meanwhile.
    """
    known = _found(wanted, target, progress)
    generation = _continued(wanted, known, full=full) or _begun(wanted, target)
    for left in known:
        if not left.served and left.key != generation.key:
            target.drop(left.key)
    making = _Making(wanted, target, generation, progress)
    making.right(is_over)
    if not (progress.behind or making.is_counted()):  # somebody changed it, now or long ago
        making.forget()
        making.right(is_over)
        if not (progress.behind or making.is_counted()):
            raise TargetUnavailable(
                f"Expected {len(wanted):,} rows after the delivery. The target has others: something else writes to "
                "it, or has put there what no row is. `--full` makes it anew."
            )
    if not progress.behind:
        making.end(serve=not generation.served)


def preview(wanted: Wanted, target: Target, progress: Progress, *, full: bool = False) -> None:
    """Count in `progress` what `mirror` would send and delete, and whether readers would get a new generation; nothing
    is written."""
    generation = _continued(wanted, _found(wanted, target, progress), full=full)
    progress.is_anew = generation is None or not generation.served
    if generation is None:
        progress.sent = len(wanted)
        return
    progress.generation, making = generation, _Making(wanted, target, generation, progress)
    for number in making.doubtful():
        changes = making.differences(number, wanted.block(number))
        progress.sent += changes.batch.num_rows
        progress.deleted += len(changes.gone)
    progress.deleted += len(making.behind_the_last())


def _found(wanted: Wanted, target: Target, progress: Progress) -> list[Generation]:
    """What the target has. Raises DeliveryRefused for what another store has delivered."""
    known = target.generations()
    for generation in known:
        theirs, ours = generation.definition, wanted.definition
        if theirs.store_id != ours.store_id:
            raise DeliveryRefused(
                f"Expected {ours.delivery!r} to be free, or a delivery of this store ({ours.store_id}). It is one of "
                f"the store {theirs.store_id}. Nothing of it was touched: give this delivery another name, or remove "
                "what is there."
            )
    progress.before = next((generation for generation in known if generation.served), None)
    return known


def _continued(wanted: Wanted, known: list[Generation], *, full: bool) -> Generation | None:
    """The generation to go on with, of those made as today: the one that is served, unless all is made anew, else one
    that was begun."""
    alike = [generation for generation in known if generation.definition == wanted.definition]
    served = next((generation for generation in alike if generation.served), None)
    begun = next((generation for generation in alike if not generation.served), None)
    return begun if full or served is None else served


def _begun(wanted: Wanted, target: Target) -> Generation:
    generation = Generation(key=secrets.token_hex(_KEY_BYTES), definition=wanted.definition)
    target.begin(generation, wanted.shape)
    return generation


class _Making:
    """A generation that is made right."""

    def __init__(self, wanted: Wanted, target: Target, generation: Generation, progress: Progress) -> None:
        self._wanted, self._target, self._progress = wanted, target, progress
        self.generation = generation
        is_whole = generation.marks and all(generation.marks)
        if is_whole and target.count(generation.key) != generation.rows:  # rows came or went that no delivery moved
            self.forget()

    def forget(self) -> None:
        """Take nothing for right any more."""
        self.generation = self.generation.model_copy(update={"marks": ()})

    def is_counted(self) -> bool:
        """Whether the generation has as many rows as it should."""
        return self._target.count(self.generation.key) == len(self._wanted)

    def doubtful(self) -> list[int]:
        """The blocks that are not known to be right: those whose values lie elsewhere than when they were."""
        blocks = range(max(self._wanted.blocks, len(self.generation.marks)))
        return [n for n in blocks if self.generation.mark(n).partition(" ")[0] != self._wanted.origin(n)]

    def right(self, is_over: Callable[[], bool]) -> None:
        """Make all blocks right, or some until it `is_over`."""
        doubtful, progress = self.doubtful(), self._progress
        progress.generation, progress.behind = self.generation, sum(map(self._most_rows, doubtful))
        for number, block in zip(doubtful, self._read_ahead(doubtful), strict=True):
            if is_over():
                return
            self._make_right(number, block)
            progress.generation, progress.behind = self.generation, progress.behind - self._most_rows(number)
        behind = self.behind_the_last()
        for start in range(0, len(behind), base.BLOCK):
            self._write(self.generation, _none_but(self._wanted, behind[start : start + base.BLOCK]))

    def end(self, *, serve: bool) -> None:
        """Keep that the generation is equal to the snapshot, and let readers see it."""
        equal = {
            "rows": len(self._wanted), "revision": self._wanted.store.manifest.revision,
            "equal_at": datetime.now(UTC).isoformat(timespec="seconds"), "served": True,
        }  # fmt: skip
        generation = self.generation.model_copy(update=equal)
        if serve:
            self._target.serve(generation, self._wanted.shape)
        else:
            self._target.keep(generation)
        self._progress.generation, self._progress.is_anew = generation, serve

    def differences(self, number: int, block: Block) -> Changes:
        """What makes a block right."""
        if self.generation.mark(number).partition(" ")[2] == block.digest:
            return _changes(block, block.held)
        return _changes(block, self._target.held(self.generation.key, number * base.BLOCK, (number + 1) * base.BLOCK))

    def behind_the_last(self) -> Rows:
        """Rows that are held behind the last block."""
        blocks = max(self._wanted.blocks, len(self.generation.marks))
        return self._target.held(self.generation.key, blocks * base.BLOCK, None).rows

    def _read_ahead(self, numbers: list[int]) -> Iterator[Block]:
        """Blocks, each read while the one before it is written; made ready as a whole where nothing is known of it."""
        with ThreadPoolExecutor(1) as reading:
            coming = deque[Future[Block]]()
            for number in numbers:
                block = self._wanted.block(number)
                coming.append(reading.submit(block.read, whole=not self.generation.mark(number)))
                if len(coming) > 1:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _most_rows(self, number: int) -> int:
        """How many rows of a block may be wrong; of one behind the store's last row, nobody knows, so some."""
        return min(max(len(self._wanted.store) - number * base.BLOCK, 1), base.BLOCK)

    def _make_right(self, number: int, block: Block) -> None:
        changes = self.differences(number, block)
        right = self.generation.marked(number, f"{self._wanted.origin(number)} {block.digest}")
        if not changes:
            self.generation = right
            return
        if self.generation.mark(number) and not self._target.has_transactions:
            # Should this be killed while it writes, nobody takes half of it for the whole.
            self._target.keep(self.generation.marked(number, ""))
        self._write(right, changes)

    def _write(self, after: Generation, changes: Changes) -> None:
        self._target.write(after, changes)
        self.generation = after
        self._progress.sent += changes.batch.num_rows
        self._progress.deleted += len(changes.gone)


def _changes(block: Block, held: Held) -> Changes:
    """What makes those held the rows of the block."""
    wanted = block.held
    there, first, times = np.unique(held.rows, return_index=True, return_counts=True)
    _, ours, theirs = np.intersect1d(wanted.rows, there, assume_unique=True, return_indices=True)
    same = (wanted.digests[ours] == held.digests[first][theirs]) & (times[theirs] == 1)
    send = np.ones(len(wanted.rows), bool)
    send[ours[same]] = False
    gone = np.setdiff1d(there, wanted.rows, assume_unique=True)
    return Changes(block.batch(wanted.rows[send]), wanted.rows[ours[~same]], gone)


def _none_but(wanted: Wanted, gone: Rows) -> Changes:
    """Rows that are gone, and nothing else."""
    nothing = wanted.block(wanted.blocks)
    return Changes(nothing.batch(nothing.rows), nothing.rows, gone)
