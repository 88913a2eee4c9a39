"""What a shell is offered for models, stores and files: by what lies here, without NumPy, in a tenth of a second."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from click import Context, Parameter
from click.shell_completion import CompletionItem

_MASTER: Final = "vectors.h5"
_COPY: Final = "manifest.json"
_PLAIN: Final = re.compile(r"~?[\w./%+,@-]+")
"""What no shell takes for anything but a name."""
_DEPTH: Final = 2
"""Folders below the one that is typed in which stores are looked for."""
_MOST: Final = 2000
"""Entries of folders that are looked at: a shell waits."""


def any_model(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Models of the settings and the catalog, one or several with commas between them."""
    from pixelmill import catalog

    return _listed([*_own_models(context), *catalog.names()], typed)


def stored_model(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Models and ensembles of the store that was named before."""
    # Where an option still lacks its value, click has told no arguments apart yet.
    store = context.params.get("store") or next(iter(context.args), ".")
    return _listed(_models_in(Path(store)), typed)


def delivery(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Names of the settings' deliveries, but for those that stand there already."""
    named = context.params.get("names") or ()
    given = _settings(context).get("deliveries")
    told = [one.get("name") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [CompletionItem(n) for n in told if isinstance(n, str) and n.startswith(typed) and n not in named]


def file(context: Context, parameter: Parameter, typed: str) -> list[CompletionItem]:
    """Files and folders, by the shell itself."""
    return [CompletionItem(typed, type="file")]


def stores(typed: str) -> list[CompletionItem]:
    """Folders that hold a store; where there is none, any folder, by the shell itself. Names that have to be quoted are
    left to the shell as well, which knows how."""
    base, _, start = typed.rpartition("/")
    base += "/" if base or typed.startswith("/") else ""
    found = [base + path for path in _stores_below(Path(os.path.expanduser(base) or "."), start)]  # noqa: PTH111
    plain = sorted(path for path in found if _PLAIN.fullmatch(path))
    return [CompletionItem(path) for path in plain] or [CompletionItem(typed, type="dir")]


def _listed(names: Iterable[str], typed: str) -> list[CompletionItem]:
    head, comma, last = typed.rpartition(",")
    taken = head.split(",")
    return [CompletionItem(f"{head}{comma}{name}") for name in names if name.startswith(last) and name not in taken]


def _own_models(context: Context) -> list[str]:
    models = _settings(context).get("models")
    return list(models) if isinstance(models, dict) else []


def _settings(context: Context) -> dict[str, Any]:
    """What the settings file says; nothing where there is none, or one that cannot be read."""
    path = context.params.get("config") or os.environ.get("PIXELMILL_CONFIG") or "pixelmill.toml"
    try:
        with open(path, "rb") as settings:  # noqa: PTH123 - a text or a path
            return tomllib.load(settings)
    except (OSError, ValueError, TypeError):
        return {}


def _models_in(store: Path) -> list[str]:
    """By the copy of the manifest, which is a JSON file; nothing where there is none."""
    try:
        manifest: Any = json.loads((store / _COPY).read_bytes())
        models = [matrix["provenance"]["model"] for matrix in manifest["matrices"] if matrix["serving"]]
        return sorted([*models, *(ensemble["name"] for ensemble in manifest.get("ensembles", ()))])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _stores_below(folder: Path, start: str) -> Iterator[str]:
    """Paths relative to `folder`, of stores whose first name begins with `start`."""
    entries = islice(_folders(folder, "", _DEPTH), _MOST)
    return (path for path in entries if path.startswith(start) and (folder / path / _MASTER).is_file())


def _folders(folder: Path, below: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder / below) as inside:
            names = [entry.name for entry in inside if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return
    for name in names:
        yield below + name
    for name in names if depth > 1 else ():
        yield from _folders(folder, f"{below}{name}/", depth - 1)
