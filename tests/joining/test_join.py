"""Tables joined to rows: by path, stem and sha256, from files of every kind, compared with a plain join."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pixelmill.joining.join import join_columns
from pixelmill.joining.table import Table
from pixelmill.joining.told import ColumnsReport, TableReport
from pixelmill.store.columns import MISSING_INT
from pixelmill.store.commit import StoreWriter
from pixelmill.store.verify import verify
from tests.support.stores import SOURCE, file_of, path_of, provenance, record_files, sha256, shard_rows

ROWS = 9


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[StoreWriter]:
    """Nine rows of pictures in /photos."""
    with StoreWriter(tmp_path / "store") as opened:
        record_files(opened, range(ROWS))
        opened.commit(shard_rows(range(ROWS), [opened.matrix(provenance("a"), "float32")]))
        yield opened


def numbers(writer: StoreWriter) -> list[int]:
    """The number of the content of each row."""
    known = {sha256(number): number for number in range(30)}
    return [known[digest.tobytes()] for digest in writer.snapshot().sha256()]


def joined(writer: StoreWriter, *tables: Table) -> ColumnsReport:
    """As a run does it."""
    writer.update_locations(writer.ledger.changes().stale_rows)
    report = join_columns(writer, tables)
    writer.ledger.settle()
    return report


def column(writer: StoreWriter, name: str) -> list[object]:
    """A column in the order of contents."""
    values = writer.snapshot().columns[name]
    return [value for _, value in sorted(zip(numbers(writer), values, strict=True), key=lambda pair: pair[0])]


def written(folder: Path, text: str, name: str = "labels.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return str(folder / name)


def of_paths(lines: Sequence[str], header: str = "path,label") -> str:
    return "\n".join([header, *lines]) + "\n"


def test_a_csv_by_path(writer: StoreWriter, tmp_path: Path) -> None:
    """Paths below the source, absolute ones, with ./ and with backslashes mean the same picture; a line of no picture
    and one whose key comes again are counted, and of these the last counts."""
    named = [
        path_of(0),
        f"/photos/{path_of(1)}",
        f"./{path_of(2)}",
        path_of(3).replace("/", "\\"),
        "nobody.jpg",
        path_of(0),
    ]
    lines = [f"{path},l{at}" for at, path in enumerate(named)]
    report = joined(writer, Table(path=written(tmp_path, of_paths(lines))))
    assert report.tables == (TableReport(path=str(tmp_path / "labels.csv"), lines=6, unmatched=1, repeated=1),)
    assert (report.rows, report.new) == (4, ("label",))
    assert column(writer, "label") == ["l5", "l1", "l2", "l3", *[""] * 5]
    assert verify(writer.folder) == []


def test_paths_from_the_folder_of_the_table(writer: StoreWriter, tmp_path: Path) -> None:
    """A path may be told from the folder that the table lies in, as in the metadata.csv of data sets."""
    (tmp_path / "train").mkdir()
    record_file(writer, 20, "train/x.png", source=str(tmp_path))
    table = Table(path=written(tmp_path / "train", of_paths(["x.png,x"], "file_name,label")))
    assert joined(writer, table).rows == 1
    assert column(writer, "label")[-1] == "x"


def test_stems_that_pictures_share(writer: StoreWriter, tmp_path: Path) -> None:
    """A stem is a file's name without its ending, and means every picture that is called so; the name does as well."""
    record_file(writer, 20, "elsewhere/bild ü 1.jpg")
    lines = ["bild ü 1,one", "bild ü 2.png,two", "bild,none"]
    report = joined(writer, Table(path=written(tmp_path, of_paths(lines, "stem,label")), key="stem"))
    assert (report.tables[0].shared, report.tables[0].unmatched, report.rows) == (1, 1, 3)
    assert list(writer.snapshot().columns["label"]).count("one") == 2


def record_file(writer: StoreWriter, number: int, path: str, source: str = SOURCE) -> None:
    """One more content, in a file at `path` below `source`."""
    file = file_of(number, path)._replace(source=source)
    writer.ledger.scans.record(writer.ledger.scans.begin(), [file])
    shard = shard_rows([number], [writer.matrix(provenance("a"), "float32")])
    shard.contents = [replace(shard.contents[0], file=file)]
    writer.commit(shard)


def test_sha256_in_any_case(writer: StoreWriter, tmp_path: Path) -> None:
    """Contents are named by their hexadecimal digits, in capital letters or small ones."""
    lines = [f"{sha256(0).hex().upper()},a", f" {sha256(1).hex()} ,b", "00,c"]
    report = joined(writer, Table(path=written(tmp_path, of_paths(lines, "SHA256,label")), key="sha256"))
    assert column(writer, "label")[:3] == ["a", "b", ""]
    assert report.tables[0].unmatched == 1


@pytest.mark.parametrize(
    ("texts", "kind", "unit", "values"),
    [
        (["1", "-20", ""], "int64", "", [1, -20, MISSING_INT]),
        (["True", "false", ""], "int64", "", [1, 0, MISSING_INT]),
        (["1", "2.5", "1e3"], "float64", "", [1.0, 2.5, 1000.0]),
        (["007", "8", "9"], "text", "", ["007", "8", "9"]),
        (["12345678901234567890", "1", "2"], "text", "", ["12345678901234567890", "1", "2"]),
        (["2024-01-02", "2024-01-02T10:00:00+02:00", "1969-12-31 23:59:59.999"], "int64", "ms since 1970",
         [1704153600000, 1704182400000, -1]),
        (["inf", "nan", "x"], "text", "", ["inf", "nan", "x"]),
        (["inf", "nan", ""], "text", "", ["inf", "nan", ""]),
        (["1.5", "NaN", "NA"], "float64", "", [1.5, np.nan, np.nan]),
        (["null", "1", "n/a"], "int64", "", [MISSING_INT, 1, MISSING_INT]),
        (["NA", "2024-01-02", ""], "int64", "ms since 1970", [MISSING_INT, 1704153600000, MISSING_INT]),
        (["NA", "nan", ""], "text", "", ["NA", "nan", ""]),
        (["NA", "DE", "1"], "text", "", ["NA", "DE", "1"]),
        (["none", "1", "2"], "text", "", ["none", "1", "2"]),
        (["", "", "Hündin, rot"], "text", "", ["", "", "Hündin, rot"]),
    ],
)  # fmt: skip
def test_kinds_are_told_by_how_values_read(
    writer: StoreWriter, tmp_path: Path, texts: list[str], kind: str, unit: str, values: list[object]
) -> None:
    """Whole numbers, numbers, moments in UTC; all else is text, as are numbers with zeros in front or too many digits.
    What other programs write for nothing is missing among numbers, and a text among texts; neither is told as wrong."""
    lines = [f'{path_of(at)},"{text}"' for at, text in enumerate(texts)]
    report = joined(writer, Table(path=written(tmp_path, of_paths(lines))))
    _, found = writer.snapshot().columns.about("label")
    assert (found.kind, found.unit) == (kind, unit)
    assert [*map(str, column(writer, "label")[:3])] == [*map(str, values)]
    assert (report.tables[0].unreadable, report.tables[0].examples) == (0, ())


def test_what_is_infinite_costs_itself(writer: StoreWriter, tmp_path: Path) -> None:
    """It is told with its line, and its column stays one of numbers."""
    lines = [f"{path_of(at)},{text}" for at, text in enumerate(["-inf", "2", "Infinity", "NaN"])]
    report = joined(writer, Table(path=written(tmp_path, of_paths(lines, "path,score"))))
    np.testing.assert_array_equal(np.array(column(writer, "score")[:4], float), [np.nan, 2, np.nan, np.nan])
    assert report.tables[0].unreadable == 2
    assert report.tables[0].examples[0] == "line 2, score: expected a number, got '-inf'"


def test_a_column_keeps_its_kind(writer: StoreWriter, tmp_path: Path) -> None:
    """A value that does not fit costs itself, and is told with its line; when most do not, the kind is another one."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(n)},{n}" for n in range(4)])))
    joined(writer, table)
    written(tmp_path, of_paths([f"{path_of(n)},{('dog', 1, 'NA', 3)[n]}" for n in range(4)]))
    report = joined(writer, table)
    assert column(writer, "label")[:4] == [MISSING_INT, 1, MISSING_INT, 3]
    assert (report.tables[0].unreadable, report.rows) == (1, 2)
    assert report.tables[0].examples == ("line 2, label: expected a whole number, got 'dog'",)
    written(tmp_path, of_paths([f"{path_of(n)},dog {n}" for n in range(4)]))
    assert joined(writer, table).tables[0].unreadable == 0
    assert column(writer, "label")[:4] == ["dog 0", "dog 1", "dog 2", "dog 3"]
    assert verify(writer.folder) == []


def test_whole_numbers_become_numbers(writer: StoreWriter, tmp_path: Path) -> None:
    """With the first value that is none, so that it is not lost; also those of pictures that are gone, and of columns
    that become text."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(n)},{n}" for n in range(4)])))
    joined(writer, table)
    scan = writer.ledger.scans.begin()
    writer.ledger.scans.record(scan, [file_of(number) for number in range(1, ROWS)])
    writer.ledger.scans.mark_gone(scan, SOURCE)
    written(tmp_path, of_paths([f"{path_of(n)},{n / 2}" for n in range(1, 4)]))
    assert joined(writer, table).tables[0].unreadable == 0
    assert column(writer, "label")[:4] == [0.0, 0.5, 1.0, 1.5]
    written(tmp_path, of_paths([f"{path_of(n)},dog" for n in range(1, 4)]))
    joined(writer, table)
    assert column(writer, "label")[:4] == ["0.0", "dog", "dog", "dog"]


def test_what_a_store_says_itself_gets_another_name(writer: StoreWriter, tmp_path: Path) -> None:
    """Names are lower case; a fact's name, and one that begins with a digit, get `table_` in front, in any script; what
    is no name, or comes twice, is told."""
    header = "path,Width,My Label!,my-label,1st,标签,,taken_at"
    report = joined(writer, Table(path=written(tmp_path, of_paths([f"{path_of(0)},1,b,c,d,犬,f,g"], header))))
    assert report.new == ("table_width", "my_label", "table_1st", "标签", "table_taken_at")
    assert report.tables[0].notes == (
        "a column called 'my-label' is left out: there is another 'my_label'",
        "a column called '' is left out: that is no name",
    )
    assert column(writer, "标签")[0] == "犬"
    assert verify(writer.folder) == []


def test_the_dialects_of_csv(writer: StoreWriter, tmp_path: Path) -> None:
    """Semicolons, quotes with newlines in them, a mark in front, spreadsheets' short lines, and tabs in *.tsv."""
    text = (
        f'\ufeffpath;caption;n\r\n{path_of(0)};"a ""dog"";\r\nor two";1\r\n{path_of(1)};b\r\n\r\n{path_of(2)};c;3;\r\n'
    )
    table = Table(path=written(tmp_path, text))
    assert joined(writer, table).tables[0].unreadable == 0
    assert column(writer, "caption")[:3] == ['a "dog";\r\nor two', "b", "c"]
    assert column(writer, "n")[:3] == [1, MISSING_INT, 3]
    tabs = written(tmp_path, f"path\tcaption\n{path_of(0)}\ta, b; c\n", "labels.tsv")
    joined(writer, Table(path=tabs))
    assert column(writer, "caption")[0] == "a, b; c"


@pytest.mark.parametrize(("encoding", "notes"), [("cp1252", 1), ("utf-16", 0), ("utf-8", 0)])
def test_encodings(writer: StoreWriter, tmp_path: Path, encoding: str, notes: int) -> None:
    """UTF-16 by its mark, UTF-8, and else Western European, which is told."""
    (tmp_path / "labels.csv").write_bytes(of_paths([f"{sha256(0).hex()},Hündin"], "sha256,label").encode(encoding))
    report = joined(writer, Table(path=str(tmp_path / "labels.csv"), key="sha256"))
    assert column(writer, "label")[0] == "Hündin"
    assert len(report.tables[0].notes) == notes


def test_json_lines(writer: StoreWriter, tmp_path: Path) -> None:
    """Keys may come and go; lists and objects are kept as JSON, null is nothing, and a line that is none is told."""
    objects: list[object] = [
        {"path": path_of(0), "n": 1, "ok": True, "tags": ["a", "ü"]},
        {"path": path_of(1), "n": None, "late": "x\ud800"},
        [1],
    ]
    text = "\n".join(["{oh", *map(json.dumps, objects)])
    with gzip.open(tmp_path / "labels.jsonl.gz", "wt") as file:
        file.write(text)
    report = joined(writer, Table(path=str(tmp_path / "labels.jsonl.gz")))
    assert column(writer, "n")[:2] == [1, MISSING_INT]
    assert column(writer, "ok")[:2] == [1, MISSING_INT]
    assert column(writer, "tags")[:2] == ['["a", "ü"]', ""]
    assert column(writer, "late")[:2] == ["", "x?"]
    assert (report.tables[0].lines, report.tables[0].unreadable) == (2, 2)
    assert report.tables[0].examples[1] == "line 4: Expected a JSON object. It is [1]."


def test_parquet(writer: StoreWriter, tmp_path: Path) -> None:
    """Types become those of columns: numbers stay exact, times are milliseconds in UTC, what is nested is JSON, and
    what is binary is told."""
    place = str(tmp_path / "labels.parquet")
    with duckdb.connect() as sql:
        sql.execute(
            "COPY (SELECT * FROM (VALUES (?, 0.1::FLOAT, 1e300, 9007199254740993, DATE '2024-01-02', "
            "TIMESTAMP '2024-01-02 03:04:05.678', true, [1, 2], {'a': 1}, 'x'::BLOB, 'nan'::DOUBLE, 1.50::DECIMAL(9, 2)))"
            "AS t(path, f, d, i, day, moment, ok, l, s, b, nan, money)) TO '" + place + "' (FORMAT parquet)", [path_of(0)],
        )  # fmt: skip
    report = joined(writer, Table(path=place))
    found = {name: column(writer, name)[0] for name in writer.snapshot().columns}
    assert found == {
        "f": float(np.float32(0.1)), "d": 1e300, "i": 9007199254740993, "day": 1704153600000, "moment": 1704164645678,
        "ok": 1, "l": "[1,2]", "s": '{"a":1}', "b": "", "nan": "", "money": 1.5,
    }  # fmt: skip
    assert report.tables[0].notes == ("'b' is binary, and left out",)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", None, "No such file"),
        ("a.csv", b"", "Expected a first line with the names of columns"),
        ("a.csv", b"label,b\n1,2\n", "Expected a column 'path' or 'file'"),
        ("a.csv", b"path,b\nx,\"open\ny,1\n", "Line 2 is no CSV: unexpected end of data. Is a quote left open?"),
        ("a.csv", b"\x00\x01\x02", "Expected text. It holds zero bytes"),
        ("a.csv.gz", b"no gzip", "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"path,b\n" * 9, mtime=0)[:-12], "Expected a whole file of gzip"),
        ("a.parquet", b"no parquet at all", "No magic bytes found at end of file '/"),
        ("a.jsonl", b"{", "Expected a column 'path'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_costs_itself(
    writer: StoreWriter, tmp_path: Path, name: str, data: bytes | None, words: str
) -> None:
    """It is told why; the other table is joined, and what it gave before stays, until it can be read again."""
    good = Table(path=written(tmp_path, of_paths([f"{path_of(0)},x"]), "good.csv"))
    bad = Table(path=str(tmp_path / name))
    if data is not None:
        (tmp_path / name).write_bytes(data)
    for _ in range(2):
        report = joined(writer, bad, good)
        assert words in report.tables[0].problem
        assert column(writer, "label")[0] == "x"


def test_a_table_that_comes_back(writer: StoreWriter, tmp_path: Path) -> None:
    """While it cannot be read its columns stay, and what changed meanwhile is joined when it can be."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(0)},x", "later.png,y"])))
    joined(writer, table)
    text = Path(table.path).read_text()
    Path(table.path).unlink()
    record_file(writer, 20, "later.png")
    assert joined(writer, table).tables[0].problem
    assert column(writer, "label")[0] == "x"
    Path(table.path).write_text(text)
    joined(writer, table)
    assert list(writer.snapshot().columns["label"]).count("y") == 1


def test_several_tables_give_one_column(writer: StoreWriter, tmp_path: Path) -> None:
    """The first that says something of a picture counts; the next says what it left open."""
    first = Table(path=written(tmp_path, of_paths([f"{path_of(0)},a", f"{path_of(1)},"]), "a.csv"))
    second = Table(path=written(tmp_path, of_paths([f"{path_of(n)},b" for n in range(3)]), "b.csv"))
    joined(writer, first, second)
    assert column(writer, "label")[:4] == ["a", "b", "b", ""]


def test_a_column_that_no_table_gives_is_dropped(writer: StoreWriter, tmp_path: Path) -> None:
    """Not by a run that has no tables at all."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(0)},a,1"], "path,label,n")))
    joined(writer, table)
    assert joined(writer) == ColumnsReport()
    assert list(writer.snapshot().columns) == ["label", "n"]
    report = joined(writer, table.model_copy(update={"columns": ("n",)}))
    assert report.dropped == ("label",)
    assert list(writer.snapshot().columns) == ["n"]


def test_sixty_columns_and_more(writer: StoreWriter, tmp_path: Path) -> None:
    """64 are joined; the others are named, and those that are there keep their room."""
    names = [f"c{at}" for at in range(70)]
    table = Table(
        path=written(tmp_path, of_paths([",".join([path_of(0), *map(str, range(70))])], ",".join(["path", *names])))
    )
    report = joined(writer, table)
    assert (report.new, report.no_room) == (tuple(names[:64]), tuple(names[64:]))
    assert column(writer, "c63")[0] == 63
    assert verify(writer.folder) == []


def test_a_night_without_changes_reads_no_table(
    writer: StoreWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with new pictures, only their values are looked for; a picture that moves has the line of its new path."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(0)},x", "new.png,new"])))
    joined(writer, table)
    revision = writer.snapshot().manifest.revision
    with monkeypatch.context() as patched:
        patched.setattr("pixelmill.joining.join.engine", lambda: pytest.fail("a table was read"))
        assert joined(writer, table) == ColumnsReport()
    assert writer.snapshot().manifest.revision == revision
    record_file(writer, 20, "new.png")
    assert joined(writer, table).rows == 1
    assert list(writer.snapshot().columns["label"])[-1] == "new"


def test_one_value_rewrites_one_block(writer: StoreWriter, tmp_path: Path) -> None:
    """Of the column in which it changed."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(n)},a,b" for n in range(ROWS)], "path,one,two")))
    joined(writer, table)
    before = {group.columns[0].name: group.extents for group in writer.snapshot().manifest.columns}
    written(tmp_path, of_paths([f"{path_of(n)},{'z' if n == 3 else 'a'},b" for n in range(ROWS)], "path,one,two"))
    assert joined(writer, table).rows == 1
    after = {group.columns[0].name: group.extents for group in writer.snapshot().manifest.columns}
    assert before["one"] != after["one"]
    assert before["two"] == after["two"]


def test_the_published_path_of_two_counts(writer: StoreWriter, tmp_path: Path) -> None:
    """Of two files with one content that has the line which the store names; without one, the other's counts."""
    copy = file_of(0, "a copy.png")
    writer.ledger.scans.record(writer.ledger.scans.begin(), [copy])
    writer.ledger.contents.record_read([(copy, numbers(writer).index(0))])
    table = Table(path=written(tmp_path, of_paths(["a copy.png,copy"])))
    joined(writer, table)
    assert column(writer, "label")[0] == "copy"
    written(tmp_path, of_paths(["a copy.png,copy", f"{path_of(0)},first"]))
    joined(writer, table)
    assert column(writer, "label")[0] == "first"


def test_a_run_that_is_killed_after_the_join_joins_again(writer: StoreWriter, tmp_path: Path) -> None:
    """Files that no run has settled are looked at again; a file that a run without tables settled as well."""
    table = Table(path=written(tmp_path, of_paths(["new.png,x", "newer.png,y"])))
    joined(writer, table)
    record_file(writer, 20, "new.png")
    join_columns(writer, [table])
    assert join_columns(writer, [table]).tables[0].lines == 2
    record_file(writer, 21, "newer.png")
    joined(writer)
    assert joined(writer, table).rows == 1
    assert "y" in list(writer.snapshot().columns["label"])


def test_a_deadline_that_came(writer: StoreWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join gets a minute of its own; then it leaves the columns as they are, says so, and the next run joins."""
    monkeypatch.setattr("pixelmill.joining.join.OVERTIME", -1e9)
    table = Table(path=written(tmp_path, of_paths([f"{path_of(0)},x"])))
    assert join_columns(writer, [table], deadline=1.0) == ColumnsReport(left=True)
    writer.ledger.changes()
    writer.ledger.settle()
    assert joined(writer, table).rows == 1


def test_a_file_that_is_gone_keeps_its_values(writer: StoreWriter, tmp_path: Path) -> None:
    """They cost nothing, and it may come back."""
    table = Table(path=written(tmp_path, of_paths([f"{path_of(n)},l{n}" for n in range(ROWS)])))
    joined(writer, table)
    scan = writer.ledger.scans.begin()
    writer.ledger.scans.record(scan, [file_of(number) for number in range(1, ROWS)])
    writer.ledger.scans.mark_gone(scan, "/photos")
    written(tmp_path, of_paths([f"{path_of(n)},m{n}" for n in range(ROWS)]))
    joined(writer, table)
    assert column(writer, "label")[:2] == ["l0", "m1"]
