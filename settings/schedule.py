"""`[schedule]`: at which hours deployments/set_up.py lets Prefect run what runs by itself."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from settings.group import Group, in_words
from settings.run import DEADLINE

NIGHT_DEADLINE = rf"^$|{DEADLINE}"
_CRON = re.compile(r"[\d*/,#LW?A-Za-z-]+( [\d*/,#LW?A-Za-z-]+){4}")


def _checked_cron(given: str) -> str:
    text = " ".join(given.split())
    if text and not _CRON.fullmatch(text):
        raise ValueError(f'Expected five fields of cron, such as "0 22 * * *", or "" for no schedule. Got {given!r}')
    return text


def _checked_zone(given: str) -> str:
    try:
        return ZoneInfo(given).key
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"Expected a time zone, such as UTC or Europe/Berlin. Got {given!r}") from error


Cron = Annotated[str, AfterValidator(partial(in_words, _checked_cron))]


class ScheduleSettings(Group):
    """When `nightly`, `maintain` and `index` run, in the words of cron on the clock of `timezone`; "" is never.
    `deadline` is when a night stops; "" leaves that to `[run] deadline`."""

    nightly: Cron = "0 22 * * *"
    maintain: Cron = "0 12 * * 0"
    index: Cron = "30 6 * * *"
    timezone: Annotated[str, AfterValidator(partial(in_words, _checked_zone))] = "UTC"
    deadline: str = Field("06:00", pattern=NIGHT_DEADLINE)
