"""What lets into a target is shown nowhere, whatever becomes of it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from pixelmill.deliver import targets
from pixelmill.deliver.base import Target
from pixelmill.deliver.deliver import deliver
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import DeliveryError, DeliveryRefused
from tests.support.delivered import small_store

VARIABLE = "PIXELMILL_PASSWORD_SEARCH"


def delivery_to(to: str) -> Delivery:
    return Delivery(name="search", to=to, models=("a",))


def test_a_line_that_ends_behind_it_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets that come from files have one. Spaces are."""
    for given, meant in (("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" a b ", " a b "), ("\n", None)):
        monkeypatch.setenv(VARIABLE, given)
        assert delivery_to("parquet:out").password == meant


@pytest.mark.parametrize("variable", [VARIABLE, "QDRANT_API_KEY"])
@pytest.mark.parametrize("key", ["hunter2\nhunter3", "hünter2", "hunter2 hunter3"])
def test_a_key_that_is_none_is_refused_in_words(variable: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a client of HTTP shows it, since it does not fit into a header."""
    monkeypatch.setenv(variable, key)
    with pytest.raises(DeliveryRefused, match=rf"Expected .*{variable}.* to be a token") as refused:
        deliver(small_store(), delivery_to("qdrant://127.0.0.1:1"))
    assert "nter" not in str(refused.value)


@pytest.mark.parametrize("password", ["hun/ter2", "hun\nter2", "hün'ter2\\", "\x07ter2"])
def test_what_a_driver_says_of_it_is_not_told(
    password: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error nor in the log or in the store, and in no form that programs write it down in."""

    def refused(delivery: Delivery) -> Target:
        raise ValueError(f"{password} {password!r} {password.encode()!r} {password!a}")

    monkeypatch.setenv(VARIABLE, password)
    monkeypatch.setitem(targets._OPENERS, "parquet", refused)
    caplog.set_level(logging.DEBUG)
    store = small_store()
    with pytest.raises(DeliveryError, match="ValueError") as failed:
        deliver(store, delivery_to("parquet:out"))
    record = Path(store / "deliveries/search.json").read_text()
    for told in ("".join(traceback.format_exception(failed.value)), caplog.text, record):
        assert "ValueError" in told
        assert "ter2" not in told
