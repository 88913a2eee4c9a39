"""How far a run has come: counts, images a second and the time left, by a clock that the test holds."""

from __future__ import annotations

import pytest

from pixelmill.embedding.progress import RECENT, Progress


@pytest.fixture
def now() -> list[float]:
    """What the clock says; the test sets it."""
    return [0.0]


def progress(now: list[float], **totals: int) -> Progress:
    return Progress(totals, clock=lambda: now[0])


def test_nothing_is_said_of_speed_before_it_is_known(now: list[float]) -> None:
    """The first batch comes after the model was loaded, and measures that."""
    one = progress(now, a=100)
    assert one.words() == "0%: 0 of 100 with a"
    now[0] = 30.0
    one.add("a", 10)
    assert one.words() == "10%: 10 of 100 with a"


def test_speed_and_time_left_are_those_of_lately(now: list[float]) -> None:
    """What was long ago does not count: a disk that became slow shows."""
    one = progress(now, a=10_000)
    for second in range(0, 201, 5):
        now[0] = float(second)
        one.add("a", 50)
    assert one.speed("a") == pytest.approx(10, rel=0.05)
    for second in range(205, 205 + 2 * int(RECENT), 5):
        now[0] = float(second)
        one.add("a", 5)
    assert one.speed("a") == pytest.approx(1, rel=0.05)
    assert one.seconds_left("a") == pytest.approx(10_000 - one.done["a"], rel=0.05)


def test_a_run_that_stands_still_gets_slower(now: list[float]) -> None:
    """The time since the last batch counts as well."""
    one = progress(now, a=100)
    for second in (0.0, 10.0):
        now[0] = second
        one.add("a", 10)
    assert one.speed("a") == 1.0
    now[0] = 20.0
    assert one.speed("a") == 0.5


def test_several_models_have_one_bar_and_each_its_own_time(now: list[float]) -> None:
    """The run ends with the slowest."""
    one = progress(now, a=100, b=100)
    for second in (0.0, 10.0):
        now[0] = second
        one.add("a", 30)
        one.add("b", 10)
    assert one.percent == 40.0
    assert one.words() == (
        "40%, about 80 s left: 60 of 100 with a, 3.0 images/s, about 13 s left; "
        "20 of 100 with b, 1.0 images/s, about 80 s left"
    )  # fmt: skip


def test_only_all_of_them_are_a_hundred_percent(now: list[float]) -> None:
    """A bar that says 100% when one is left would be believed."""
    one = progress(now, a=100_000)
    one.add("a", 99_999)
    assert one.percent == 99.9
    one.add("a", 1)
    assert one.percent == 100.0
    assert progress(now).percent == 100.0


def test_work_that_is_given_out_again_counts_once(now: list[float]) -> None:
    """Of ten images four were done when their worker was lost: six are left for another, and the sum stays ten."""
    one = progress(now, a=10)
    one.add("a", 4)
    one.expect({"a": 6})
    assert (one.totals, one.done, one.percent) == ({"a": 10}, {"a": 4}, 40.0)


def test_models_of_which_nothing_is_expected_do_not_count(now: list[float]) -> None:
    """Such as those of a worker that was given up, and hands in late."""
    one = progress(now, a=10)
    one.add("z", 1)
    assert (one.done, one.percent) == ({"a": 0}, 0.0)
