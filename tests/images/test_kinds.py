"""docs/decoding.md says what is made of each kind of file, and that is what is made: compared with other readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import DecodeOptions, decode_image
from tests.support.pictures import KINDS, TABLE, Kind, rgb

DOCS = Path(__file__).parents[2] / "docs" / "decoding.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.format}: {kind.name}")
def test_each_kind_is_converted_rightly_or_refused(kind: Kind) -> None:
    """Each variant of a file of this kind looks as an independent reader sees it, or is refused with the reason."""
    for number, data in enumerate(kind.files()):
        if kind.refused is not None:
            with pytest.raises(ImageRejected) as caught:
                decode_image(data, DecodeOptions(), shortest=None)
            assert kind.refused in caught.value.reason
            assert "damaged" not in caught.value.reason
            continue
        ours = np.asarray(decode_image(data, DecodeOptions(), shortest=None).upright).astype(int)
        theirs = rgb(kind.seen(data)).astype(int)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() <= kind.within, number


def test_the_table_in_the_docs_is_the_one_that_is_tested() -> None:
    """`python -m tests.support.pictures` prints it."""
    assert TABLE in DOCS.read_text()
