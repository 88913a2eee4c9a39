"""What is kept beside a store's rows of evaluations and heads names no picture that was forgotten, nor holds any of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelmill.evaluation.kept import keep, names, read_kept
from pixelmill.evaluation.told import Evaluation, Pictures
from pixelmill.forgetting.chosen import Which
from pixelmill.forgetting.forget import forget
from pixelmill.heads.kept import keep as keep_layers
from pixelmill.heads.scorer import Scorer
from tests.support.forgettable import filled
from tests.support.stores import path_of


def test_evaluations_name_nothing(tmp_path: Path) -> None:
    """Neither as a class of one picture nor in their condition, and they are not told of as somebody else's."""
    filled(tmp_path / "store")
    pictures = Pictures(rows=10, usable=9, compared=9, classes=2, single_classes=1, singles=("anna",))
    keep(tmp_path / "store", Evaluation(
        store="s", labels="folder", where=f"path = '{path_of(7)}'", pictures=pictures, folds=5, seed=0, probe="logistic",
        scores=(), best={},
    ))  # fmt: skip
    assert forget(tmp_path / "store", Which("row = 7"), thumbnails=tmp_path).warnings == ()
    kept = read_kept(tmp_path / "store", names(tmp_path / "store")[0])
    assert kept is not None
    assert (kept.evaluation.where, kept.evaluation.pictures.singles) == ("(forgotten)", ("(forgotten)",))


def test_layers_of_heads_go(tmp_path: Path) -> None:
    """Those of a head that no settings name any more, too; projections of matrices stay."""
    filled(tmp_path / "store")
    keep_layers(
        tmp_path / "store",
        "who",
        "f",
        Scorer(("anna", "b"), ((np.eye(2, 3, dtype="f4"), np.zeros(2, "f4")),), normalize=True),
    )
    (tmp_path / "store" / "heads" / "small.0123456789abcdef.safetensors").write_bytes(b"axes")
    forget(tmp_path / "store", Which("row = 7"), thumbnails=tmp_path)
    assert [file.name for file in (tmp_path / "store" / "heads").iterdir()] == ["small.0123456789abcdef.safetensors"]
