"""What a run's sheet shows: thumbnails of new and refused images, and the stored ones nearest to some of the new."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from pixelmill.batches import batched
from pixelmill.errors import PixelmillError
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import scaled_in_sandbox
from pixelmill.report import links
from pixelmill.report.model import RunReport
from pixelmill.report.sheet import EDGE, MOST_BYTES, Neighbours, Picture, Pictures, Sheet, Shown, drawn
from pixelmill.report.trend import trend
from pixelmill.search.exact import top_k
from pixelmill.search.kernels import FEW
from pixelmill.search.sheet import reason_of_none
from pixelmill.sources.found import FoundFile, found_at
from pixelmill.sources.reading import read_image
from pixelmill.store.reader import MatrixView, Store
from pixelmill.store.rows import FailureGroup
from pixelmill.watch.threads import Threads, wait_for

log = logging.getLogger(__name__)

SECONDS: Final = 10.0
"""What is not there by then is not shown: a report waits for nothing that is slow, or hangs."""
REFUSED: Final = 9
NEW_WITH_NEIGHBOURS, NEIGHBOURS = 3, 5
LOOKED_THROUGH: Final = 1 << 30
"""Bytes of vectors that are compared: of larger matrices the newest rows, which is said."""
_MOST_BYTES: Final = 64 << 20
"""A larger file is not read for a thumbnail."""
_THREADS: Final = 4
_DECODED = ("model", "preprocess")
"""Stages at which an image was refused that can be looked at."""


def sheet_of(report: RunReport, options: DecodeOptions = DecodeOptions(), seconds: float = SECONDS) -> Sheet:  # noqa: B008 - frozen
    """The pictures of a run, in so many seconds and a moment. What goes wrong costs pictures, and raises nothing."""
    try:
        plot = trend(report)
        most = MOST_BYTES - (len(plot.webp) if plot else 0)
        return replace(drawn(_gathered(report, options, time.monotonic() + seconds), most), trend=plot)
    except Exception as error:
        log.warning("the report goes without pictures: %s: %s", type(error).__name__, error)
        return Sheet()


def _gathered(report: RunReport, options: DecodeOptions, until: float) -> Pictures:
    with Threads(_THREADS, "sheet") as threads:
        store = threads.submit(Store, report.store)
        near = threads.submit(lambda: nearest(store.result(), report))

        def of_row(row: int) -> Future[Picture]:
            return threads.submit(lambda: _picture(_place(store.result(), row), options))

        new = [(image, of_row(image.row)) for image in report.new_images]
        refused = [(path, group, threads.submit(_looked_at, path, group, options))
                   for path, group in some_refused(report.failures)]  # fmt: skip
        found = _awaited(near, until)
        beside = {row: of_row(row) for row in found.rows()}
        first = {image.row: _shown(future, until, image.path, image.row) for image, future in new}
        return Pictures(
            new=tuple(first.values()) if any(one.picture is not None for one in first.values()) else (),
            refused=tuple(_refused(future, until, path, group.reason) for path, group, future in refused),
            neighbours=tuple(
                Neighbours(first[row], tuple(_near(beside[one.row], until, one) for one in nearest))
                for row, nearest in found.groups
            ),
            model=found.model,
            among=found.among,
        )


class Near(NamedTuple):
    """A stored image, and the cosine of its vector to that of another."""

    row: int
    path: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """By new row the stored images nearest to it by a model, the nearest first; `among` which rows, if not all."""

    model: str = ""
    groups: tuple[tuple[int, tuple[Near, ...]], ...] = ()
    among: str = ""

    def rows(self) -> list[int]:
        return list(dict.fromkeys(near.row for _, nearest in self.groups for near in nearest))


def nearest(store: Store, report: RunReport) -> Nearest:
    """The nearest stored images to some of the new ones, by the first model of the run that embedded any of them."""
    for model in report.models:
        matrix = store.manifest.serving(model)
        view = MatrixView(store, matrix) if matrix else None
        rows = [image.row for image in report.new_images if view and image.row < len(view) and view.embedded[image.row]]
        if view and rows:
            number = min(len(rows), NEW_WITH_NEIGHBOURS)
            return _nearest(view, [rows[i * len(rows) // number] for i in range(number)])
    return Nearest()


def _nearest(view: MatrixView, rows: Sequence[int]) -> Nearest:
    allowed, among = view.store.present.copy(), ""
    most = LOOKED_THROUGH // (view.dtype.itemsize * view.shape[1])
    if len(view) > most:
        allowed[: len(view) - most] = False
        among = f"the newest {most:,} rows"
    groups = []
    for some in batched(
        rows, FEW
    ):  # for more at once PyTorch would be loaded, which a run that only gives out does not
        found, cosines = top_k(view, view.take(some), NEIGHBOURS + 1, allowed=allowed)
        for row, near, cosine in zip(some, found.tolist(), cosines.tolist(), strict=True):
            others = [Near(other, _place(view.store, other).absolute, value)
                      for other, value in zip(near, cosine, strict=True) if other not in (row, -1)]  # fmt: skip
            groups.append((row, tuple(others[:NEIGHBOURS])))
    return Nearest(view.provenance.model, tuple(group for group in groups if group[1]), among)


def some_refused(failures: Sequence[FailureGroup]) -> list[tuple[str, FailureGroup]]:
    """Paths of images that were refused and are new, one of each reason before the second of any."""
    groups = [group for group in failures if group.new]
    most = max((len(group.examples) for group in groups), default=0)
    new = [(group, group.examples[: group.new]) for group in groups]
    return [(paths[i], group) for i in range(most) for group, paths in new if i < len(paths)][:REFUSED]


def _looked_at(path: str, group: FailureGroup, options: DecodeOptions) -> Picture | None:
    """An image that only a model refused; what was too much to read or decode is not tried again."""
    return _picture(found_at(path), options) if group.stage in _DECODED else None


def _place(store: Store, row: int) -> FoundFile:
    source, path = store.place(row)
    if not path:
        raise FileNotFoundError(errno.ENOENT, "gone")
    return FoundFile(source, path, 0, 0, 0)


def _picture(file: FoundFile, options: DecodeOptions) -> Picture:
    most = min(options.max_bytes, _MOST_BYTES)
    return scaled_in_sandbox(read_image(file, max_bytes=most), options, longest=2 * EDGE).arrays[0]


def _shown(future: Future[Picture], until: float, path: str, row: int) -> Shown:
    picture, why = _made(future, until)
    return Shown(path, picture, why, links.image(row))


def _near(future: Future[Picture], until: float, near: Near) -> Shown:
    return replace(_shown(future, until, near.path, near.row), words=f"{near.cosine:.3f}")


def _refused(future: Future[Picture | None], until: float, path: str, reason: str | None) -> Shown:
    return Shown(path, _made(future, until)[0], reason or "other reasons", links.refused(reason))


def _made(future: Future[Any], until: float) -> tuple[Picture | None, str]:
    """A picture, or why there is none."""
    if future.cancelled() or not wait_for(future, max(0.0, until - time.monotonic())):
        future.cancel()
        return None, "not read in time"
    try:
        return future.result(), ""
    except (OSError, PixelmillError) as error:
        return None, reason_of_none(error)


def _awaited(near: Future[Nearest], until: float) -> Nearest:
    """What was found in half of the time that is left: the pictures have to be read as well."""
    if wait_for(near, max(0.0, (until - time.monotonic()) / 2)):
        try:
            return near.result()
        except PixelmillError as error:
            log.warning("no nearest neighbours in the report: %s", error)
    return Nearest()
