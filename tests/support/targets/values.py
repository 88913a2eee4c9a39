"""Every value comes as it is: names that are no UTF-8, long ones, texts with anything in them, and what is missing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.erase import deliver_erased
from pixelmill.deliver.targets import open_target
from pixelmill.errors import DeliveryRefused
from pixelmill.store.commit import StoreWriter
from pixelmill.store.erase import erase
from pixelmill.store.reader import Store
from tests.support.deliveries import expected
from tests.support.delivery_engine import Engine
from tests.support.photos import Photos, is_refused
from tests.support.targets.asking import Asking, delivered, delivery_to, require_rows, require_sound

TEXTS = (
    "it's \"quoted\"", "back\\slash \\n \\x00 \\u0000", "'; DROP TABLE vectors; --", "{json: [1, 2]}", "$1 %s %(a)s ?",
    "tab\tline\nreturn\r", "emoji 🐕‍🦺 𝄞", "e\u0301 é ﷺ \u202e right to left", " spaces ", "NULL", "null", "nan", "\\N", "\x01\x1f\x7f\x85\u2028\ufeff", "0", "true",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63) + 1)
FLOATS = (0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, -1e-300, math.inf, -math.inf)
TIMES = (
    0,
    -1,
    -86_400_000,
    1,
    1_700_000_000_123,
    -2_208_988_800_000,
    253_370_764_799_999,
    -62_135_596_800_000,
    9 * 10**15,
)
"""In milliseconds: 1970, before it, 1900, the last of 9998, the first of 1, and one that is no date."""
LONG = 60_000


class Values(Asking):
    """What a row holds."""

    def test_what_is_forgotten_is_nowhere(self, engine: Engine, photos: Photos) -> None:
        """Rows that the store has forgotten are gone for readers, and nothing is left beside what they see that may hold
        them: but where whole files are written, all was made anew."""
        delivery = delivery_to(engine)
        delivered(engine, photos, delivery)
        rows = sorted(expected(photos.folder, delivery))[:3]
        with StoreWriter(photos.folder) as writer:
            erase(writer, np.array(rows))
        told = deliver_erased(photos.folder, delivery)
        with open_target(delivery) as target:
            assert told.is_equal
            assert told.is_anew == target.keeps_deleted
            assert len(target.generations()) == 1
        assert engine.leftovers(delivery.name) == []
        wanted = expected(photos.folder, delivery)
        assert wanted.keys().isdisjoint(rows)
        require_rows(engine, delivery, wanted)

    def test_texts_of_any_kind(self, engine: Engine, photos: Photos) -> None:
        """In columns and paths they come back as they are in the store; a byte that is no UTF-8 is told in both."""
        names = [
            *TEXTS,
            os.fsdecode(b"nicht \xff utf-8 \xc3"),
            "/".join(["x" * 79] * 50),
        ]
        photos.add(10)
        numbers = [number for number in range(photos.new) if not is_refused(number)]
        photos.files = {f"{name}.jpg": number for name, number in zip(names, numbers, strict=False)}
        photos.save()
        texts = [*(text.encode() for text in TEXTS), b"not \xff utf-8", b"\xf0\x9f", ("ü" * (LONG // 2)).encode()]
        _add_column(photos, "caption", texts)
        delivery = delivery_to(engine, columns=("caption",))
        delivered(engine, photos, delivery)
        require_sound(photos, delivery)
        found = engine.rows("vectors") or {}
        assert len(found) == len(names)
        assert {r"nicht \xff utf-8 \xc3.jpg"} < {row["path"] for row in found.values()}
        assert max(len(row["path"]) for row in found.values()) > 4000

    def test_numbers_and_times_of_any_kind(self, engine: Engine, photos: Photos) -> None:
        """They are exact; what is no number and no date is missing, and so is what is not known."""
        for name, values in {"count": NUMBERS, "share": FLOATS, "taken": TIMES}.items():
            _add_column(photos, name, values)
        delivery = delivery_to(engine, columns=("count", "share", "taken"))
        delivered(engine, photos, delivery)
        require_sound(photos, delivery)
        found = engine.rows("vectors") or {}
        assert {row["count"] for row in found.values()} >= {2**53 + 1, None}
        assert {row["share"] for row in found.values()} >= {5e-324, 0.1, None}
        assert {row["taken"] for row in found.values()} >= {datetime(1969, 12, 31), datetime(1, 1, 1), None}

    def test_names_of_columns_are_mended(self, engine: Engine, photos: Photos) -> None:
        """What databases cannot call a column has another name there; their own words can be names."""
        names = (
            "taken.at",
            "1st",
            "größe",
            "order",
            "select",
            "user",
            "id",
            "Label",
            "distance",
            "score",
            "index",
            "x" * 60,
        )
        for number, name in enumerate(sorted({*names} - {"taken.at"})):
            _add_column(photos, name, [f"{number}"])
        delivered(engine, photos, delivery_to(engine, columns=names))
        (first, *_) = (engine.rows("vectors") or {}).values()
        assert {"taken_at", "_1st", "gr__e", "order", "id", "Label"} < first.keys()

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    @pytest.mark.parametrize("normalize", [False, True], ids=["", "normalized"])
    def test_vectors_side_by_side(self, engine: Engine, folder: Path, dtype: str, normalize: bool) -> None:
        """Those of several models, and of an ensemble with its weights, are float32 of what is stored."""
        photos = Photos(folder, dtype=dtype)
        for models in (("a", "b"), ("both",)):
            delivery = delivery_to(engine, models=models, normalize=normalize)
            delivered(engine, photos, delivery)
            require_sound(photos, delivery)

    def test_a_condition_limits_the_rows(self, engine: Engine, photos: Photos) -> None:
        """Only those that fulfil it are there; another condition, and the others are."""
        counts = [number % 7 for number in range(len(Store(photos.folder)))]
        photos.columns({"count": counts})
        for limit in (3, 5, 0):
            delivery = delivery_to(engine, columns=("count",), where=f"count < {limit}")
            told = deliver(photos.folder, delivery)
            wanted = expected(photos.folder, delivery, lambda row, limit=limit: row["count"] < limit)
            require_rows(engine, delivery, wanted)
            assert told.rows == len(wanted)
            assert engine.leftovers("vectors") == []

    def test_a_text_that_is_too_long_for_it_is_refused_in_words(self, engine: Engine, photos: Photos) -> None:
        """Or it is taken whole; what is served stays, and the next delivery, without it, goes well."""
        delivery = delivery_to(engine, columns=("label",))
        delivered(engine, photos, delivery)
        before = engine.rows("vectors")
        _add_column(photos, "label", ["y" * 300_000])
        if engine.longest_text is None:
            delivered(engine, photos, delivery)
            return
        with pytest.raises(DeliveryRefused, match="label"):
            deliver(photos.folder, delivery)
        assert (engine.rows("vectors") or {}).keys() == (before or {}).keys()
        photos.relabel()
        delivered(engine, photos, delivery)


def _add_column(photos: Photos, name: str, values: Iterable[object]) -> None:
    """A column with these values in the first rows that have vectors, and nothing behind."""
    given = iter(values)
    column = [None if is_refused(row) else next(given, None) for row in range(len(Store(photos.folder)))]
    assert list(given) == [], "more rows are needed"
    photos.columns({name: column}, {"taken": "ms since 1970, UTC"})
