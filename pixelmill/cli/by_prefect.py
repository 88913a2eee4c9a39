"""Whether a run is a flow of Prefect: by its flags, its settings, and where Prefect's settings name a server."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pixelmill.run.job import Job

_READ = frozenset({"api", "profiles_path"})
"""What prefect.toml may say of servers: the API's settings, and where profiles lie."""


_QUIET = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def check_flags(*, prefect: bool, direct: bool) -> None:
    """Raises UsageError for both at once."""
    if prefect and direct:
        raise click.UsageError("Expected --prefect, --direct or neither. Got both.")


def goes_by_prefect(job: Job, *, prefect: bool, direct: bool) -> bool:
    """Raises SettingsError for a job that only Prefect can have done, and for settings that Prefect cannot read."""
    if direct:
        from pixelmill.run.direct import refuse_workers

        refuse_workers(job)
        return False
    return prefect or job.fan_out == "workers" or names_server(os.environ)


def names_server(environment: Mapping[str, str]) -> bool:
    """Whether Prefect's settings name a server. Prefect itself is asked, which takes it a second to start, but only
    where they may."""
    return may_name_server(environment) and load_quietly() is not None


def load_quietly() -> str | None:
    """Load Prefect; the server's address that its settings name. Errors are told by the command, once, in words, and
    nothing about this run leaves this machine. Raises SettingsError for settings that Prefect cannot read."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from flows._loading import load_prefect

    return load_prefect() or None


def may_name_server(environment: Mapping[str, str]) -> bool:
    """Whether a variable, a file in the working directory or the profile in use could name Prefect a server. Yes for
    what cannot be read: Prefect says in words what is wrong with it."""
    try:
        return (
            any(name.upper().startswith("PREFECT_API") for name in environment)
            or _in_this_folder()
            or _in_profile(environment)
        )
    except (OSError, ValueError, AttributeError, RecursionError):  # not to be read; no TOML, or no tables in it
        return True


def _in_this_folder() -> bool:
    variables, own, project = Path(".env"), _toml(Path("prefect.toml")), _toml(Path("pyproject.toml"))
    return (
        (variables.is_file() and "prefect" in variables.read_text(errors="replace").casefold())
        or not _READ.isdisjoint(own)
        or bool(project.get("tool", {}).get("prefect"))
    )


def _in_profile(environment: Mapping[str, str]) -> bool:
    """Whether the profile in use names a server. Prefect's own, which serves without any, does not."""
    profiles = _toml(_profiles(environment))
    active = environment.get("PREFECT_PROFILE") or profiles.get("active")
    return any(name.startswith("PREFECT_API") for name in profiles.get("profiles", {}).get(active, {}))


def _profiles(environment: Mapping[str, str]) -> Path:
    if named := environment.get("PREFECT_PROFILES_PATH"):
        return Path(named)
    home = environment.get("PREFECT_HOME")
    return (Path(home) if home else Path.home() / ".prefect") / "profiles.toml"


def _toml(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
