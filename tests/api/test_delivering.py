"""`pixelmill.deliver` mirrors a store from Python: what is given, or what a settings file says."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

import pixelmill
import pixelmill.deliver.mirror
from pixelmill.errors import DeliveryRefused, SettingsError, StoreError
from tests.support.delivered import rows_in, settings, small_store


def test_what_is_given_is_delivered() -> None:
    """With the columns and the rows that were asked for; once more there is nothing to send, and nothing differs."""
    store = small_store()
    options = {"to": "parquet:out", "models": "a", "columns": ["label"], "where": "row < 10"}
    done = pixelmill.deliver(store, "chosen", **options)  # type: ignore[call-overload]
    assert (done.sent, done.rows, done.is_equal) == (10, 10, True)
    assert rows_in("out", "chosen")[3]["label"] == "label 3"
    assert pixelmill.deliver(store, "chosen", **options).sent == 0  # type: ignore[call-overload]
    found = pixelmill.deliver(store, "chosen", check=True, full=True, **options)  # type: ignore[call-overload]
    assert (found.compared, found.differences) == (10, ())


def test_a_settings_file_says_the_rest() -> None:
    """By the name; a dry run writes nothing."""
    store = small_store()
    settings("search", "other")
    assert pixelmill.deliver(store, "other", config="pixelmill.toml", dry_run=True).sent == 50
    assert not Path("out").exists()
    assert pixelmill.deliver(store, "other", config="pixelmill.toml").sent == 50
    assert not Path("out/search").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "nothing", "config": "pixelmill.toml"}, SettingsError, "'nothing'. There are search"),
        ({"name": "search"}, SettingsError, r"Expected \[\[deliveries\]\]"),
        ({"name": "search", "models": "a"}, SettingsError, "Expected `to`, which says where it goes"),
        ({"name": "Search", "to": "parquet:out", "models": "a"}, SettingsError, "Expected a name such as search"),
        ({"name": "search", "to": "parqet:out", "models": "a"}, SettingsError, r"Did you mean 'parquet'\?$"),
        ({"name": "search", "to": "parquet:out", "models": ()}, SettingsError, "The delivery 'search': models"),
        ({"name": "search", "to": "parquet:out", "models": "b"}, DeliveryRefused, "Got 'b'"),
        ({"name": "search", "to": "parquet:out", "models": "a", "columns": ["lable"]}, DeliveryRefused, "'label'"),
        ({"name": "search", "to": "parquet:out", "models": "a", "store": "no"}, StoreError, "no"),
        ({"name": "search", "config": "pixelmill.toml", "check": True, "dry_run": True}, SettingsError, "Got both"),
    ],
)
def test_what_does_not_fit_is_told_in_words(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    """As the command tells it, as the error that a program can catch."""
    settings("search")
    with pytest.raises(error, match=words) as raised:
        pixelmill.deliver(**{"store": small_store(), **arguments})  # type: ignore[call-overload]
    assert isinstance(raised.value, pixelmill.PixelmillError)


def test_the_function_travels_and_explains_itself() -> None:
    """It can be pickled for another process, though files of a package of its name were imported; and `help` says what
    its arguments are."""
    assert pickle.loads(pickle.dumps(pixelmill.deliver)) is pixelmill.deliver
    told = inspect.getdoc(pixelmill.deliver)
    for argument in inspect.signature(pixelmill.deliver).parameters:
        assert argument in (told or "")
