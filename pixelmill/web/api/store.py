"""The store as a whole: coverage, quarantine, the last runs."""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from pixelmill.formatting import printable
from pixelmill.report.history import recorded
from pixelmill.report.model import RunReport
from pixelmill.report.section import Names, Section
from pixelmill.report.text import headline, sections, summary
from pixelmill.search.projection import understands_words
from pixelmill.search.searcher import default_model
from pixelmill.store.filesystem import warnings_for
from pixelmill.store.quarantine import general
from pixelmill.store.readonly import ledger_of
from pixelmill.store.rows import Quarantined
from pixelmill.web.answers import (
    NightReport,
    Quarantine,
    Reason,
    Refused,
    Reports,
    ReportSection,
    StoreInfo,
)
from pixelmill.web.coverage import by_source, cover
from pixelmill.web.escaping import escaped
from pixelmill.web.gallery import InGallery
from pixelmill.web.problems import documented

router = APIRouter(prefix="/api", tags=["store"], responses=documented(503))


@router.get("/store")
def store(gallery: InGallery) -> StoreInfo:
    """What the store holds, and how much of the collection each model covers, in all and folder by folder."""
    snapshot = gallery.newest()
    manifest = snapshot.store.manifest
    default = default_model(snapshot.store, ()) if snapshot.store.models else None
    with ledger_of(gallery.newest.folder) as ledger:
        models = [
            cover(
                snapshot, matrix, ledger,
                text=understands_words(matrix.provenance),
                default=matrix.serving and matrix.provenance.model == default,
            )
            for matrix in manifest.matrices
        ]  # fmt: skip
        refused = len({entry.path for entry in ledger.quarantine.entries()}) if ledger else 0
        unread = ledger.contents.unread() if ledger else 0
        sources = by_source(snapshot, ledger)
    return StoreInfo(
        store=printable(os.fspath(snapshot.store.folder.absolute())),
        images=int(snapshot.live.sum()),
        rows=len(snapshot.store),
        upload_bytes=gallery.limits.upload_bytes,
        unread=unread,
        quarantined=refused,
        published_at=manifest.published_at,
        revision=manifest.revision,
        pixelmill_version=manifest.pixelmill_version,
        models=models,
        ensembles=snapshot.store.ensembles,
        sources=sources,
        warnings=[printable(warning) for warning in warnings_for(snapshot.store.folder)],
    )


@router.get("/quarantine", responses=documented(422))
def quarantine(
    gallery: InGallery,
    stage: Annotated[str, Query(max_length=100, description="Only this stage.")] = "",
    reason: Annotated[str, Query(max_length=5000, description="Only this one of `reasons`.")] = "",
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Quarantine:
    """Which images were refused, at which stage, why and since when; reasons by how many images they cost."""
    with ledger_of(gallery.newest.folder) as ledger:
        entries = ledger.quarantine.entries() if ledger else []
    groups = Counter((entry.stage, printable(general(entry.reason))) for entry in entries)
    wanted = [
        entry
        for entry in entries
        if (not stage or entry.stage == stage) and (not reason or printable(general(entry.reason)) == reason)
    ]
    return Quarantine(
        images=len({entry.path for entry in entries}),
        reasons=[Reason(stage=stage, reason=why, images=count) for (stage, why), count in groups.most_common()],
        entries=[_refused(entry) for entry in wanted[offset : offset + limit]],
        entries_in_all=len(wanted),
        more=offset + limit < len(wanted),
    )


@router.get("/reports", responses=documented(422))
def reports(gallery: InGallery, limit: Annotated[int, Query(ge=1, le=50)] = 14) -> Reports:
    """The reports of the last runs, newest first."""
    with ledger_of(gallery.newest.folder) as ledger:
        runs = recorded(ledger, limit) if ledger else []
    return Reports(reports=list(map(_night, runs)))


def _refused(entry: Quarantined) -> Refused:
    return Refused(
        path=printable(entry.path),
        name=printable(os.path.basename(entry.path)),  # noqa: PTH119 - as the file system spells it
        row=entry.row,
        model=entry.model or None,
        stage=entry.stage,
        reason=printable(entry.reason),
        since=datetime.fromtimestamp(entry.since).astimezone().isoformat(timespec="seconds"),
    )


def _night(report: RunReport) -> NightReport:
    return NightReport(
        started=report.started,
        seconds=report.seconds,
        headline=printable(headline(report)),
        summary=printable(summary(report)),
        notable=list(map(printable, report.notable)),
        warnings=list(map(printable, report.warnings)),
        sections=[_section(section) for section in sections(report)],
        report=escaped(report.as_json()),
    )


def _section(section: Section) -> ReportSection:
    return ReportSection(
        title=section.title,
        columns=list(section.columns),
        words=list(section.words),
        rows=[list(map(_cell, row)) for row in section.rows],
        note=printable(section.note),
    )


def _cell(cell: str | Names) -> str:
    return printable(cell) if isinstance(cell, str) else ", ".join(map(printable, cell))
