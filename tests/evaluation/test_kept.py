"""Evaluations are kept with their store, as many as the gallery lists; where that cannot be, it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from pixelmill.evaluation.kept import FOLDER, MOST, forget_names, keep, names, read_kept
from pixelmill.evaluation.told import Cost, Evaluation, Measured, Pictures, Scores

MODEL = Scores(
    name="a", models=("a",), weights=(1.0,), cost=Cost(dim=3, gb_per_million=0.012),
    measures={"probe": Measured(value=0.5, low=0.4, high=0.6, pictures=9)},
)  # fmt: skip
TOLD = Evaluation(
    store="s", labels="kind \udcff", pictures=Pictures(rows=9, usable=9, compared=9, classes=2), folds=5, seed=0,
    probe="logistic", scores=(MODEL,), best={"probe": ("a",)},
)  # fmt: skip


def test_it_is_read_as_it_was_kept(tmp_path: Path) -> None:
    """With when it was made; odd letters as they were."""
    before = datetime.now(UTC)
    assert keep(tmp_path, TOLD) == ()
    (name,) = names(tmp_path)
    kept = read_kept(tmp_path, name)
    assert kept is not None
    assert kept.evaluation == TOLD
    assert abs((kept.made - before).total_seconds()) < 60


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """The oldest goes; what has another name is not touched."""
    (tmp_path / FOLDER).mkdir()
    old = [f"20240101T0000{second:02}.000Z" for second in range(MOST)]
    for name in [*old, "notes"]:
        (tmp_path / FOLDER / f"{name}.json").write_text("{}")
    keep(tmp_path, TOLD)
    assert names(tmp_path)[1:] == old[:0:-1]
    assert (tmp_path / FOLDER / "notes.json").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"store": 1}', "\0"])
def test_a_damaged_one_is_none(tmp_path: Path, content: str) -> None:
    """As is one that is gone, or has no name of one."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "20240101T000000.000Z.json").write_text(content)
    assert read_kept(tmp_path, "20240101T000000.000Z") is None
    assert read_kept(tmp_path, "20240101T000000.001Z") is None
    assert read_kept(tmp_path, "../../etc/passwd") is None


def test_where_it_cannot_be_kept_is_told(tmp_path: Path) -> None:
    """In words, with the folder."""
    (tmp_path / FOLDER).write_text("in the way")
    (words,) = keep(tmp_path, TOLD)
    assert f"could not be kept in {tmp_path / FOLDER}" in words
    assert names(tmp_path) == []


def test_names_are_forgotten(tmp_path: Path) -> None:
    """Classes of one picture and texts of conditions go, also of what died half written or is damaged; numbers stay."""
    named = TOLD.pictures.model_copy(update={"single_classes": 2, "singles": ("anna", "berta")})
    keep(tmp_path, TOLD.model_copy(update={"pictures": named, "where": "path LIKE 'anna/%'"}))
    (name,) = names(tmp_path)
    for other in ("20240101T000000.000Z.json", f".{name}.json.0a1b.tmp"):
        (tmp_path / FOLDER / other).write_text("{anna")
    forget_names(tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    assert not any(word in file.read_text() for word in ("anna", "berta"))
    kept = read_kept(tmp_path, name)
    assert kept is not None
    assert kept.evaluation.scores == TOLD.scores
    assert kept.evaluation.pictures.single_classes == 2
    plain = TOLD.model_copy(update={"where": "width > 9"})
    keep(tmp_path, plain)
    forget_names(tmp_path)
    assert next(one.evaluation for one in map(partial(read_kept, tmp_path), names(tmp_path)) if one) == plain
