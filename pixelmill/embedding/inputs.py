"""From the bytes of a file to the inputs of the models that lack it: decoded once, for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pixelmill.embedding.facts import FACTS_GROUP, Found
from pixelmill.embedding.targets import MissingMatrices, Target
from pixelmill.embedding.timing import Timing, timed
from pixelmill.errors import ImageRejected, reason_of
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from pixelmill.models.base import EmbeddingModel
from pixelmill.sources.found import FoundFile
from pixelmill.watch.hangs import Hang

if TYPE_CHECKING:
    import numpy as np
    import torch

FACTS_SHORTEST: Final = 224
"""The shortest edge, in pixels, for which pictures are decoded where no model takes them."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that was read: its inputs by `Inputs.key`, and its facts if they were wanted; or why there are none."""

    file: FoundFile
    sha256: bytes | None = None
    size: tuple[int, int] = (0, 0)
    inputs: Mapping[object, Any] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()
    facts: Found | None = None
    rejected: ImageRejected | None = None
    unread: str = ""
    note: str = ""
    hang: Hang | None = None
    timing: Timing = field(default_factory=Timing)


class Inputs:
    """Makes what models take of files, and facts where FACTS_GROUP is among what is wanted; models that agree share it.
    Safe to use from many threads."""

    def __init__(self, targets: Sequence[Target], options: DecodeOptions) -> None:
        self._targets = targets
        self._options = options
        self._shortest = max((target.model.preprocessing.resize for target in targets), default=FACTS_SHORTEST)

    def key(self, model: EmbeddingModel) -> object:
        """Models with equal keys take the same pixels."""
        if self._options.decode == "reference":
            return model.spec.backend, model.preprocessing
        return model.preprocessing.geometry

    def prepare(
        self, file: FoundFile, read: Callable[[], bytes], missing: MissingMatrices, decoding: Callable[[], None]
    ) -> Prepared:
        """Have a file read by `read`, and decode it: the inputs that the models which lack its content take. `decoding`
        is called in between."""
        timing, sha256, wanted = Timing(), None, frozenset[str]()
        try:
            with timed(timing, "read"):
                data = read()
                sha256 = hashlib.sha256(data).digest()
            decoding()
            wanted = missing(sha256)
            if not wanted:
                return Prepared(file, sha256, timing=timing)
            with timed(timing, "decode"):
                decoded, inputs = self.of(data, wanted)
            size, note = (decoded.width, decoded.height), "; ".join(filter(None, (decoded.note, decoded.facts_note)))
            return Prepared(file, sha256, size, inputs, wanted, decoded.facts, note=note, timing=timing)
        except ImageRejected as rejected:
            return Prepared(file, sha256, wanted=wanted, rejected=rejected, timing=timing)
        except MemoryError:
            return Prepared(file, sha256, unread="not enough memory to read or decode it now", timing=timing)
        except OSError as error:
            return Prepared(file, sha256, unread=reason_of(error), timing=timing)

    def of(self, data: bytes, wanted: frozenset[str]) -> tuple[Pixels, dict[object, Any]]:
        """The picture in `data`, and by `key` the inputs of the models that fill the `wanted` matrices. Raises like
        `decode_in_sandbox`."""
        models = {self.key(t.model): t.model for t in self._targets if t.fingerprint in wanted}
        asked = [model.preprocessing for model in models.values()]
        facts = FACTS_GROUP.fingerprint in wanted
        decoded = decode_in_sandbox(data, self._options, shortest=self._shortest, wanted=asked, facts=facts)
        made: Iterable[Any] = decoded.arrays
        if self._options.decode == "reference":
            made = map(_reference, models.values(), decoded.arrays)
        return decoded, dict(zip(models, made, strict=True))


def _reference(model: EmbeddingModel, resized: np.ndarray) -> torch.Tensor:
    from PIL import Image

    try:
        return model.reference_preprocess(Image.fromarray(resized))
    except MemoryError:
        raise
    except Exception as error:
        raise ImageRejected("preprocess", f"{type(error).__name__}: {error}") from error
