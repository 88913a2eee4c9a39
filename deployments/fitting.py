"""Which versions go together, beyond what pyproject.toml can say."""

from __future__ import annotations

from importlib.metadata import version

from pixelmill.errors import SettingsError


def check_versions(prefect: str | None = None, sqlalchemy: str | None = None) -> None:
    """Raises SettingsError for SQLAlchemy 2.1 with Prefect 3.8, whose server never starts a scheduled run then."""
    prefect, sqlalchemy = prefect or version("prefect"), sqlalchemy or version("sqlalchemy")
    if _minor(prefect) < (3, 9) and _minor(sqlalchemy) >= (2, 1):
        raise SettingsError(
            f"Expected SQLAlchemy below 2.1 with Prefect {prefect}: its server starts no scheduled run otherwise. Got "
            f'{sqlalchemy}. Install "prefect>=3.9.1", or "sqlalchemy<2.1".'
        )


def _minor(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
