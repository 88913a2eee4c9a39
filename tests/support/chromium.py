"""The browser of this machine, and where pictures of what it shows go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
SCREENSHOTS = Path(os.environ["SCREENSHOTS"]).absolute() if os.environ.get("SCREENSHOTS") else None
needs_chromium = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="No Chromium or Chrome is installed (Debian: chromium)."),
]
"""The marks of tests that use a page as people do."""
