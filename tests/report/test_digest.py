"""What the morning digest says, in which form, and which report it is made of."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from pixelmill.report.digest import CLOCKS, SUBJECT, WARNINGS, Ended, digest, pictures_in, report_of
from pixelmill.report.model import RunReport, read_report
from pixelmill.report.text import headline, summary

URL, GALLERY = "http://server/runs/flow-run/1", "http://millhouse:8000"


@pytest.fixture
def report() -> RunReport:
    kept = json.loads((Path(__file__).parent / "golden" / "0.1.0-night-3.json").read_text())
    report = read_report(kept)
    assert report
    return report


def ended(state: str = "Completed", message: str = "", began: float | None = 0.0, at: float = 100.0) -> Ended:
    return Ended("photos", state, message, URL, began, at)


def test_a_good_night_is_told_too(report: RunReport) -> None:
    """Headline, counts, one line a model, links; in both forms."""
    told = digest(ended(), report, GALLERY)
    assert told.subject == f"Pixelmill: Completed. {headline(report)}"
    for form in (told.as_text(), told.as_html()):
        for words in (headline(report), summary(report), "photos: Completed.", URL, GALLERY):
            assert words in form
        for name, model in report.models.items():
            assert f"{name}: {model.embedded:,} embedded" in form


@pytest.mark.parametrize("state", ["CompletedWithWarnings", "Failed", "Cancelled", "Crashed"])
def test_a_night_that_is_not_good_says_why(state: str, report: RunReport) -> None:
    """By the message of its state, beside what it did; a good night's message would say the same twice."""
    why = "The source /photos is missing."
    assert why in digest(ended(state, why), report).as_text()
    assert why not in digest(ended("Completed", why), report).as_text()


def test_a_night_without_a_report_is_told_by_its_state() -> None:
    """One that was killed leaves none."""
    told = digest(ended("Crashed", "No sign of life for five minutes."), None)
    assert told.subject == "Pixelmill: Crashed. No sign of life for five minutes."
    assert "It left no report." in told.as_text()
    assert digest(ended("Crashed"), None).headline == "It left no report."


def test_warnings_are_few(report: RunReport) -> None:
    """A disk that fails must not fill a mail; what is left out is counted."""
    told = digest(ended(), report.model_copy(update={"warnings": tuple(f"w{n}" for n in range(WARNINGS + 3))}))
    assert told.lists["Warnings"] == (*(f"w{n}" for n in range(WARNINGS)), "… and 3 more.")
    assert "Warnings" not in digest(ended(), report.model_copy(update={"warnings": ()})).lists


def test_a_subject_is_one_short_line(report: RunReport) -> None:
    """Whatever a run failed with: a mail's header ends at the first line end."""
    told = digest(ended("Failed", "Expected\na folder. " * 100), None)
    assert "\n" not in told.subject
    assert len(told.subject) == SUBJECT


def test_names_are_no_markup(report: RunReport) -> None:
    """A warning names files, which may be called anything."""
    hostile = "</li><script>alert(1)</script>&amp;"
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _attributes: seen.append(tag)  # type: ignore[method-assign]
    parser.feed(digest(ended(), report.model_copy(update={"warnings": (hostile,)})).as_html())
    assert "script" not in seen
    assert "a" in seen


def test_the_report_is_that_of_the_run(report: RunReport) -> None:
    """The first that began while it ran; not last night's, nor that of a run by hand later on."""
    began = datetime.fromisoformat(report.started).timestamp()
    later = report.model_copy(update={"started": datetime.fromtimestamp(began + 7200).astimezone().isoformat()})
    reports = [later, report]
    assert report_of(ended(began=began - 5, at=began + 60), reports) is report
    assert report_of(ended(began=began - 5, at=began + 9000), reports) is report
    assert report_of(ended(began=began + 7190, at=began + 9000), reports) is later
    assert report_of(ended(began=began + CLOCKS + 10, at=began + 600), reports) is None
    assert report_of(ended(began=None, at=began), reports) is None


def test_a_short_run_just_before_is_not_taken_for_the_night(report: RunReport) -> None:
    """One that began within what clocks may be apart, and was over when the night began."""
    began = datetime.fromisoformat(report.started).timestamp()
    before = report.model_copy(update={"started": datetime.fromtimestamp(began - 40).astimezone().isoformat()})
    assert report_of(ended(began=began - 3, at=began + 9000), [report, before]) is report
    assert report_of(ended(began=began - 42, at=began - 10), [report, before]) is before


def test_the_pictures_are_those_of_the_report() -> None:
    """All that its Markdown embeds, as JPEG, named by their sections; a damaged one is an error, none is none."""
    webp = BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(webp, "WEBP")
    picture = f"![Some](data:image/webp;base64,{b64encode(webp.getvalue()).decode()})"
    found = pictures_in(f"# All embedded\n\n## New images\n\n{picture}\n\n| a |\n\n## Last runs\n\n{picture}\n")
    assert list(found) == ["new-images.jpg", "last-runs.jpg"]
    with Image.open(BytesIO(found["last-runs.jpg"])) as shown:
        assert (shown.format, shown.size) == ("JPEG", (40, 30))
    assert pictures_in("# All embedded\n\n## Models\n") == {}
    with pytest.raises(OSError, match="identify"):
        pictures_in("![x](data:image/webp;base64,AAAA)")
