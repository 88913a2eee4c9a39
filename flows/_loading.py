"""The first import of Prefect, which reads its settings."""

from __future__ import annotations

from pixelmill.errors import SettingsError


def load_prefect() -> None:
    """Raises SettingsError, in words, for settings of Prefect that it cannot read."""
    try:
        from prefect.settings import get_current_settings

        get_current_settings()
    except ImportError:
        raise
    except Exception as error:  # whatever a file of somebody else's makes of it
        raise SettingsError(
            "Expected settings of Prefect that it can read: PREFECT_… variables; .env, prefect.toml and pyproject.toml "
            f"in this folder; profiles.toml in its home. {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
