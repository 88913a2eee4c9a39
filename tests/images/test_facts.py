"""The facts of a picture are made where it is decoded, hang on the picture and not on how, and are what the page says."""

from __future__ import annotations

import re
from math import isnan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelmill.errors import ImageRejected
from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.facts import FACTS, MISSING_INT, are_facts, facts_of
from pixelmill.images.measures import LONGEST_EDGE, measures, small_grey
from pixelmill.images.preprocess import Preprocessing
from pixelmill.images.sandbox import decode_in_sandbox
from pixelmill.images.sandbox_pool import end_idle_decoders
from tests.support.scenes import EIGHT_BIT, encoded, scene

DOCS = Path(__file__).parents[2] / "docs" / "columns.md"
NAMES = [fact.name for fact in FACTS]
SMALL = Preprocessing(32, 40, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
RNG = np.random.default_rng(8)


def natural(width: int, height: int, blur: float = 0.0) -> Image.Image:
    """Detail at all scales, its power falling with the square of the frequency, as photographs have it (Field 1987)."""
    across, down = np.fft.rfftfreq(width)[None], np.fft.fftfreq(height)[:, None]
    frequency = np.hypot(across, down)
    amplitude = 1 / np.maximum(frequency, 1 / width) * np.exp(-2 * (np.pi * blur * frequency) ** 2)
    planes = [np.fft.irfft2(np.fft.rfft2(RNG.standard_normal((height, width))) * amplitude, (height, width)) for _ in "RGB"]  # fmt: skip
    picture = 0.8 * planes[0][..., None] + 0.2 * np.stack(planes, axis=-1)
    return Image.fromarray(np.clip(128 + 50 * picture / picture.std(), 0, 255).astype(np.uint8))


def test_the_page_has_the_table_of_all_facts() -> None:
    """docs/columns.md lists each with its kind, its unit and what it is, in the order of FACTS."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.M)
    assert rows == [tuple(fact) for fact in FACTS]


@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_every_kind_of_file_has_all_facts(kind: str) -> None:
    """By name and kind, and those without EXIF say so by what is missing."""
    data = EIGHT_BIT[kind]
    found = decode_in_sandbox(data, DecodeOptions(), shortest=40, wanted=[SMALL], facts=True)
    facts = found.facts
    assert facts is not None
    assert are_facts(facts)
    assert found.facts_note == ""
    assert facts["bytes"] == len(data)
    assert facts["format"] == decode_image(data, DecodeOptions(), shortest=None).format
    assert (facts["taken_at"], facts["camera"], isnan(float(facts["latitude"]))) == (MISSING_INT, "", True)
    assert 0 < float(facts["contrast"]) < 128


@pytest.mark.parametrize("options", [DecodeOptions(), DecodeOptions(decode="reference")], ids=lambda one: one.decode)
@pytest.mark.parametrize("wanted", [[SMALL], []])
def test_facts_are_those_of_the_decoded_picture(options: DecodeOptions, wanted: list[Preprocessing]) -> None:
    """Whether it leaves the sandbox whole, resized or not at all."""
    data = encoded(natural(1200, 900), "JPEG")
    picture = decode_image(data, options, shortest=40)
    assert (picture.image.width < 1200) == (options.decode == "fast")
    found = decode_in_sandbox(data, options, shortest=40, wanted=wanted, facts=True)
    assert found.facts == pytest.approx(facts_of(data, "JPEG", picture.image, 1)[0], nan_ok=True)


def test_facts_are_made_when_asked_for() -> None:
    """Without, there are none."""
    found = decode_in_sandbox(EIGHT_BIT["jpeg"], DecodeOptions(), shortest=40, wanted=[SMALL])
    assert found.facts is None


@pytest.mark.parametrize("size", [(97, 64), (640, 480), (3000, 40), (384, 384), (1733, 1301)])
def test_measures_are_those_of_opencv_and_numpy(size: tuple[int, int]) -> None:
    """On the same grey copy: `cv2.Laplacian`, `mean`, `std`, and the entropy of `np.histogram`."""
    grey = np.asarray(small_grey(picture := natural(*size)))
    counts = np.histogram(grey, 256, (0, 256))[0]
    share = counts[counts > 0] / grey.size
    expected = {
        "sharpness": cv2.Laplacian(grey, cv2.CV_64F)[1:-1, 1:-1].var(),
        "brightness": grey.mean(), "contrast": grey.std(), "entropy": -(share * np.log2(share)).sum(),
    }  # fmt: skip
    assert measures(picture) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(97, 64), (384, 100), (768, 384), (1152, 1536)])
def test_the_grey_copy_is_an_average_over_blocks(size: tuple[int, int]) -> None:
    """Of the luma, as OpenCV makes both; only its longer edge is bounded."""
    picture = natural(*size)
    ours = np.asarray(small_grey(picture), float)
    assert max(ours.shape) == min(max(size), LONGEST_EDGE)
    luma = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
    theirs = cv2.resize(luma, ours.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(ours - theirs).max() <= 1


def test_known_pictures_have_known_measures() -> None:
    """One grey has no contrast, black and white in halves one bit; a picture of a line of pixels has no Laplacian."""
    flat = measures(Image.new("RGB", (64, 64), (77, 77, 77)))
    assert flat == {"sharpness": 0, "brightness": 77, "contrast": 0, "entropy": 0}
    halves = Image.new("RGB", (64, 64))
    halves.paste((255, 255, 255), (0, 0, 32, 64))
    assert measures(halves) == pytest.approx(
        {"sharpness": 2 * 255**2 / 62, "brightness": 127.5, "contrast": 127.5, "entropy": 1}
    )
    assert isnan(measures(Image.new("RGB", (50_000, 1)))["sharpness"])


@pytest.mark.parametrize("size", [(4000, 3000), (4160, 3120)])
@pytest.mark.parametrize("blur", [0.0, 8.0])
def test_scaling_while_decoding_changes_little(size: tuple[int, int], blur: float) -> None:
    """The measures of a photograph decoded in full, and at half and a quarter of its size."""
    data = encoded(natural(*size, blur), "JPEG", quality=92, subsampling=2)
    full = measures(decode_image(data, DecodeOptions(decode="reference"), shortest=None).image)
    for shortest, factor in ((224, 2), (112, 4)):
        picture = decode_image(data, DecodeOptions(), shortest=shortest)
        assert picture.frame.factor == factor
        less = measures(picture.image)
        assert less["sharpness"] == pytest.approx(full["sharpness"], rel=0.1)
        assert less["brightness"] == pytest.approx(full["brightness"], abs=1)
        assert less["contrast"] == pytest.approx(full["contrast"], rel=0.02)
        assert less["entropy"] == pytest.approx(full["entropy"], abs=0.05)


def test_sharpness_tells_a_blurred_picture() -> None:
    """The more it is blurred, the less there is of it."""
    values = [measures(natural(2000, 1500, blur))["sharpness"] for blur in (0, 4, 8, 16)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 10 * values[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("camera", 7), ("camera", "x" * 257), ("camera", "a\0b"), ("camera", "\ud800"), ("bytes", 1.0), ("bytes", True),
        ("taken_at", 2**63), ("latitude", float("inf")), ("latitude", 5), ("other", 1), ("format", None),
    ],
)  # fmt: skip
def test_an_answer_that_has_no_facts_is_refused(name: str, value: Any) -> None:
    """Whatever takes over a decoder can store nothing but values of the columns' kinds."""
    missing = {"float64": float("nan"), "int64": MISSING_INT, "text": ""}
    sound: dict[str, Any] = {fact.name: missing[fact.kind] for fact in FACTS}
    assert are_facts(sound)
    assert not are_facts({**sound, name: value})
    assert not are_facts(None)


def test_a_decoder_that_answers_otherwise_costs_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its facts are not taken over."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if sys.argv[0] == '-m':\n"
        "    from pixelmill.images import facts\n"
        "    facts.facts_of = lambda *_: ({'camera': 'x' * 1000}, '')\n"
    )
    end_idle_decoders()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    try:
        with pytest.raises(ImageRejected, match="does not fit together"):
            decode_in_sandbox(encoded(scene(), "PNG"), DecodeOptions(), shortest=40, wanted=[SMALL], facts=True)
    finally:
        end_idle_decoders()
