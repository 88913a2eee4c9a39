"""Versions of other packages that do not go together are told before anything starts."""

from __future__ import annotations

import pytest

from deployments.fitting import check_versions
from pixelmill.errors import SettingsError


def test_versions_that_do_not_go_together_are_told() -> None:
    """Prefect 3.8 with SQLAlchemy 2.1 has a server that starts no scheduled run; what is installed is as it should be."""
    check_versions()
    check_versions("3.8.8", "2.0.58")
    check_versions("3.9.1", "2.1.9")
    with pytest.raises(SettingsError, match=r"^Expected SQLAlchemy below 2\.1 with Prefect 3\.8\.8"):
        check_versions("3.8.8", "2.1.9")
