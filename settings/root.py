"""The root of all settings, and the words for what does not fit."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic_settings
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pixelmill.deliver.delivery import NAME, VARIABLE
from pixelmill.errors import SettingsError, nearest
from pixelmill.joining.table import MOST_TABLES
from pixelmill.paths import local_path
from settings.deliveries import DeliverySettings
from settings.group import IN_WORDS
from settings.heads import BY_KIND, HeadSettings, of_good_names
from settings.images import ImageSettings
from settings.models import OwnModel
from settings.run import DEADLINE, WORDS, RunSettings
from settings.schedule import NIGHT_DEADLINE, ScheduleSettings
from settings.tables import TableSettings
from settings.web import WebSettings
from settings.weights import WeightsSettings
from settings.workers import WorkerSettings

PREFIX = "PIXELMILL_"
CONFIG_VARIABLE = "PIXELMILL_CONFIG"
DEFAULT_FILE = Path("pixelmill.toml")
_WORDS = WORDS | {
    NIGHT_DEADLINE: f'{WORDS[DEADLINE]}, or ""',
    NAME: "Expected a name such as search or photos_2024: 3 to 40 small letters, digits and _, a letter first",
}
_SERVICE = re.compile(r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_LISTED: Mapping[str, type[BaseModel]] = {
    "workers": WorkerSettings, "tables": TableSettings, "deliveries": DeliverySettings
}  # fmt: skip
_ENDPOINT = re.compile(r"(tcp|udp|sctp)://")


def _of_different_names(deliveries: tuple[DeliverySettings, ...]) -> tuple[DeliverySettings, ...]:
    names = [delivery.name for delivery in deliveries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Expected a name of its own for each delivery. {', '.join(twice)} is there twice")
    return deliveries


class Settings(BaseSettings):
    """All settings. Flags come before variables, variables before the file, the file before the defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    # Made when they are asked for: some defaults follow the environment, which counts as it is then.
    run: RunSettings = Field(default_factory=RunSettings)
    images: ImageSettings = Field(default_factory=ImageSettings)
    weights: WeightsSettings = Field(default_factory=WeightsSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    models: dict[str, OwnModel] = {}
    workers: tuple[WorkerSettings, ...] = ()
    heads: Annotated[dict[str, HeadSettings], AfterValidator(of_good_names)] = {}
    tables: tuple[TableSettings, ...] = Field((), max_length=MOST_TABLES)
    deliveries: Annotated[tuple[DeliverySettings, ...], AfterValidator(_of_different_names)] = ()
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)


def load_settings(
    config: Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None, *, here: bool = True
) -> Settings:
    """Settings from `config` (else PIXELMILL_CONFIG, else ./pixelmill.toml if there is one), variables and `overrides`.

    `overrides` are flags, as {"run": {"batch_size": 8}}; those that are None do not count. Without `here`,
    ./pixelmill.toml counts only where it is named.
    Raises SettingsError that names the file or variable, the field, what was expected and the nearest right name.
    """
    file = _config_file(config, here=here)
    given: dict[str, Any] = {
        group: {k: v for k, v in values.items() if v is not None} for group, values in (overrides or {}).items()
    }
    origin = f"{file}, {PREFIX}… variables and flags" if file else f"{PREFIX}… variables and flags"
    _check_variables(os.environ)
    try:
        return _sourced(file)(**given)
    except SettingsError:
        raise
    except ValidationError as error:
        raise SettingsError(f"Settings from {origin}: " + " ".join(problems(error))) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"Expected {file} to be TOML. {error}.") from error
    except (pydantic_settings.SettingsError, ValueError, RecursionError, TypeError) as error:
        # A variable that is no JSON; bytes that are no UTF-8; numbers of thousands of digits; a thousand brackets.
        raise SettingsError(f"Settings from {origin} cannot be read: {error}.") from error
    except OSError as error:
        raise SettingsError(f"Expected a settings file at {file}. It cannot be read: {error.strerror}.") from error


def _sourced(file: Path | None) -> type[Settings]:
    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            assert isinstance(init_settings, InitSettingsSource)
            assert isinstance(env_settings, EnvSettingsSource)
            toml = (TomlConfigSettingsSource(settings_cls, file),) if file else ()
            return (init_settings, env_settings, *toml)

    Sourced.__name__ = "Settings"
    return Sourced


def _config_file(config: Path | None, *, here: bool) -> Path | None:
    given = config or os.environ.get(CONFIG_VARIABLE)
    if not given:
        return DEFAULT_FILE if here and os.path.isfile(DEFAULT_FILE) else None  # noqa: PTH113 - no word of a folder that is closed
    try:
        named = local_path(given)
    except ValueError as error:
        raise SettingsError(f"{error}.") from error
    if not os.path.isfile(named):  # noqa: PTH113
        raise SettingsError(f"Expected a settings file at {named}. Found none.")
    return named


def _check_variables(environment: Mapping[str, str]) -> None:
    known = {CONFIG_VARIABLE, *_variables()}
    for name, value in environment.items():
        upper = name.upper()
        is_open = upper.startswith((f"{PREFIX}MODELS__", f"{PREFIX}HEADS__", VARIABLE))
        if upper.startswith(PREFIX) and upper not in known and not is_open and not _of_kubernetes(upper, value):
            raise SettingsError(f"The environment variable {name} is not a setting.{nearest(upper, known)}")


def _of_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes made a variable, for a Service called `pixelmill` or `pixelmill-…` beside this pod."""
    return _SERVICE.fullmatch(name) is not None or (name.endswith("_PORT") and _ENDPOINT.match(value) is not None)


def _variables() -> Iterable[str]:
    for group, field in Settings.model_fields.items():
        yield f"{PREFIX}{group.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{PREFIX}{group.upper()}__{name.upper()}" for name in field.annotation.model_fields)


def problems(error: ValidationError) -> Iterable[str]:
    """What does not fit, each in a sentence that names the field."""
    for problem in error.errors():
        loc = [str(step) for step in problem["loc"]]
        place = _without_kind(loc)
        name = ".".join(place)
        if problem["type"] == "extra_forbidden":
            yield f"{name} is not a setting.{nearest(place[-1], _siblings(loc[:-1]))}"
        elif problem["type"] == "missing":
            yield f"{name} is missing."
        else:
            said = problem["msg"].removeprefix("Value error, ").rstrip(".")
            words = _WORDS.get(str(problem.get("ctx", {}).get("pattern")), said)
            given = "" if problem["type"] == IN_WORDS else f" Got {problem['input']!r}."
            yield f"{name}: {words}{'' if words.endswith('?') else '.'}{given}"


def _without_kind(place: list[str]) -> list[str]:
    """Where in the file: behind the name of a head pydantic names its kind."""
    return [*place[:2], *place[3:]] if place[:1] == ["heads"] else place


def _siblings(place: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for step in place:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        elif model is Settings and annotation is not None:
            model = BY_KIND[place[2]] if step == "heads" and len(place) > 2 else _LISTED.get(step, OwnModel)
    return list(model.model_fields)
