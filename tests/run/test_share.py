"""A worker's share, from the orders at a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmill.errors import StoreError
from pixelmill.run.share import do_share


def test_a_worker_that_sees_another_place_names_it(tmp_path: Path) -> None:
    """Where a disk is not mounted there are no orders: who reads the error has to know where they were looked for."""
    place = f"{tmp_path}/meet/store/7"
    with pytest.raises(StoreError, match=f"at {place}. There are none: the run is over, or this machine does not see"):
        do_share(place, "attic")
