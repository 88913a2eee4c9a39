"""The report of a run as it is worth seeing in Python: a line for a terminal, tables for a notebook."""

from __future__ import annotations

from pixelmill.report import model
from pixelmill.report.html import as_html
from pixelmill.report.pictures import sheet_of
from pixelmill.report.text import headline


class RunReport(model.RunReport):
    """What a run did; its fields are those of `pixelmill run --json`. In a notebook it shows tables."""

    @classmethod
    def of(cls, report: model.RunReport) -> RunReport:
        """The same report."""
        return cls.model_construct(**dict(report))

    def __str__(self) -> str:
        return f"{self.store}: {headline(self)}"

    def __repr__(self) -> str:
        return f"<RunReport {self}>"

    def _repr_html_(self) -> str:
        return as_html(self, sheet_of(self))


class DryRunReport(model.DryRunReport):
    """What a run would do; its fields are those of `pixelmill run --dry-run --json`. In a notebook it shows a table."""

    @classmethod
    def of(cls, report: model.DryRunReport) -> DryRunReport:
        """The same report."""
        return cls.model_construct(**dict(report))

    def __str__(self) -> str:
        return f"{self.store}: {headline(self)}"

    def __repr__(self) -> str:
        return f"<DryRunReport {self}>"

    def _repr_html_(self) -> str:
        return as_html(self)
