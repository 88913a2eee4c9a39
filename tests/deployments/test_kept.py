"""What set_up.py makes of a deployment: what nobody changed follows the settings, what a person changed stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.deploy import configs, first_made, tell, wanted_fields
from deployments.effective import describe, version_of
from deployments.hours import FIRST, SLUGS, hours_of
from deployments.kept import as_made, merge
from pixelmill.errors import SettingsError
from pixelmill.version import VERSION
from settings import (
    DeliverySettings,
    RunSettings,
    ScheduleSettings,
    Settings,
    WebSettings,
    WorkerSettings,
    load_settings,
)

OLD, NEW, OTHER = ["0 22 * * *", "UTC"], ["0 23 * * *", "UTC"], ["0 1 * * *", "UTC"]


def merged(made: dict[str, Any], now: dict[str, Any], wanted: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is to be, and what is kept; of what was made, what is there and what the settings say."""
    result = merge(as_made(made, made), now, wanted)
    return result.fields, result.kept


def test_what_nobody_changed_follows_the_settings() -> None:
    """New hours of the settings, hours taken away, and hours that were not there."""
    assert merged({"hours": OLD}, {"hours": OLD}, {"hours": NEW}) == ({"hours": NEW}, [])
    assert merged({"hours": OLD}, {"hours": OLD}, {}) == ({"hours": None}, [])
    assert merged({}, {}, {"hours": NEW}) == ({"hours": NEW}, [])


def test_what_a_person_changed_stays() -> None:
    """Changed, deleted or set where there was nothing, whatever the settings say now."""
    for wanted in (OLD, NEW):
        assert merged({"hours": OLD}, {"hours": OTHER}, {"hours": wanted}) == ({"hours": OTHER}, ["hours"])
        assert merged({"hours": OLD}, {}, {"hours": wanted}) == ({"hours": None}, ["hours"])
    assert merged({}, {"hours": OTHER}, {"hours": NEW}) == ({"hours": OTHER}, ["hours"])


def test_it_stays_in_the_set_ups_that_follow_until_both_say_the_same() -> None:
    """What is noted is what was made, not what was found; once server and settings agree, it follows again."""
    first = merge(as_made({"hours": OLD}, ["hours"]), {"hours": OTHER}, {"hours": NEW})
    assert merge(first.made, {"hours": OTHER}, {"hours": NEW}).kept == ["hours"]
    agreed = merge(first.made, {"hours": OTHER}, {"hours": OTHER})
    assert merge(agreed.made, {"hours": OTHER}, {"hours": NEW}).fields == {"hours": NEW}


def test_fields_are_judged_one_by_one() -> None:
    """A schedule that is paused still takes new hours of the settings."""
    made, now = {"hours": OLD, "active": True}, {"hours": OLD, "active": False}
    assert merged(made, now, {"hours": NEW, "active": True}) == ({"hours": NEW, "active": False}, ["active"])


def test_a_schedule_is_paused_until_there_are_sources_unless_a_person_says_otherwise() -> None:
    """It becomes active with the first sources; one that a person has resumed before stays active."""
    none, some = (wanted_fields(config("nightly"), given(sources=s)) for s in ((), ("/photos",)))
    first = merge({}, {}, none)
    assert (first.fields["active"], first.kept) == (False, [])
    assert merge(first.made, first.fields, some).fields["active"] is True
    assert merge(first.made, first.fields | {"active": True}, none).fields["active"] is True


def test_what_version_1_0_0_made_is_known() -> None:
    """It left no note: its hours follow the settings, and what differs from them is a person's."""
    made = first_made("nightly", {"description": "any"})
    wanted = {"hours": NEW, "active": True}
    assert merge(made, {"hours": FIRST["nightly"], "active": True}, wanted).fields == wanted | {"description": None}
    kept = merge(made, {"hours": OTHER, "active": False, "description": "any"}, wanted).kept
    assert kept == ["hours", "active"]


def test_what_stays_is_said_in_a_line() -> None:
    """With what is there, and what the settings say."""
    wanted = {"hours": NEW, "active": True, "tags": ["a"]}
    result = merge(as_made({"hours": OLD, "active": True, "tags": ["a"]}, ["hours", "active", "tags"]),
                   {"hours": OTHER, "active": False, "tags": ["b"]}, wanted)  # fmt: skip
    assert list(tell("nightly", result, wanted, None)) == [
        'nightly: its hours stay "0 1 * * *" (UTC), as set on the server; [schedule] says "0 23 * * *" (UTC).',
        "nightly: its schedule stays paused, as set on the server.",
        "nightly: tags as changed on the server.",
    ]
    deleted = merge(as_made({"hours": OLD, "active": True}, ["hours", "active"]), {}, wanted)
    assert next(tell("index", deleted, wanted, None)).startswith("index: its schedule stays deleted;")


def test_hours_are_those_of_the_settings() -> None:
    """Cron and time zone; "" is none; a cron that only looks like one is told."""
    schedule = ScheduleSettings(nightly="30  21 * * 1-5", maintain="", timezone="Europe/Berlin")
    settings = Settings(schedule=schedule)
    assert hours_of("nightly", settings) == ["30 21 * * 1-5", "Europe/Berlin"]
    assert hours_of("maintain", settings) is None
    assert {name: hours_of(name, Settings()) for name in SLUGS} == FIRST
    with pytest.raises(
        SettingsError, match=r"^schedule\.index: Prefect does not understand the cron '99 6 \* \* \*'\.$"
    ):
        hours_of("index", Settings(schedule=ScheduleSettings(index="99 6 * * *")))


def test_the_deadline_of_a_night_is_a_parameter_of_its_deployment() -> None:
    """Where pausing and resuming a schedule does not reach it; "" leaves it to [run]."""
    for deadline, parameter in (("06:00", "06:00"), ("8h", "8h"), ("", None)):
        settings = Settings(schedule=ScheduleSettings(deadline=deadline))
        assert wanted_fields(config("nightly"), settings)["parameter deadline"] == parameter


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('nightly = "22:00"', "schedule.nightly: Expected five fields of cron, such as \"0 22 * * *\""),
        ('timezone = "Berlin"', "schedule.timezone: Expected a time zone, such as UTC or Europe/Berlin. Got 'Berlin'."),
        ('deadline = "6am"', "schedule.deadline: Expected a time such as 06:00, or a span such as 90m, or \"\". Got '6am'."),
        ('nights = ""', "schedule.nights is not a setting. Did you mean 'nightly'?"),
    ],
)  # fmt: skip
def test_hours_that_cannot_be_are_told(written: str, told: str) -> None:
    """With the field, what was expected and what was found."""
    Path("pixelmill.toml").write_text(f"[schedule]\n{written}\n")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert told in str(refused.value)


def test_a_description_says_what_is_left_empty_means() -> None:
    """Sources, models, store, device and deadline, without passwords; what needs none of it says what it does."""
    settings = Settings(
        run=RunSettings(sources=("/photos|a", "https://me:secret@host/b?key=1"), store=Path("/store")),
        web=WebSettings(url="http://host", token="t" * 16),
        deliveries=(DeliverySettings(name="search", to="postgresql://app@db/photos?sslkey=secret", models=("a",)),),
    )
    told = describe("nightly", "Every night.", settings)
    assert told.startswith("Every night.\n\n")
    assert "| deliveries | search to postgresql://db/photos |" in describe("deliver", "On demand.", settings)
    for row in ("| sources | /photos\\|a, https://host/b |", "| store | /store |", "| deadline | 06:00 |"):
        assert row in told
    assert "secret" not in told
    assert "t" * 16 not in told
    assert "| deadline | none |" in describe("vectorize", "On demand.", settings)
    assert describe("demo", "The demo.", settings) == "The demo."


def test_a_description_is_no_template() -> None:
    """Prefect fills in what stands in double braces: variables, blocks."""
    told = describe("maintain", "", Settings(run=RunSettings(store=Path("/{{ $HOME }}"))))
    assert "{{" not in told


def test_the_version_has_the_commit_where_there_is_one(tmp_path: Path) -> None:
    """In a checkout; an installed wheel has none, and neither has a folder below somebody else's checkout."""
    assert version_of(tmp_path) == VERSION
    root = Path(__file__).parent.parent.parent
    if (root / ".git").exists():
        assert version_of(root).startswith(f"{VERSION} (")


def test_each_pool_has_its_embed() -> None:
    """Those of people's own as well: of processes in the checkout, of another type in the image."""
    found = {each["name"]: each for each in configs({"cpu": "process", "mine": "process", "ours": "docker", "docker-gpu": "docker"})}  # fmt: skip
    assert found["embed-mine"]["work_pool"] == {"name": "mine"}
    assert "pull" not in found["embed-mine"]
    assert found["embed-ours"]["pull"] == found["embed-docker-gpu"]["pull"]
    assert "device_requests" in found["embed-docker-gpu"]["work_pool"]["job_variables"]
    assert {"embed-cpu", "embed-gpu"} < set(found)


def test_the_demo_is_left_out_where_it_could_not_write() -> None:
    """Its store is in the checkout."""
    assert "demo" in [each["name"] for each in configs({})]
    assert "demo" not in [each["name"] for each in configs({}, has_demo=False)]


def config(name: str) -> dict[str, Any]:
    return next(each for each in configs({}) if each["name"] == name)


def given(**run: Any) -> Settings:
    return Settings(run=RunSettings(**run), workers=(WorkerSettings(name="a"),))
