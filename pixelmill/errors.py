"""What can go wrong, one class a cause; each message says what was expected, what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PixelmillError(Exception):
    """Base of every error that Pixelmill raises on purpose. Retrying does not help unless a subclass says so."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnknownModel(PixelmillError, KeyError):
    """A model name that is neither in the catalog nor in the settings."""


class SettingsError(PixelmillError, ValueError):
    """A settings file, environment variable or flag that does not fit."""


class SourceError(PixelmillError, ValueError):
    """A SOURCE that cannot be read as a file, a folder or a list."""


class WeightsError(PixelmillError, OSError):
    """Weights that could not be fetched, verified or loaded."""


class WeightsUnavailable(WeightsError):
    """Weights could not be fetched now (network, server, offline); a retry may succeed."""


class WeightsRefused(WeightsError):
    """Weights that are present but must not be loaded: wrong hash, unsafe format, wrong tensors."""


class DeviceUnavailable(PixelmillError, RuntimeError):
    """A device was asked for that this machine does not have."""


class EmbeddingFailed(PixelmillError, RuntimeError):
    """A model that gives no usable vectors here."""


class TooManyRefused(PixelmillError, RuntimeError):
    """A run is done, but a larger share of its images was refused than the settings allow."""


class Unfinished(PixelmillError, RuntimeError):
    """A run came to its end, but for work that could not be done; `report` is the RunReport that it left."""

    report: object = None


class WorkersLost(Unfinished):
    """Workers died or could not start, and nobody was left to do their work."""


class ModelsLeftOut(Unfinished):
    """A run is done but for models that could not be had: it embedded with the others."""


class PrefectUnavailable(PixelmillError, ConnectionError):
    """Prefect's API, which keeps the order of a run, does not answer or does not start."""


class QueryError(PixelmillError, ValueError):
    """A search that cannot be answered as it was asked."""


class UnknownColumn(PixelmillError, KeyError):
    """A column that the store does not have."""


class NoIndex(QueryError):
    """No approximate index can be had, so searches compare all vectors."""


class TooFewVectors(NoIndex):
    """An approximate index is of no use for so few."""


class NoTextTower(QueryError):
    """Words were searched for with a model that knows pictures only."""


class DeliveryError(PixelmillError):
    """A delivery that did not come to its end; `delivered` is what there is to tell of it."""

    delivered: object = None


class DeliveryRefused(DeliveryError, ValueError):
    """A delivery that cannot be made, or that its target does not take: trying again does not help."""


class TargetUnavailable(DeliveryError, ConnectionError):
    """The target of a delivery does not answer now, is full or may not be written; a retry may succeed."""


class DeliveryLeft(DeliveryError, TimeoutError):
    """A delivery that was left, because its target hangs or there is no more time; the next one goes on."""


class DeliveryFailed(PixelmillError, RuntimeError):
    """A run is done, but for a delivery that it required."""


class StoreError(PixelmillError, OSError):
    """A store that cannot be opened, read or written."""


class HandoverUnreachable(StoreError):
    """The place where a run and its workers meet does not answer now; it may again."""


class StoreTooNew(StoreError):
    """A store, or its ledger, of a format that came after this program; the message names the version to install."""


class StoreBusy(StoreError):
    """Others kept the store's lock or its ledger for longer than anybody waits; a retry may succeed."""


class StoreFull(StoreError):
    """The disk has less room than what is to be stored takes. Nothing was begun."""


class StoreDamaged(StoreError):
    """A part or master that is missing, truncated or altered; names the file and the rows."""


class ImageRejected(PixelmillError, ValueError):
    """One image that cannot be embedded; `stage` is where it failed ("read", "decode", "preprocess", "embed")."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageRejected], tuple[str, str]]:
        return type(self), (self.stage, self.reason)  # another process makes it anew


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the known names nearest to `name`, as ` Did you mean 'a' or 'b'?`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def reason_of(error: BaseException) -> str:
    """What an error says: of one of the system its words, without number and path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
