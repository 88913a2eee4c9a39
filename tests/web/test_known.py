"""What is known of pictures: told with each, and never markup, however it is spelt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmill.store.columns import MISSING_INT, Column
from pixelmill.store.reader import Store
from pixelmill.web.known import told
from tests.support.exifs import WRITTEN
from tests.support.gallery import row_of
from tests.support.gallery import told as answered
from tests.web.conftest import CAPTIONS, HOSTILE, ClientOf, Collection


def test_what_is_known_of_a_picture_is_told_by_kind(described: Collection, client_of: ClientOf) -> None:
    """Each column of the store once, typed, with its unit; what is missing is null; times are milliseconds."""
    known = answered(client_of(described), f"rows/{row_of(described, 'sea/taken.jpg')}")["columns"]
    columns = Store(described.store).columns
    assert [one["name"] for one in known] == list(columns)
    values = {one["name"]: one["value"] for one in known}
    assert {name: values[name] for name in WRITTEN} == pytest.approx(WRITTEN, abs=1e-6)
    assert values["sharpness"] == columns["sharpness"][row_of(described, "sea/taken.jpg")]
    assert values["caption"] is None
    kinds = {one["name"]: (one["kind"], one["unit"]) for one in known}
    assert kinds["taken_at"] == ("time", "ms since 1970, camera's clock")
    assert kinds["sharpness"] == ("number", "grey levels squared")
    assert kinds["caption"] == ("text", "")
    assert values["big"] == str(columns["big"][row_of(described, "sea/taken.jpg")]), "browsers would round it"


def test_what_nobody_said_is_null(described: Collection, client_of: ClientOf) -> None:
    """A number, a whole number and a text alike."""
    known = answered(client_of(described), f"rows/{row_of(described, 'sea/far.webp')}")["columns"]
    values = {one["name"]: one["value"] for one in known}
    assert [values[name] for name in ("latitude", "taken_at", "camera", "label")] == [None] * 4


def test_pictures_are_told_with_their_captions(described: Collection, client_of: ClientOf) -> None:
    """In lists in one line of at most 200 letters; whole with all else that is known of one; null where there is none."""
    client = client_of(described)
    listed = {one["path"]: one for one in answered(client, "rows", limit=200)["pictures"]}
    assert listed["sea/far.webp"]["caption"] == "A sail, far out at sea"
    assert listed["sea/evening.jpg"]["caption"] == HOSTILE
    assert listed["mountains/dusk.webp"]["caption"] == ("long " * 40).strip() + "…"
    assert listed["sea/taken.jpg"]["caption"] is None
    for path, caption in CAPTIONS.items():
        known = answered(client, f"rows/{listed[path]['row']}")
        assert {one["name"]: one["value"] for one in known["columns"]}["caption"] == caption
        assert known["caption"] == listed[path]["caption"]


def test_a_store_without_columns_is_shown_as_ever(collection: Collection, client_of: ClientOf) -> None:
    """Nothing is known of captions there."""
    assert {one["caption"] for one in answered(client_of(collection), "rows")["pictures"]} == {None}


@given(st.text(), st.floats(), st.integers(-(2**63), 2**63 - 1))
def test_values_are_told_exactly_or_not_at_all(words: str, number: float, whole: int) -> None:
    """Texts of any letters, numbers that JSON has, whole numbers to the last digit."""
    spelt = words.encode("utf-8", "surrogatepass")
    assert told(Column(name="a", kind="text"), spelt) == (spelt.decode("utf-8", "backslashreplace") or None)
    assert told(Column(name="a", kind="float64"), np.float64(number)) == (number if np.isfinite(number) else None)
    shown = told(Column(name="a", kind="int64"), np.int64(whole))
    assert shown is None if whole == MISSING_INT else int(shown or 0) == whole
    assert isinstance(shown, str) == (abs(whole) > 2**53 and whole != MISSING_INT)
