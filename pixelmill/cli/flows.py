"""The flows for Prefect deployments of an installed Pixelmill: `entrypoint: pixelmill.cli.flows.vectorize`.

A process of Prefect's imports this module and looks nowhere else. In the checkout the files are the entrypoints:
`flows/vectorize.py:vectorize`.
"""

# ruff: noqa: E402 - what is imported here is found only then

from __future__ import annotations

from pixelmill.cli.ours import prefer_ours

prefer_ours()

from flows.deliver import deliver
from flows.digest import digest
from flows.embed import embed
from flows.index import index
from flows.maintain import maintain
from flows.vectorize import vectorize

__all__ = ["deliver", "digest", "embed", "index", "maintain", "vectorize"]
