"""Columns of heads: what stands in them, when they are made anew, what is refused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pixelmill.heads import compute, define
from pixelmill.heads.compute import compute_heads
from pixelmill.heads.folders import folders_of
from pixelmill.heads.head import FileHead, Head, LinearHead
from pixelmill.heads.scorer import Scorer
from pixelmill.heads.told import HeadReport
from pixelmill.search.encoder import QueryEncoder
from pixelmill.search.where import rows_where
from pixelmill.store.commit import StoreWriter
from pixelmill.store.compact import compact
from pixelmill.store.manifest import Provenance
from pixelmill.store.reader import Store
from pixelmill.store.rows import Content, ShardRows, Vectors
from pixelmill.store.verify import repair, verify
from settings import load_settings
from tests.support.columns import add_columns
from tests.support.labelled import clouds, labelled_store
from tests.support.stores import file_of, provenance, record_files, sha256, shard_rows

ROWS, DIM = 120, 8
LABELS = np.arange(ROWS) % 3
NAMES = ["cat", "dog", "emu"]
VECTORS = clouds(LABELS, DIM, 0.5) * np.linspace(0.5, 3, ROWS, dtype=np.float32)[:, None]
RNG = np.random.default_rng(3)
WEIGHT, BIAS = RNG.standard_normal((3, DIM)).astype(np.float32), RNG.standard_normal(3).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Vectors of one model, and of every second row a label in `kind`; row 7 has no vector."""
    vectors = VECTORS.copy()
    vectors[7] = np.nan
    kinds = [NAMES[n] if row % 2 else None for row, n in enumerate(LABELS)]
    numbers = {"number": [int(n) for n in LABELS], "light": [0.5] * ROWS, "same": ["one"] * ROWS}
    return labelled_store(tmp_path / "store", {"a": vectors}, {"kind": kinds, **numbers})


def no_encoder(made: Provenance) -> QueryEncoder:
    raise AssertionError("no text tower is needed")


def fill(store: Path, heads: Mapping[str, Head], **more: Any) -> tuple[HeadReport, ...]:
    with StoreWriter(store) as writer:
        return compute_heads(writer, heads, no_encoder, **more)


def saved(path: Path, tensors: Mapping[str, np.ndarray], labels: object = NAMES) -> Path:
    save_file(dict(tensors), path, metadata={} if labels is None else {"labels": json.dumps(labels)})
    return path


def linear_file(tmp_path: Path) -> Path:
    return saved(tmp_path / "head.safetensors", {"weight": WEIGHT, "bias": BIAS})


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def columns(store: Path, name: str = "animal") -> tuple[list[str], np.ndarray]:
    found = Store(store).columns
    return list(found[name]), found[f"{name}.score"]


def require_equal(store: Path, likelihood: np.ndarray, classes: list[str], name: str = "animal") -> None:
    """Of each row the likeliest class and how likely it is, but for row 7."""
    labels, scores = columns(store, name)
    there = np.arange(len(labels)) != 7
    assert labels[7] == ""
    assert np.isnan(scores[7])
    expected = [classes[n] for n in likelihood.argmax(axis=1)]
    assert [label for label, is_there in zip(labels, there, strict=True) if is_there] == [
        label for label, is_there in zip(expected, there, strict=True) if is_there
    ]
    np.testing.assert_allclose(scores[there], likelihood.max(axis=1)[there], rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_linear_head_of_a_file(store: Path, tmp_path: Path, normalize: bool) -> None:
    """Softmax of what PyTorch's Linear makes of the vectors, as they are stored or of length 1."""
    import torch

    head = FileHead(kind="file", model="a", file=linear_file(tmp_path), normalize=normalize)
    (told,) = fill(store, {"animal": head})
    assert (told.rows, told.pending, told.is_anew, told.problem) == (ROWS - 1, 0, False, "")
    vectors = torch.from_numpy(VECTORS)
    vectors = torch.nn.functional.normalize(vectors) if normalize else vectors
    logits = torch.nn.functional.linear(vectors, torch.from_numpy(WEIGHT), torch.from_numpy(BIAS))
    require_equal(store, logits.softmax(1).numpy(), NAMES)
    assert verify(store) == []


def test_an_mlp_of_a_file(store: Path, tmp_path: Path) -> None:
    """As PyTorch's Sequential of Linear, ReLU, Linear, whose state is saved under these names."""
    import torch

    torch.manual_seed(1)
    first, last = torch.nn.Linear(DIM, 5), torch.nn.Linear(5, 3, bias=False)
    tensors = {"layers.0.weight": first.weight, "layers.0.bias": first.bias, "layers.10.weight": last.weight}
    file = saved(tmp_path / "mlp.safetensors", {name: one.detach().numpy() for name, one in tensors.items()})
    fill(store, {"animal": FileHead(kind="file", model="a", file=file)})
    with torch.inference_mode():
        logits = torch.nn.Sequential(first, torch.nn.ReLU(), last)(torch.from_numpy(VECTORS))
    require_equal(store, logits.softmax(1).numpy(), NAMES)


def test_a_head_with_one_output(store: Path, tmp_path: Path) -> None:
    """Its score is the value itself."""
    file = saved(tmp_path / "one.safetensors", {"weight": WEIGHT[:1]}, ["beauty"])
    fill(store, {"animal": FileHead(kind="file", model="a", file=file)})
    labels, scores = columns(store)
    assert set(labels) == {"beauty", ""}
    np.testing.assert_allclose(np.delete(scores, 7), np.delete(VECTORS @ WEIGHT[0], 7), rtol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "labels", "words"),
    [
        (
            {"weight": WEIGHT[:, :5]},
            NAMES,
            r"Expected weight of shape \(outputs, 8\) in .*bad.safetensors. Got \(3, 5\)",
        ),
        ({"weight": WEIGHT, "bias": BIAS[:2]}, NAMES, r"Expected bias of shape \(3\) in .*bad.safetensors. Got \(2\)"),
        ({"weight": WEIGHT[0]}, NAMES, r"Expected weight of shape .* Got \(8\)"),
        ({"layers.0.weight": WEIGHT, "layers.1.weight": WEIGHT}, NAMES, r"layers.1.weight of shape \(outputs, 3\)"),
        ({"layers.0.weight": WEIGHT, "layers.1.bias": BIAS}, NAMES, "Expected tensors called"),
        ({"weight": WEIGHT, "extra": BIAS}, NAMES, "Expected tensors called .* Got extra, weight"),
        ({"weight": WEIGHT.astype(np.int32)}, NAMES, "Expected F16, F32 or F64 in .* Got I32 in weight"),
        ({"weight": WEIGHT}, NAMES[:2], "Expected 3 labels in .*bad.safetensors, one for each output. Got 2"),
        ({"weight": WEIGHT}, None, "Expected the labels of .*bad.safetensors in its metadata"),
        ({"weight": WEIGHT}, ["a", "a", "b"], "each once"),
        ({"weight": WEIGHT}, ["a", "b", "\0"], "Expected the labels"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    store: Path, tmp_path: Path, tensors: dict[str, np.ndarray], labels: object, words: str
) -> None:
    """The file is named, with what was expected and found; the columns of before stay, and other heads are filled."""
    good = FileHead(kind="file", model="a", file=linear_file(tmp_path))
    fill(store, {"animal": good})
    before = columns(store)
    bad = FileHead(kind="file", model="a", file=saved(tmp_path / "bad.safetensors", tensors, labels))
    told, other = fill(store, {"animal": bad, "other": good})
    assert (told.rows, other.rows) == (0, ROWS - 1)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(told.problem)
    np.testing.assert_array_equal(columns(store)[1], before[1])


def test_a_pickle_is_no_head(store: Path, tmp_path: Path) -> None:
    """It is refused without being loaded; so are a file that is cut off, and one that is not there."""
    import torch

    torch.save({"weight": torch.from_numpy(WEIGHT)}, tmp_path / "head.pt")
    whole = linear_file(tmp_path).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-8])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in ("head.pt", "cut.safetensors", "empty.safetensors"):
        (told,) = fill(store, {"animal": FileHead(kind="file", model="a", file=tmp_path / name)})
        assert "Expected a safetensors file with" in told.problem, name
    (told,) = fill(store, {"animal": FileHead(kind="file", model="a", file=tmp_path / "none")})
    assert "No such file" in told.problem


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_head_is_scikit_learns(store: Path, classes: int) -> None:
    """Learnt from a column: what LogisticRegression says of the same vectors, of two labels and of more."""
    sklearn = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed (extra `evaluate`).")
    kinds = [NAMES[n % classes] if row % 2 else None for row, n in enumerate(LABELS)]
    add_columns(store, {"kind2": kinds})
    (told,) = fill(store, {"animal": LinearHead(kind="linear", model="a", column="kind2")})
    assert (told.problem, told.rows) == ("", ROWS - 1)
    known = [row for row in range(1, ROWS, 2) if row != 7]
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    centre = unit[known].mean(axis=0)
    scaled = (unit - centre) / np.sqrt(np.mean((unit[known] - centre) ** 2))
    model = sklearn.LogisticRegression(C=0.1, max_iter=300, tol=1e-3)
    model.fit(scaled[known], [kinds[row] for row in known])
    labels, scores = columns(store)
    likelihood = model.predict_proba(scaled)
    assert np.mean([a == model.classes_[n] for a, n in zip(labels, likelihood.argmax(1), strict=True)]) > 0.98
    np.testing.assert_allclose(np.delete(scores, 7), np.delete(likelihood.max(axis=1), 7), atol=2e-3)


def test_folders_are_labels_to_learn_from(store: Path) -> None:
    """The same as from a column that says so. A column by that name goes before."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    add_columns(store, {"place": [os.path.dirname(path.decode()) for path in Store(store).paths]})  # noqa: PTH120
    heads: dict[str, Head] = {
        f"by_{name}": LinearHead(kind="linear", model="a", column=name) for name in ("place", "folder")
    }
    assert [told.problem for told in fill(store, heads)] == ["", ""]
    labels, scores = columns(store, "by_folder")
    assert labels == columns(store, "by_place")[0]
    np.testing.assert_array_equal(scores, columns(store, "by_place")[1])
    assert len(set(labels)) > 3
    add_columns(store, {"folder": [NAMES[n] for n in LABELS]})
    assert fill(store, heads)[1].is_anew
    assert set(columns(store, "by_folder")[0]) == {"", *NAMES}


def test_names_of_folders(tmp_path: Path) -> None:
    """Below the source; what lies in the source itself has the name of that; what is no text is escaped; a file that is
    gone has none."""
    paths = ["\udcff/a.jpg", "b.jpg", "deep/er/c.jpg", "gone/d.jpg"]
    with StoreWriter(tmp_path / "store") as writer:
        files = [file_of(number, path) for number, path in enumerate(paths)]
        writer.ledger.scans.record(writer.ledger.scans.begin(), files)
        contents = [Content(file, sha256(number), 8, 8) for number, file in enumerate(files)]
        writer.commit(ShardRows(contents=contents))
        writer.ledger.scans.mark_path_gone(files[3].absolute)
        writer.update_locations(range(4))
    assert folders_of(Store(tmp_path / "store"), 0, 4) == [r"\udcff", "photos", "deep/er", ""]


def test_what_was_learnt_is_kept(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new picture is filled by the same layers; where these are damaged or gone they are learnt again."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    learnings = list[int]()
    real = define.learnt

    def counted(*arguments: Any) -> Any:
        learnings.append(1)
        return real(*arguments)

    monkeypatch.setattr(define, "learnt", counted)
    heads: dict[str, Head] = {"animal": LinearHead(kind="linear", model="a", column="kind")}
    fill(store, heads)
    file = store / "heads" / "animal.safetensors"
    whole = file.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for number, (content, learnt) in enumerate([(whole, 1), (flipped, 2), (b"", 3), (whole[:50], 4), (None, 5)]):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        add_pictures(store, ROWS + number, 1)
        (told,) = fill(store, heads)
        assert (told.rows, told.problem, len(learnings)) == (1, "", learnt)
        assert file.read_bytes()[-100:] == whole[-100:], "the numbers are those of before"
    labels, scores = columns(store)
    assert set(labels[ROWS:]) == {labels[0]}
    np.testing.assert_allclose(scores[ROWS:], scores[0], rtol=1e-6)
    add_columns(store, {"kind": [NAMES[(n + 1) % 3] for n in range(len(Store(store)))]})
    (told,) = fill(store, heads)
    assert (told.is_anew, len(learnings)) == (True, 6), "what is kept is of another head"


def test_examples_that_a_person_has_picked(store: Path, tmp_path: Path) -> None:
    """By row, sha256 and path; the same from a CSV; those that are not there are told."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    opened = Store(store)
    sha256 = opened.sha256()[4].tobytes().hex()
    source, path = opened.place(5)
    picked: dict[str, tuple[int | str, ...]] = {
        "cat": (0, 3, 6),
        "dog": (1, sha256, "nowhere.jpg"),
        "emu": (2, path, 7),
    }
    (told,) = fill(store, {"animal": LinearHead(kind="linear", model="a", examples=picked)})
    assert told.notes == ("2 of 9 examples are not in the store, or have no vector; the first: 'nowhere.jpg'.",)
    labels, _ = columns(store)
    assert [labels[row] for row in range(6)] == [NAMES[n] for n in LABELS[:6]]
    lines = [f"{label},{one}" for label, row in (("cat", 0), ("cat", 3)) for one in (row,)]
    (tmp_path / "rows.csv").write_text("\n".join(["label,row", *lines, "dog,1", "dog,4", "emu,2", "emu,5", "cat,6"]))
    by_file = LinearHead(kind="linear", model="a", examples_file=tmp_path / "rows.csv")
    (told,) = fill(store, {"animal": by_file})
    assert (told.problem, told.rows) == ("", 0), "the same examples make the same head"
    (tmp_path / "rows.csv").write_text(f"path,label\n{source}/{path},emu\n{opened.place(0)[1]},cat\n")
    (told,) = fill(store, {"animal": by_file})
    assert (told.is_anew, told.rows) == (True, ROWS - 1)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"column": "kid"}, "Did you mean 'kind'"),
        ({"column": "light"}, "It holds measured numbers"),
        ({"column": "same"}, "All 119 have the label 'one'"),
        ({"examples": {"cat": (1, 2), "dog": (2,)}}, "2 is an example of cat and dog"),
        ({"examples": {"cat": (900,), "dog": ("x",)}}, "There is none with a vector"),
        ({"examples_file": "none.csv"}, "No such file"),
        ({"examples_file": "bad.csv"}, "Expected the columns label, and row, sha256 or path in bad.csv. Got a, b"),
    ],
)
def test_what_nothing_can_be_learnt_from(store: Path, head: dict[str, Any], words: str) -> None:
    """Is told in words."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra `evaluate`).")
    Path("bad.csv").write_text("a,b\n1,2\n")
    (told,) = fill(store, {"animal": LinearHead(kind="linear", model="a", **head)})
    assert words in told.problem
    assert "animal" not in Store(store).columns


def add_pictures(store: Path, first: int, number: int) -> None:
    """Pictures more, with vectors."""
    with StoreWriter(store) as writer:
        record_files(writer, range(first, first + number))
        shard = shard_rows(range(first, first + number), [])
        made = provenance("a", dim=DIM)
        shard.vectors[made.fingerprint] = Vectors(np.arange(number), VECTORS[:number])
        writer.commit(shard)


def test_what_is_done_is_not_done_again(store: Path, tmp_path: Path) -> None:
    """A second time nothing is written; new pictures alone are filled; after a compaction as well."""
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))}
    fill(store, heads)
    revision = Store(store).manifest.revision
    assert [told.rows for told in fill(store, heads)] == [0]
    assert Store(store).manifest.revision == revision
    add_pictures(store, ROWS, 5)
    (told,) = fill(store, heads)
    assert (told.rows, told.is_anew) == (5, False)
    with StoreWriter(store) as writer:
        compact(writer)
    assert [told.rows for told in fill(store, heads)] == [0]
    require_equal(store, softmax(np.concatenate([VECTORS, VECTORS[:5]]) @ WEIGHT.T + BIAS), NAMES)
    assert verify(store) == []


def test_another_definition_makes_them_anew(store: Path, tmp_path: Path) -> None:
    """All rows, and what was there before is gone; `--where` and the store see one column of each name."""
    fill(store, {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))})
    saved(tmp_path / "head.safetensors", {"weight": -WEIGHT, "bias": BIAS})
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=tmp_path / "head.safetensors")}
    (told,) = fill(store, heads)
    assert (told.rows, told.is_anew) == (ROWS - 1, True)
    require_equal(store, softmax(-VECTORS @ WEIGHT.T + BIAS), NAMES)
    assert sum(group.source == "head animal" for group in Store(store).manifest.columns) == 1
    labels, scores = columns(store)
    expected = (np.array(labels) == "dog") & (scores > 0.5)
    found = rows_where(Store(store), "animal = 'dog' AND \"animal.score\" > 0.5")
    assert found.any()
    np.testing.assert_array_equal(found, expected)


def test_another_generation_of_the_vectors_makes_them_anew(store: Path, tmp_path: Path) -> None:
    """Once it is served, and not before."""
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))}
    fill(store, heads)
    with StoreWriter(store) as writer:
        made = provenance("a", dim=DIM).model_copy(update={"fingerprint": "ab" * 32})
        writer.matrix(made, "float32")
        assert [told.rows for told in compute_heads(writer, heads, no_encoder)] == [0]
        shard = shard_rows(range(ROWS), [])
        shard.vectors[made.fingerprint] = Vectors(np.arange(ROWS), -VECTORS)
        writer.commit(shard)
        writer.serve([made.fingerprint])
    (told,) = fill(store, heads)
    assert (told.rows, told.is_anew) == (ROWS, True)
    labels, _ = columns(store)
    assert labels == [NAMES[n] for n in (-VECTORS @ WEIGHT.T + BIAS).argmax(axis=1)]


def test_the_old_columns_stay_until_the_new_ones_are_whole(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night that is cut off goes on where it stopped, and does not make again what is published."""
    fill(store, {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))})
    before = columns(store)[1]
    saved(tmp_path / "head.safetensors", {"weight": -WEIGHT, "bias": BIAS})
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=tmp_path / "head.safetensors")}
    monkeypatch.setattr(compute, "ROWS", 50)
    real, filled = compute.column_writer.fill, []

    def dies(*arguments: Any) -> None:
        if filled:
            raise KeyboardInterrupt
        filled.append(real(*arguments))

    monkeypatch.setattr("pixelmill.heads.compute.column_writer.fill", dies)
    with pytest.raises(KeyboardInterrupt):
        fill(store, heads)
    monkeypatch.setattr("pixelmill.heads.compute.column_writer.fill", real)
    np.testing.assert_array_equal(columns(store)[1], before)
    (told,) = fill(store, heads)
    assert (told.rows, told.is_anew) == (ROWS - 1 - 50, True)
    require_equal(store, softmax(-VECTORS @ WEIGHT.T + BIAS), NAMES)
    assert verify(store) == []


def test_many_labels_go_through_in_small_blocks(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewer rows at once the wider a head is; the values are the same."""
    monkeypatch.setattr(compute, "_NUMBERS", 30)
    seen = list[int]()
    real = Scorer.__call__

    def counted(scorer: Scorer, vectors: np.ndarray) -> Any:
        seen.append(len(vectors))
        return real(scorer, vectors)

    monkeypatch.setattr(Scorer, "__call__", counted)
    fill(store, {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))})
    assert max(seen) == 10
    require_equal(store, softmax(VECTORS @ WEIGHT.T + BIAS), NAMES)


def test_a_deadline_leaves_the_rest(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait for the next run, and are told."""
    monkeypatch.setattr(compute, "OVERTIME", -1.0)
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))}
    (told,) = fill(store, heads, deadline=time.time() - 5)
    assert (told.rows, told.pending) == (0, ROWS - 1)
    (told,) = fill(store, heads)
    assert (told.rows, told.pending) == (ROWS - 1, 0)


def test_a_name_that_is_taken_is_refused(store: Path, tmp_path: Path) -> None:
    """A head takes no column of a table's or a camera's."""
    (told,) = fill(store, {"kind": FileHead(kind="file", model="a", file=linear_file(tmp_path))})
    assert "kind and kind.score. The store has one already, of source 'test'" in told.problem


def test_heads_that_are_named_no_more_are_dropped(store: Path, tmp_path: Path) -> None:
    """With both their columns; those of others stay."""
    head = FileHead(kind="file", model="a", file=linear_file(tmp_path))
    fill(store, {"animal": head, "other": head})
    fill(store, {"other": head})
    assert {"other", "other.score", "kind"} <= set(Store(store).columns)
    assert not {"animal", "animal.score"} & set(Store(store).columns)


def test_a_model_that_the_store_has_not(store: Path, tmp_path: Path) -> None:
    """Is told with the nearest name."""
    (told,) = fill(store, {"animal": FileHead(kind="file", model="aa", file=linear_file(tmp_path))})
    assert "Expected a model with vectors in" in told.problem


def test_numbers_that_overflow_are_missing(store: Path, tmp_path: Path) -> None:
    """No label and no score stand for them, and they are not made each night."""
    file = saved(tmp_path / "huge.safetensors", {"weight": np.full((3, DIM), 1e38, np.float32)})
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=file)}
    fill(store, heads)
    labels, scores = columns(store)
    assert "" in np.delete(labels, 7).tolist()
    assert np.isnan(scores[[label == "" for label in labels]]).all()
    assert [told.rows for told in fill(store, heads)] == [0]


def test_what_a_damaged_part_held_is_filled_again(store: Path, tmp_path: Path) -> None:
    """After a repair, which names the columns, those rows alone."""
    heads: dict[str, Head] = {"animal": FileHead(kind="file", model="a", file=linear_file(tmp_path))}
    fill(store, heads)
    add_pictures(store, ROWS, 5)
    fill(store, heads)
    before = columns(store)
    (group,) = (group for group in Store(store).manifest.columns if group.source == "head animal")
    (store / "parts" / group.extents[-1].part).write_bytes(b"damaged")
    assert repair(store)
    assert [told.rows for told in fill(store, heads)] == [5]
    assert columns(store)[0] == before[0]
    assert verify(store) == []


def test_settings_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads as JSON, as docs/settings.md says."""
    given = {"animal": {"kind": "zero_shot", "model": "a", "labels": ["cat", "dog"]}}
    monkeypatch.setenv("PIXELMILL_HEADS", json.dumps(given))
    assert load_settings().heads["animal"].model == "a"
