"""The version of this program, as stores, ledgers and matrices record it."""

from __future__ import annotations

VERSION = "1.0.0"
