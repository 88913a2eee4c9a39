"""The first import of Prefect, which reads its settings."""

from __future__ import annotations

from pixelmill.errors import SettingsError


def load_prefect() -> str | None:
    """The server's address that its settings name. Raises SettingsError, in words, where Prefect cannot read them."""
    try:
        from prefect.settings import get_current_settings

        return get_current_settings().api.url
    except ImportError:
        raise
    except Exception as error:  # whatever a file of somebody else's makes of it
        told = " ".join(str(error).split())
        raise SettingsError(
            "Expected settings of Prefect that it can read: PREFECT_… variables; .env, prefect.toml and pyproject.toml "
            f"in this folder; profiles.toml in its home. Correct them, or run --direct. {type(error).__name__}: {told}"
        ) from error
