"""What there is to say of deliveries: of each in a line, of those that somebody has to look at, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pixelmill.deliver.told import Checked, Delivered
from pixelmill.formatting import in_words as duration
from pixelmill.formatting import moment, number_of

Cells = tuple[str | tuple[str, ...], ...]
COLUMNS = ("delivery", "to", "sent", "deleted", "behind", "rows", "last equal")


def line(done: Delivered) -> str:
    """As `search: 12 rows sent, 3 deleted in 2 s. 1,000 rows, equal to revision 7 of the store.`"""
    if done.problem:
        return f"{done.name}: {_ended(done.problem)} {_last_equal(done)}"
    if done.behind is None:
        return f"{done.name}: left to the next one, as there was no more time. {_last_equal(done)}"
    nothing = "Nothing sent" if done.behind else "Nothing to send"
    did = f"{_moved(done)} in {duration(done.seconds)}" if done.sent or done.deleted else nothing
    if done.behind:
        return f"{done.name}: {did}. {_behind(done)} {_last_equal(done)}"
    anew = ", made anew" if done.is_anew else ""
    return f"{done.name}: {did}. {number_of(done.rows, 'row')}{anew}, equal to revision {done.revision} of the store."


def preview_line(would: Delivered) -> str:
    """As `search: It would send 12 rows, and delete 3.`"""
    if would.problem:
        return line(would)
    if not (would.sent or would.deleted or would.is_anew):
        return f"{would.name}: Nothing to send."
    anew = " as a new generation" if would.is_anew else ""
    return f"{would.name}: It would send {number_of(would.sent, 'row')}{anew}, and delete {would.deleted:,}."


def check_line(found: Checked) -> str:
    """As `search: Equal: 1,000 rows, of which all were compared value by value.`"""
    if found.problem:
        return f"{found.name}: {_ended(found.problem)}"
    if found.differences:
        return f"{found.name}: It differs. {' '.join(found.differences)}"
    compared = "all" if found.compared == found.rows else f"{found.compared:,}"
    return f"{found.name}: Equal: {number_of(found.rows, 'row')}, of which {compared} were compared value by value."


def in_words(done: Sequence[Delivered | Checked]) -> str:
    """What came of several, one after the other."""
    return " ".join(check_line(one) if isinstance(one, Checked) else line(one) for one in done)


def on_record_line(last: Delivered) -> str:
    """As `search to postgresql://db/photos: 1,000 rows. It was last equal to the store Wed 25 Nov 02:00.`"""
    failed = f" The last one failed: {_ended(last.problem)}" if last.problem else ""
    return f"{last.name} to {last.to}: {number_of(last.rows, 'row')}. {_last_equal(last)}{failed}"


def problems(deliveries: Sequence[Delivered]) -> list[str]:
    """What somebody has to look at, a sentence or two each: those that failed, and those that are behind."""
    return [_problem(done) for done in deliveries if not done.is_equal]


def failure(deliveries: Sequence[Delivered]) -> str:
    """Why a run fails that required a delivery which failed; '' if it does not."""
    failed = [done for done in deliveries if done.required and done.problem]
    told = " ".join(f"The delivery {done.name}, which is required, failed: {_ended(done.problem)}" for done in failed)
    return f"All else is done and stored. {told} The next run tries again." if failed else ""


def rows(deliveries: Sequence[Delivered]) -> list[Cells]:
    """A line for each delivery, of COLUMNS."""
    return [
        (
            (done.name,), (done.to,), _count(done.sent), _count(done.deleted), _lag(done), f"{done.rows:,}",
            _moment(done.equal_at),
        )
        for done in deliveries
    ]  # fmt: skip


def _problem(done: Delivered) -> str:
    what = f"The delivery {done.name} to {done.to}"
    if done.problem:
        return f"{what} failed: {_ended(done.problem)} {_last_equal(done)}"
    if done.behind is None:
        return f"{what} was left to the next run, as there was no more time. {_last_equal(done)}"
    return f"{what} came to its end too early: {_moved(done)}. {_behind(done)} {_last_equal(done)}"


def _moved(done: Delivered) -> str:
    return f"{number_of(done.sent, 'row')} sent, {done.deleted:,} deleted"


def _behind(done: Delivered) -> str:
    return f"At most {number_of(done.behind or 0, 'row')} are behind, and the next one goes on there."


def _last_equal(done: Delivered) -> str:
    return f"It was last equal to the store {_moment(done.equal_at)}." if done.equal_at else "It was never equal yet."


def _lag(done: Delivered) -> str:
    return "?" if done.behind is None else _count(done.behind)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _moment(isoformat: str) -> str:
    return moment(datetime.fromisoformat(isoformat).astimezone().isoformat()) if isoformat else "never"


def _ended(sentence: str) -> str:
    """With one full stop at its end."""
    return f"{sentence.rstrip('.')}."
