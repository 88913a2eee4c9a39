"""Evaluations of a store, kept beside it: what the gallery shows of them."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pixelmill.errors import StoreError, reason_of
from pixelmill.evaluation.told import Evaluation
from pixelmill.store.durable import make_folder_durably, remove_halves, write_durably
from pixelmill.store.forgotten import FORGOTTEN

FOLDER: Final = "evaluations"
MOST: Final = 20
"""Evaluations that are kept, the newest."""
NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{3}Z")
"""How they are called: by when they were made, in UTC."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An evaluation by its name, and when it was made."""

    name: str
    made: datetime
    evaluation: Evaluation


def keep(folder: Path, evaluation: Evaluation) -> tuple[str, ...]:
    """Keep an evaluation with the store in `folder`, and forget the oldest ones. Gives the reason why, in words, where
    it cannot be kept, as on media that can only be read."""
    now = time.time()
    name = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S") + f".{int(now * 1000) % 1000:03}Z"
    try:
        make_folder_durably(folder / FOLDER)
        write_durably(_file(folder, name), json.dumps(evaluation.model_dump(mode="json")).encode())
    except (OSError, StoreError) as error:
        return (f"The evaluation could not be kept in {folder / FOLDER}: {reason_of(error)}",)
    for oldest in names(folder)[MOST:]:
        with suppress(OSError):
            _file(folder, oldest).unlink(missing_ok=True)
    return ()


def forget_names(folder: Path) -> None:
    """Let what is kept name no picture and no label that few pictures have: neither the classes of one picture, nor
    texts of conditions. The numbers stay. What cannot be read goes, as does what died half written. Raises StoreError,
    OSError."""
    for name in names(folder):
        kept, file = read_kept(folder, name), _file(folder, name)
        if kept is None:
            file.unlink(missing_ok=True)
        elif (nameless := _nameless(kept.evaluation)) != kept.evaluation:
            write_durably(file, json.dumps(nameless.model_dump(mode="json")).encode())
    remove_halves(folder / FOLDER)


def _nameless(evaluation: Evaluation) -> Evaluation:
    where = FORGOTTEN if "'" in (evaluation.where or "") else evaluation.where
    singles = (FORGOTTEN,) if evaluation.pictures.singles else ()
    pictures = evaluation.pictures.model_copy(update={"singles": singles})
    return evaluation.model_copy(update={"where": where, "pictures": pictures})


def names(folder: Path) -> list[str]:
    """What is kept, the newest first."""
    try:
        found = [path.stem for path in (folder / FOLDER).iterdir() if path.suffix == ".json"]
    except OSError:
        return []
    return sorted(filter(NAME.fullmatch, found), reverse=True)


def read_kept(folder: Path, name: str) -> Kept | None:
    """One of them; None where it is not there any more, or cannot be read."""
    try:
        made = datetime.strptime(name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        return Kept(name, made, Evaluation.model_validate(json.loads(_file(folder, name).read_bytes())))
    except (OSError, ValidationError, ValueError):
        return None


def _file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.json"
