"""What a run did, as a type: what `run --json` prints, what the ledger keeps, what every reader of reports takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError

from pixelmill.deliver.told import Delivered
from pixelmill.embedding.precision import PrecisionFound
from pixelmill.heads.told import HeadReport
from pixelmill.joining.told import NOTHING_JOINED, ColumnsReport
from pixelmill.run.results import Ended, WorkerReport
from pixelmill.run.unreadable import UnreadableSource
from pixelmill.store.rows import FailureGroup, FolderCount
from pixelmill.watch.hangs import Hang

SCHEMA_VERSION: Final = 1
"""Counts up when a field changes its meaning or goes; what comes to a report with a default does not count."""


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]
"""A time in ISO 8601."""
Stage = Literal["read", "decode", "model"]
PrecisionOrigin = Literal["", "asked", "measured", "kept"]
"""Where a precision comes from: by name, measured in this run, or the matrix has it; '' if nobody knows."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ImageCounts(_Part):
    """Files: `seen` now, and of the last settled run's files what became of them; README.md says what each means."""

    seen: NonNegativeInt
    new: NonNegativeInt
    changed: NonNegativeInt
    moved: NonNegativeInt
    duplicate: NonNegativeInt
    removed: NonNegativeInt
    quarantined: NonNegativeInt


class ModelReport(_Part):
    """One model's share: vectors made in this run; of the images seen, those that wait and those refused now.

    `images_per_second` of all workers together; `dataset` is where the vectors are in the master; `precision_measured`
    is how the precision was found, None if it was not measured in this run.
    """

    embedded: NonNegativeInt
    pending: NonNegativeInt
    quarantined: NonNegativeInt
    dim: NonNegativeInt
    device: str
    precision: str
    decode: str
    images_per_second: FiniteFloat
    dataset: str
    precision_origin: PrecisionOrigin = ""
    precision_measured: PrecisionFound | None = None


class FactsReport(_Part):
    """Images whose facts were made in this run, and of the images seen those that lack them now."""

    made: NonNegativeInt
    pending: NonNegativeInt


class SelfCheck(_Part):
    """Stored vectors beside the same images embedded again: how many, the least cosine, whether that is enough, and
    the least cosines of the runs before, the latest first."""

    compared: NonNegativeInt
    least_cosine: FiniteFloat
    sound: bool
    before: tuple[FiniteFloat, ...] = ()


class Night(_Part):
    """One run in numbers. `started` in ISO 8601; `embedded` and `pending` are vectors, of all models; images a second
    as they were read, for all models at once; `ended` says which way."""

    started: Moment
    new: NonNegativeInt
    embedded: NonNegativeInt
    quarantined: NonNegativeInt
    pending: NonNegativeInt
    seconds: FiniteFloat
    images_per_second: FiniteFloat
    ended: Ended = "done"


class NewImage(_Part):
    """One of the images that are new: its row in the store, and where it is."""

    row: NonNegativeInt
    path: str


class RunReport(_Part):
    """The report of a run, however it `ended`, and for which `error`. `started` in ISO 8601, `seconds` on the wall.

    `steps` are the seconds by step; with those of the "rest" they add up to `seconds`. Of a run that was cut off, only
    what is on record of it: `seconds` until it was last heard of, the vectors that it had stored by then.

    `facts` is None where none are made, `columns` what was joined to rows, of tables, `heads` what each filled,
    `deliveries` what came of each.
    `sources` are the images seen below each folder or pattern; `coverage` the share of the contents that some file
    holds which have a vector, by dataset; `embedded_twice` the vectors that were made although the store had them;
    `failure_rate` the share of the images to be read in this run that were refused, or could not be read and wait,
    and `exceeded_failure_rate` whether that is more than the settings allow. `new_images` are a few of the new and
    the changed ones, from all over them. `failure` is why the run failed though it came to its end; '' if it did
    not. `hung` is what did not answer and was left. `unreadable` are the sources of which much could not be read,
    and `attention` what a morning must not overlook, though the run came to its end. `notable` is what stands out
    beside the `nights` before.
    """

    schema_version: int = SCHEMA_VERSION
    store: str
    started: Moment
    seconds: FiniteFloat
    ended: Ended = "done"
    error: str = ""
    steps: dict[str, FiniteFloat] = {}
    sources: dict[str, NonNegativeInt]
    images: ImageCounts
    models: dict[str, ModelReport]
    facts: FactsReport | None = None
    bottleneck: Stage | None = None
    advice: str = ""
    coverage: dict[str, FiniteFloat] = {}
    embedded_twice: NonNegativeInt = 0
    columns: ColumnsReport = NOTHING_JOINED
    heads: tuple[HeadReport, ...] = ()
    deliveries: tuple[Delivered, ...] = ()
    folders: tuple[FolderCount, ...] = ()
    new_images: tuple[NewImage, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    failure_rate: FiniteFloat = 0.0
    exceeded_failure_rate: bool = False
    failure: str = ""
    warnings: tuple[str, ...] = ()
    hung: tuple[Hang, ...] = ()
    unreadable: tuple[UnreadableSource, ...] = ()
    attention: tuple[str, ...] = ()
    self_check: dict[str, SelfCheck] = {}
    workers: dict[str, WorkerReport] = {}
    plan: str = ""
    nights: tuple[Night, ...] = ()
    notable: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON knows."""
        return self.model_dump(mode="json")


class SeenCount(_Part):
    """Files that are there now."""

    seen: NonNegativeInt


class PendingCount(_Part):
    """Images that a model would embed, or whose facts would be made."""

    pending: NonNegativeInt


class WorkerPlan(_Part):
    """What a worker would do: images by model, and about how many seconds."""

    images: dict[str, NonNegativeInt]
    seconds: FiniteFloat


class DryRunReport(_Part):
    """What a run would do now: for each model how many of the images seen it would embed, and of how many it would make
    facts (None: it makes none); who would, how long; about
    how many bytes that takes of the store's disk, and how many are free there (None: nobody knows); `failure` is why it
    would fail, '' if nothing says so."""

    schema_version: int = SCHEMA_VERSION
    store: str
    dry_run: Literal[True] = Field(default=True)
    images: SeenCount
    models: dict[str, PendingCount]
    facts: PendingCount | None = None
    plan: str
    workers: dict[str, WorkerPlan] = {}
    bytes_needed: NonNegativeInt = 0
    bytes_free: NonNegativeInt | None = None
    failure: str = ""
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The report as values that JSON knows."""
        return self.model_dump(mode="json")


def read_report(kept: Mapping[str, Any]) -> RunReport | None:
    """A report that a ledger kept, of this program or an older one; None for one that is damaged, or from before there
    were any."""
    try:
        return RunReport.model_validate(kept)
    except ValidationError:
        return None
