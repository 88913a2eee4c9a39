"""Images of formats that an earlier program refused are embedded by the first run of one that opens them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmill.run.direct import run_here
from pixelmill.run.job import CacheSpec, Job
from pixelmill.sources.formats import REFUSED, SUPPORTED_SINCE
from pixelmill.store.commit import StoreWriter
from tests.conftest import SavePicture
from tests.support.models import spec_of


def test_they_are_tried_again(tmp_path: Path, save_picture: SavePicture) -> None:
    """And no others: what is refused still for what it is stays so, unread."""
    save_picture(tmp_path / "photos/a.png", 1)
    (tmp_path / "photos/b.heic").write_bytes((tmp_path / "photos/a.png").read_bytes() + b"another")
    (tmp_path / "photos/c.xcf").write_bytes(b"gimp xcf v001\0")
    (tmp_path / "weights").write_bytes(b"first")
    job = Job(
        sources=(str(tmp_path / "photos"),), store=tmp_path / "store", specs=(spec_of("one", tmp_path),),
        cache=CacheSpec(cache_dir=tmp_path / "cache"), precision="float32", threads=1,
    )  # fmt: skip
    small = job.model_copy(update={"max_bytes": (tmp_path / "photos/a.png").stat().st_size})
    assert run_here(small).images.quarantined == 2
    with StoreWriter(job.store) as writer:
        writer.ledger.database.write(
            "UPDATE quarantine SET reason = ? WHERE reason LIKE 'Expected at most%'", (SUPPORTED_SINCE[0],)
        )
    report = run_here(job)
    assert (report.images.quarantined, report.models["one"].embedded) == (1, 1)
    assert run_here(job).images.quarantined == 1


@pytest.mark.parametrize("reason", SUPPORTED_SINCE)
def test_no_reason_is_one_of_today(reason: str) -> None:
    """Else such an image would be tried every night."""
    assert reason not in REFUSED.values()
