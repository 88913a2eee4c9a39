"""Rows arrive as they were made; those of several passes over a shard become one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pixelmill.embedding.timing import Timing
from pixelmill.run.answer import ShardAnswer, merged, rows_packed
from pixelmill.run.results import Noted, ShardReport
from pixelmill.sources.found import FoundFile
from pixelmill.store.commit import StoreWriter
from pixelmill.store.manifest import Matrix
from pixelmill.store.rows import Content, Failure, ShardRows, Vectors
from pixelmill.travel.messages import Message, MessageRefused, encode
from pixelmill.watch.hangs import Hang
from tests.support.stores import check_plain, file_of, provenance, record_files, sha256, shard_rows

NAME = os.fsdecode(b"caf\xe9.jpg")
MATRICES = [Matrix(provenance=provenance(model), dtype="float32", serving=True) for model in "ab"]
FIRST = MATRICES[0].provenance.fingerprint
REPORT = ShardReport(
    worker="gpu0", place="process 7 on a", read=3, refused=1, embedded={"a": 2}, devices={"a": "cpu"}, seconds=1.5,
    timing=Timing(0.1, 0.2, 0.3, {"a": 1.0}), threads=3, unread=(f"/photos/{NAME}: Permission denied",),
    noted={"cut off": Noted(2, (f"/photos/{NAME}",))}, warnings=("a doubt",), hung=(Hang("read", NAME, seconds=60.0),),
    checks={FIRST: (8, 0.999)}, drifted={"b": "other vectors"},
)  # fmt: skip


def answer() -> ShardAnswer:
    """With a copy, a file of a name that is no UTF-8, a refused picture, and one vector that was not finite."""
    rows = shard_rows(range(4), MATRICES, bad=[2])
    rows.copies.append((FoundFile("/photos", NAME, 1, 2, 3), sha256(1)))
    rows.failures.append(Failure(f"/photos/{NAME}", None, "read", "it is empty"))
    return ShardAnswer("store-1", 7, 3, rows, REPORT, (FIRST,))


def same(rows: ShardRows, others: ShardRows) -> bool:
    plain = [(r.contents, r.copies, r.failures, list(r.vectors)) for r in (rows, others)]
    return plain[0] == plain[1] and all(
        np.array_equal(rows.vectors[f].index, others.vectors[f].index)
        and np.array_equal(rows.vectors[f].values, others.vectors[f].values)
        for f in rows.vectors
    )


def test_an_answer_arrives_as_it_was_made() -> None:
    """Rows, the whole report, and of which matrices nothing could be compared."""
    sent = answer()
    found = ShardAnswer.of(sent.message(), "store-1", MATRICES)
    assert (found.store_id, found.run, found.number, found.unmeasured) == ("store-1", 7, 3, (FIRST,))
    assert found.report == REPORT
    assert same(found.rows, sent.rows)
    nothing = ShardAnswer("store-1", 7, 0, ShardRows(), ShardReport())
    assert same(ShardAnswer.of(nothing.message(), "store-1", []).rows, ShardRows())


def test_what_arrived_can_be_stored(tmp_path: Path) -> None:
    """Arrays of a message cannot be written to; a commit takes them as they are."""
    with StoreWriter(tmp_path / "store") as writer:
        matrices = [writer.matrix(matrix.provenance, "float32") for matrix in MATRICES]
        record_files(writer, range(4))
        writer.commit(ShardAnswer.of(answer().message(), "store-1", matrices).rows)
    done = {number: {"a": number != 2, "b": number != 2} for number in range(4)}
    check_plain(tmp_path / "store", {sha256(number): models for number, models in done.items()})


@pytest.mark.parametrize(
    "wrong", ["another store", "a matrix that nobody asked for", "no report", "too few checksums", "no number"]
)
def test_answers_that_cannot_be_used_are_refused(wrong: str) -> None:
    """In words, before anything is stored."""
    sent = answer()
    rows, arrays = rows_packed(sent.rows)
    header = {"number": 3, "report": {"worker": "gpu0"}, "rows": rows, "unmeasured": []}
    store_id, matrices = "store-1", MATRICES
    match wrong:
        case "another store":
            store_id = "store-2"
        case "a matrix that nobody asked for":
            matrices = MATRICES[:1]
        case "no report":
            header["report"] = {"read": "many"}
        case "too few checksums":
            arrays["contents"] = arrays["contents"][:-1]
        case _:
            header["number"] = "three"
    data = encode(Message("rows", "store-1", 7, header, arrays))
    with pytest.raises(MessageRefused, match="Expected"):
        ShardAnswer.of(data, store_id, matrices)
    assert ShardAnswer.of(sent.message(), "store-1", MATRICES)


def content(number: int) -> Content:
    return Content(file_of(number), sha256(number), 8, 8)


def vectors(*pairs: tuple[int, float]) -> Vectors:
    index, values = zip(*pairs, strict=True)
    return Vectors(np.array(index), np.array(values, np.float32)[:, None])


def test_passes_over_a_shard_become_one() -> None:
    """Each content once, with its vectors of all passes; what a copy that was read later gave is no second vector of
    its content, which the run would refuse."""
    copy = file_of(0)._replace(path="copy.png")
    failure = Failure("/photos/5.png", None, "read", "it is empty")
    first = ShardRows([content(0), content(1)], {"a": vectors((1, 1.0), (0, 0.5))}, [], [failure])
    later = ShardRows(
        [content(2), Content(copy, sha256(0), 8, 8)], {"a": vectors((0, 2.0), (1, 0.5)), "b": vectors((1, 9.0))},
        [(copy, sha256(2))], [],
    )  # fmt: skip
    total = merged([first, later])
    assert total.contents == [content(0), content(1), content(2)]
    assert set(total.copies) == {(copy, sha256(0)), (copy, sha256(2))}
    assert total.failures == [failure]
    found = {f: dict(zip(v.index.tolist(), v.values[:, 0].tolist(), strict=True)) for f, v in total.vectors.items()}
    assert found == {"a": {0: 0.5, 1: 1.0, 2: 2.0}, "b": {0: 9.0}}
    assert len(total.vectors["a"].index) == 3
    assert same(merged([]), ShardRows())
