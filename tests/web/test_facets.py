"""Facets are what counting by hand gives, and the condition of each value finds those that were counted."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmill.search.where import rows_where
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.reader import Store
from pixelmill.web.facets import Choice, Months, Span, facets_of
from tests.support.columns import TIME, clock, store_with
from tests.support.gallery import row_of, told
from tests.web.conftest import ClientOf, Collection

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@pytest.fixture
def client(described: Collection, client_of: ClientOf) -> TestClient:
    return client_of(described)


def facet(client: TestClient, name: str, **filters: Any) -> Any:
    return next(one for one in told(client, "facets", **filters)["facets"] if one["name"] == name)


def counted(store: Store, name: str, rows: list[int]) -> dict[object, int]:
    """The values of some rows, counted by Python."""
    return Counter(store.columns[name][rows].tolist())


def test_values_are_counted_and_can_be_asked_for(client: TestClient, described: Collection) -> None:
    """The commonest first, what is not known last; each condition lets as many pictures through as were counted."""
    rows = [one["row"] for one in told(client, "rows", limit=200)["pictures"]]
    for name in ("label", "keywords", "format"):
        values = facet(client, name)["values"]
        expected = counted(Store(described.store), name, rows)
        assert {one["value"] or "": one["images"] for one in values} == expected
        known = [one["images"] for one in values if one["value"] is not None]
        assert known == sorted(known, reverse=True)
        assert [one["value"] for one in values[:-1]].count(None) == 0
        for one in values:
            assert told(client, "rows", where=one["where"])["images"] == one["images"]
            assert not one["chosen"]


def test_a_facet_counts_what_the_other_filters_let_through(client: TestClient, described: Collection) -> None:
    """Its own condition aside, so that another value can be chosen; that of another column counts."""
    label = facet(client, "label")["values"][0]
    again = facet(client, "label", where=label["where"], glob="sea/*")
    assert [one["chosen"] for one in again["values"] if one["value"] == label["value"]] == [True]
    rows = [one["row"] for one in told(client, "rows", glob="sea/*")["pictures"]]
    counts = {one["value"] or "": one["images"] for one in again["values"] if one["images"]}
    assert counts == counted(Store(described.store), "label", rows)
    both = told(client, "facets", where=[label["where"], '"rating" = 2'])
    shown = told(client, "rows", where=[label["where"], '"rating" = 2'])
    assert both["images"] == shown["images"]
    rated = next(one for one in both["facets"] if one["name"] == "rating")["values"]
    assert sum(one["images"] for one in rated) == told(client, "rows", where=label["where"])["images"]


def test_times_are_offered_by_year_and_month(client: TestClient, described: Collection) -> None:
    """The day is that of the camera's clock; a search takes the same conditions."""
    times = Store(described.store).columns["taken_at"]
    known = [datetime.fromtimestamp(int(time) / 1000, UTC) for time in times if time != MISSING_INT]
    values = facet(client, "taken_at")["values"]
    years = {one["value"]: one["images"] for one in values if one["value"] and len(one["value"]) == 4}
    assert years == Counter(f"{time:%Y}" for time in known)
    chosen = next(one["where"] for one in values if one["value"] == "2024")
    months = [one for one in facet(client, "taken_at", where=chosen)["values"] if "2024-" in (one["value"] or "")]
    assert {one["value"]: one["images"] for one in months} == Counter(f"{t:%Y-%m}" for t in known if t.year == 2024)
    may = next(one["where"] for one in months if one["value"] == "2024-05")
    taken = row_of(described, "sea/taken.jpg")
    for where in (chosen, may):
        assert taken in [shown["row"] for shown in told(client, "rows", where=where)["pictures"]]
        assert taken in [hit["row"] for hit in told(client, "search", row="0", where=where)["hits"]]


def test_numbers_have_a_range(client: TestClient, described: Collection) -> None:
    """From the least to the greatest of all, whatever is chosen; by `sql` a condition is made."""
    sharp = facet(client, "sharpness", where="rating = 1")
    values = Store(described.store).columns["sharpness"]
    assert (sharp["least"], sharp["greatest"], sharp["values"]) == (values.min(), values.max(), [])
    middle = float(np.median(values))
    assert told(client, "rows", where=f"{sharp['sql']} >= {middle}")["images"] == (values >= middle).sum()


def test_captions_are_no_facet_and_are_named(client: TestClient) -> None:
    """Nearly every picture has one of its own; a condition can ask for them."""
    answer = told(client, "facets")
    assert "caption" in answer["others"]
    assert "caption" not in [one["name"] for one in answer["facets"]]
    assert told(client, "rows", where="caption LIKE '%far out%'")["images"] == 1


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("lable = 'a'", "Did you mean 'label'?"), ("label = ", "SQL does not read so"), ("label = 1e", "Expected"),
        ("1 = 1) OR (2 = 2", "Expected a condition"), ("sharpness > 'x'", "sharpness is a number"),
        ("(SELECT 1) = 1", "a query inside it"), ("a; DROP TABLE b", "more than one condition"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["facets", "rows"])
def test_a_condition_that_is_none_is_told_in_words(client: TestClient, path: str, where: str, words: str) -> None:
    """With the nearest column; also where it would be one beside another."""
    for conditions in ([where], ["rating = 1", where]):
        answer = client.get(f"/api/{path}", params={"where": conditions})
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


@given(given=st.lists(TEXTS, min_size=2, max_size=6), numbers=st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=3))  # fmt: skip
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_condition_of_any_value_finds_its_rows(
    tmp_path_factory: pytest.TempPathFactory, given: list[str], numbers: list[int]
) -> None:
    """Quotes, line breaks, signs of SQL, letters of any script, numbers of any size."""
    texts = [text or None for text in 3 * given]
    if not any(texts):
        return
    wholes = [numbers[i % len(numbers)] for i in range(len(texts))]
    store = Store(store_with(tmp_path_factory.mktemp("odd") / "store", {"said": [*texts, None], "whole": [*wholes, None]}))  # fmt: skip
    found = {one.column.name: one for one in facets_of(store, np.arange(len(store))).offered}
    for name, values in (("said", [*texts, None]), ("whole", [*wholes, None])):
        choice = found[name]
        assert isinstance(choice, Choice)
        assert {*choice.values} == {value for value in values if value is not None}
        for value, condition in zip((*choice.values, None), choice.conditions, strict=True):
            expected = [value == other for other in values]
            assert rows_where(store, condition).tolist() == expected, condition


def test_what_is_offered_is_chosen_by_its_values(tmp_path: Path) -> None:
    """No column in which each has its own, none that says the same of all, no range of one number; months across 1970,
    and none of what no calendar has; rows that are not shown do not count."""
    number = 40
    times = [clock("1969-12-31T23:59:59"), clock("1970-01-01T00:00:00"), clock("2024-02-29T12:00:00"), 2**62, None]
    store = Store(store_with(tmp_path / "store", {
        "own": [f"caption {i}" for i in range(number)], "same": ["a"] * number, "threes": [f"{i // 3}" for i in range(number)],
        "flat": [2.5] * number, "wide": [float(i) for i in range(number)], "many": list(range(number)),
        "when": [times[i % 5] for i in range(number)], "path": ["a", "b"] * (number // 2), "some": ["a", None] * (number // 2),
    }, {"when": TIME}))  # fmt: skip
    facets = facets_of(store, np.arange(number - 1))
    assert {one.column.name: type(one) for one in facets.offered} == {
        "threes": Choice, "when": Months, "some": Choice, "wide": Span, "many": Span,
    }  # fmt: skip
    assert set(facets.others) == {"own", "same", "flat"}
    offered = {one.column.name: one for one in facets.offered}
    months, wide = offered["when"], offered["wide"]
    assert isinstance(months, Months)
    assert isinstance(wide, Span)
    assert months.values == (-1, 0, 12 * 54 + 1)
    assert list(months.years) == [2024, 1970, 1969]
    for counted_rows, condition in zip(months.counts(np.arange(number)), months.conditions, strict=True):
        if "IS NULL" not in condition:
            assert rows_where(store, condition).sum() == counted_rows == 8
    assert (wide.least, wide.greatest) == (0, number - 2)
