"""What the weights cache holds: each file, of which models it is, how large, when it was last used; and its removal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pixelmill.models.base import ModelSpec
from pixelmill.models.fetch.mirrors import place_under
from pixelmill.models.fetch.records import Record
from pixelmill.models.weights import WeightsCache


@dataclass(frozen=True, slots=True)
class Held:
    """One file of the cache. `models` are those known by name that need it; `used` is Unix seconds of its last use;
    `whole` is False for what a broken download left, which the next one goes on from."""

    path: Path
    url: str
    models: tuple[str, ...]
    bytes: int
    used: float
    whole: bool = True


def inventory(cache: WeightsCache, specs: Iterable[ModelSpec]) -> list[Held]:
    """Every file of the cache, the largest first."""
    users: dict[Path, list[str]] = {}
    for spec in specs:
        for source in spec.files:
            for url in filter(None, (source.url, source.alternative)):
                users.setdefault(cache.cache_dir / place_under("", url), []).append(spec.name)
    records = (path for path in cache.cache_dir.rglob("*.json") if path.parent != cache.cache_dir / "local")
    found = [held for path in records if (held := _held(path, users)) is not None]
    partial = [_broken(path, users) for path in cache.cache_dir.rglob("*.partial")]
    return sorted([*found, *partial], key=lambda held: (-held.bytes, held.path))


def unused_for(held: Sequence[Held], days: float) -> list[Held]:
    """Those that nothing has used for so many days."""
    return [one for one in held if one.used < time.time() - 86_400 * days]


def remove(held: Held) -> None:
    """Delete a file of the cache with what is noted of it. Waits for a download of it to end; models in memory stay."""
    whole = held.path if held.whole else held.path.with_suffix("")
    with FileLock(f"{whole}.lock"):
        for path in (held.path, held.path.with_name(f"{held.path.name}.json")):
            path.unlink(missing_ok=True)
    whole.with_name(f"{whole.name}.lock").unlink(missing_ok=True)


def _held(record: Path, users: dict[Path, list[str]]) -> Held | None:
    path, known = record.with_suffix(""), Record.read(record)
    if known is None or path.suffix == ".partial" or not path.is_file():
        return None
    return Held(path, known.url, tuple(users.get(path, ())), path.stat().st_size, record.stat().st_mtime)


def _broken(path: Path, users: dict[Path, list[str]]) -> Held:
    stat, whole = path.stat(), path.with_suffix("")
    return Held(path, "", tuple(users.get(whole, ())), stat.st_size, stat.st_mtime, whole=False)
