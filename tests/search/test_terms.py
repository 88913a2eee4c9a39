"""How a query is written: the same on the command line, in the gallery and in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pixelmill.errors import QueryError
from pixelmill.search.query import Row, Text
from pixelmill.search.terms import row_term, terms_in, text_term, weighed, written
from pixelmill.web.assets import FOLDER

Case = tuple[str, list[tuple[float, str]]]
CASES: list[Case] = json.loads((Path(__file__).parent / "terms.json").read_text("utf-8"))
NODE = shutil.which("node")
IN_NODE = """
const { termsIn, typed, weighed, written, turned } = await import(process.argv[1]);
const lines = JSON.parse(process.argv[2]);
const again = (term) => termsIn(typed(term)).map((one) => weighed(one));
console.log(JSON.stringify(lines.map((line) => {
  const terms = termsIn(line);
  return [terms.map((term) => weighed(term)), terms.map((term) => weighed(turned(term, "text"))), terms.flatMap(again)];
})));
"""


@pytest.mark.parametrize(("line", "terms"), CASES)
def test_a_line_has_these_terms(line: str, terms: list[tuple[float, str]]) -> None:
    """Signs and weights behind a blank begin a term, quotes hold one together, and times and ratios are words."""
    found = [text_term(term) for term in terms_in(line)]
    assert [[term.weight, term.text] for term in found] == terms


@pytest.mark.skipif(NODE is None, reason="no node")
def test_the_page_reads_a_line_in_the_same_way(tmp_path: Path) -> None:
    """The gallery's own script gives the same terms for each line; it can turn each round, and put it back into the
    box as it was."""
    module = tmp_path / "terms.mjs"
    shutil.copy(FOLDER / "terms.js", module)
    lines = json.dumps([line for line, _ in CASES])
    command = [str(NODE), "--input-type=module", "-e", IN_NODE, str(module), lines]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, timeout=60, check=True)
    for (_, terms), (found, turned, again) in zip(CASES, json.loads(done.stdout), strict=True):
        assert found == again == terms
        assert turned == [[-weight, text] for weight, text in terms]


@pytest.mark.parametrize("text", ["red bike", "-x", "+x", "2:red", "2:30 pm", "-0.5:x", "--", "1:2:3", "Ü"])
@pytest.mark.parametrize("weight", [1.0, -1.0, 2.0, -0.5, 0.0001, 9999.1234])
def test_any_words_can_be_written_with_any_weight(weight: float, text: str) -> None:
    """What `written` makes is taken apart to the same, so words that begin like a weight have a spelling."""
    assert text_term(written(weight, text)) == Text(text, weight)


@pytest.mark.parametrize("text", ["-x", "+x", "2:red", "0:x"])
def test_behind_a_blank_words_are_as_they_are(text: str) -> None:
    """That is how a person writes them."""
    assert text_term(f" {text}") == Text(text)


def test_rows_have_weights_and_no_times_of_day() -> None:
    """`2:12` is row 12 twice: what is no text is no time of day."""
    assert [row_term(term) for term in ("12", "-12", "2:12", "-0.5:0")] == [
        Row(12), Row(12, -1.0), Row(12, 2.0), Row(0, -0.5),
    ]  # fmt: skip
    assert weighed("2:3.jpg") == (2.0, "3.jpg")


@pytest.mark.parametrize("term", ["0:x", "-0:x", "0.0:x", "2:", "-", " "])
def test_what_asks_for_nothing_is_refused(term: str) -> None:
    """In words, with what was given."""
    with pytest.raises(QueryError, match="Expected"):
        text_term(term)


@pytest.mark.parametrize("term", ["many", "", "-", "1e3", "2:", "2:x", "٣", "9" * 30])
def test_a_row_that_is_no_number_is_refused(term: str) -> None:
    """Before the store is looked at."""
    with pytest.raises(QueryError, match="Expected a row's number"):
        row_term(term)
