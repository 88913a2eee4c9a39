"""What is sent in the morning: how a run ended, in a few lines, for chats and for mail."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from io import BytesIO

from PIL import Image

from pixelmill.formatting import percent, printable
from pixelmill.report.deliveries import line
from pixelmill.report.model import RunReport
from pixelmill.report.text import headline, summary

WARNINGS = 5
"""Warnings that are told one by one."""
SUBJECT = 150
"""Characters of a subject, at most."""
CLOCKS = 60.0
"""Seconds that the clocks of the server and of the machine that has the runs may be apart."""
_PICTURES = re.compile(r"^## (.+)$|data:image/webp;base64,([A-Za-z0-9+/=]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run as the server knows it: its name, the name and the message of its last state, where it is shown; when it
    began and ended, in Unix seconds, None if it did not begin."""

    name: str
    state: str
    message: str
    url: str
    began: float | None
    ended: float


@dataclass(frozen=True, slots=True)
class Digest:
    """A subject, a headline, paragraphs, lists with a title each, and links by what they are called."""

    subject: str
    headline: str
    paragraphs: tuple[str, ...]
    lists: dict[str, tuple[str, ...]]
    links: dict[str, str]

    def as_text(self) -> str:
        """For chats, and for what reads JSON."""
        lists = ["\n".join([f"{title}:", *(f"- {line}" for line in lines)]) for title, lines in self.lists.items()]
        links = "\n".join(f"{name}: {address}" for name, address in self.links.items())
        return "\n\n".join(filter(None, [self.headline, *self.paragraphs, *lists, links]))

    def as_html(self, pictures: Iterable[str] = ()) -> str:
        """For mail, with pictures that go with it, by their file names. Whatever files are called, it is text."""
        told = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in self.paragraphs)
        for title, lines in self.lists.items():
            told += f"<p>{escape(title)}</p><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
        links = " · ".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in self.links.items())
        told += f"<p>{links}</p>"
        for name in pictures:
            title = name.rpartition(".")[0].replace("-", " ").capitalize()
            told += f'<h3>{escape(title)}</h3><img src="cid:{escape(name)}" alt="">'
        return f'<div style="font-family: sans-serif"><h2>{escape(self.headline)}</h2>{told}</div>'


def digest(run: Ended, report: RunReport | None, gallery: str | None = None) -> Digest:
    """The digest of a run by its report, if it left one; `gallery` is the address of the one that shows the images."""
    links = {"The run": run.url} | ({"The gallery": gallery} if gallery else {})
    told = printable(headline(report) if report else run.message or "It left no report.")
    subject = f"Pixelmill: {run.state}. {told}"
    if len(subject) > SUBJECT:
        subject = f"{subject[: SUBJECT - 2]} …"
    paragraphs = [f"{run.name}: {run.state}."]
    if report is None:
        return Digest(subject, told, (*paragraphs, "It left no report."), {}, links)
    paragraphs += [summary(report), *report.notable]
    if run.message and run.state != "Completed":
        paragraphs.insert(1, run.message)
    lists = {
        "Models": _models(report),
        "Deliveries": tuple(map(line, report.deliveries)),
        "Warnings": _warnings(report.warnings),
    }
    shown = {title: tuple(map(printable, lines)) for title, lines in lists.items() if lines}
    return Digest(subject, told, tuple(map(printable, paragraphs)), shown, links)


def report_of(run: Ended, reports: Sequence[RunReport]) -> RunReport | None:
    """The report that a run left, among those of its store: of those that began while it ran, the nearest to its own
    beginning."""
    if (began := run.began) is None:
        return None
    started = {datetime.fromisoformat(report.started).timestamp(): report for report in reports}
    during = [at for at in started if began - CLOCKS <= at <= run.ended + CLOCKS]
    return started[min(during, key=lambda at: abs(at - began))] if during else None


def pictures_in(markdown: str) -> dict[str, bytes]:
    """The pictures that a report in Markdown embeds, named by their sections, as JPEG, which every mail program shows.
    Raises OSError for one that is damaged."""
    title, found = "report", {}
    for section, embedded in _PICTURES.findall(markdown):
        title = section or title
        if embedded:
            found[f"{'-'.join(re.findall('[a-z]+', title.lower()))}.jpg"] = _as_jpeg(b64decode(embedded))
    return found


def _as_jpeg(webp: bytes) -> bytes:
    with Image.open(BytesIO(webp), formats=["WEBP"]) as picture, BytesIO() as written:
        picture.convert("RGB").save(written, "JPEG", quality=88)
        return written.getvalue()


def _models(report: RunReport) -> tuple[str, ...]:
    told = []
    for name, model in report.models.items():
        counts = {"embedded": model.embedded, "pending": model.pending, "in quarantine": model.quarantined}
        words = [f"{count:,} {what}" for what, count in counts.items() if count or what == "embedded"]
        covered = report.coverage.get(model.dataset)
        words += [f"covers {percent(covered)} of the store"] if covered is not None else []
        told.append(f"{name}: {', '.join(words)}")
    return tuple(told)


def _warnings(warnings: Sequence[str]) -> tuple[str, ...]:
    more = len(warnings) - WARNINGS
    return (*warnings[:WARNINGS], *([f"… and {more:,} more."] if more > 0 else []))
