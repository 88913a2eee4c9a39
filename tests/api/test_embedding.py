"""`pixelmill.embed` gives what a run stores, for whatever a picture is given as, and says which one it cannot embed."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pixelmill
from pixelmill.api import pictures
from pixelmill.catalog import DEFAULT_MODEL
from pixelmill.errors import ImageRejected, SettingsError, SourceError, UnknownModel
from pixelmill.models.base import ModelSpec
from tests.api.conftest import IMAGES
from tests.support.image_server import ImageServer
from tests.support.models import STAND_INS, BlockMeans, spec_of


@pytest.fixture
def files(photos: Path) -> list[Path]:
    """In the order of rows of a store."""
    return sorted(photos.rglob("*.png"))


@pytest.mark.parametrize("decode", ["fast", "reference"])
def test_it_equals_what_a_run_stores(photos: Path, files: list[Path], decode: Any, model: ModelSpec) -> None:
    """Vector for vector, whatever format and orientation the files have: pixels to the bit, and what a network makes of
    them but for rounding, as threads share out its sums."""
    turned = Image.open(files[0]).convert("RGBA")
    turned.putalpha(Image.linear_gradient("L").resize(turned.size))
    turned.save(photos / "c.webp", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(files[1]).resize((1500, 1000)).save(photos / "d.jpg", exif=exif)
    for one in (model, DEFAULT_MODEL):
        pixelmill.run(photos, models=one, store="store", precision="float32", decode=decode)
    store = pixelmill.Store("store")
    places = [Path(photos, store.place(row)[1]) for row in range(len(store))]
    assert len(places) == IMAGES + 2
    np.testing.assert_array_equal(pixelmill.embed(places, model, decode=decode), store["one"][:])
    np.testing.assert_allclose(pixelmill.embed(places, decode=decode), store[DEFAULT_MODEL][:], atol=1e-4)


def test_the_order_is_that_of_what_is_given(files: list[Path], model: ModelSpec) -> None:
    """Row i is the i-th picture's, also of one that is given twice, and of a copy; one picture is one row."""
    (copy := files[0].with_name("copy.png")).write_bytes(files[0].read_bytes())
    one_by_one = [pixelmill.embed(file, model) for file in files]
    assert {vectors.shape for vectors in one_by_one} == {(1, 12)}
    order = [3, 0, 0, 5, 1]
    vectors = pixelmill.embed([*(files[i] for i in order), copy], model, batch_size=2)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.concatenate([one_by_one[i] for i in [*order, 0]]))
    assert pixelmill.embed([], model).shape == (0, 12)


def test_a_picture_may_be_given_as_anything(files: list[Path], model: ModelSpec) -> None:
    """A path, text, an address, bytes, Pillow's, arrays, a stack of them, a generator: the same vectors, to the bit."""
    file = files[2]
    expected = pixelmill.embed(file, model)
    picture = Image.open(file)
    array = np.asarray(picture)
    with ImageServer().running() as server:
        server.files["/2.png"] = file.read_bytes()
        address = f"{server.url}/2.png"
        given: list[Any] = [str(file), address, file.read_bytes(), picture, array, picture.convert("RGBA"), array[None]]
        for one in given:
            np.testing.assert_array_equal(pixelmill.embed(one, model), expected)
        several = pixelmill.embed((one for one in given[:-1]), model)
    np.testing.assert_array_equal(several, np.repeat(expected, len(given) - 1, axis=0))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "F", "CMYK"])
@pytest.mark.parametrize("decode", ["fast", "reference"])
def test_a_picture_of_pillows_is_taken_as_its_file(mode: str, decode: Any, files: list[Path], model: ModelSpec) -> None:
    """In each mode: grey and deep, indexed, transparent over white."""
    picture = Image.open(files[3])
    picture = picture.convert("F") if mode == "I;16" else picture.convert(mode)
    if mode == "I;16":
        picture = Image.fromarray((np.asarray(picture) * 200).astype(np.uint16))
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    file = files[3].with_name("saved.tif")
    picture.save(file)
    expected = pixelmill.embed(file, model, decode=decode)
    np.testing.assert_allclose(pixelmill.embed(picture, model, decode=decode), expected, atol=1e-6)
    np.testing.assert_array_equal(pixelmill.embed(Image.open(file), model, decode=decode), expected)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_picture_of_pillows_is_turned_upright(ending: str, files: list[Path], model: ModelSpec) -> None:
    """As its file is, whether Pillow turns the format while it loads, or leaves that to others."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(files[3]).save(file := files[3].with_name(f"turned.{ending}"), exif=exif)
    upright = pixelmill.embed(Image.open(files[3]).transpose(Image.Transpose.ROTATE_270), model)
    np.testing.assert_array_equal(pixelmill.embed([file, Image.open(file)], model), np.repeat(upright, 2, axis=0))
    if ending == "png":
        as_stored = pixelmill.embed([file, Image.open(file)], model, exif_orientation=False)
        np.testing.assert_array_equal(as_stored, np.repeat(pixelmill.embed(files[3], model), 2, axis=0))


def test_several_models_are_side_by_side(files: list[Path], model: ModelSpec, tmp_path: Path, photos: Path) -> None:
    """As the store's ensembles are: in the order named, at length 1 and weighted where that is asked for."""
    other = spec_of("other", tmp_path)
    pixelmill.run(photos, models=[model, other], store="store", precision="float32")
    store = pixelmill.Store("store")
    for choice in ({}, {"weights": (0.5, 2.0)}, {"weights": (0.5, 2.0), "normalize": True}):
        stored = store.concatenated(["other", "one"], **choice).read()  # type: ignore[arg-type]
        vectors = pixelmill.embed(files, [other, model], **choice)  # type: ignore[arg-type]
        np.testing.assert_allclose(vectors, stored, rtol=1e-6)


def test_what_cannot_be_embedded_is_named(files: list[Path], model: ModelSpec) -> None:
    """By its number and name, as the error that says whether it is damaged or not there; or as a row of NaN."""
    (bad := files[0].with_name("bad.png")).write_bytes(files[0].read_bytes()[:200])
    gone = files[0].with_name("gone.png")
    with pytest.raises(ImageRejected, match=r"images\[2\] \(.*bad\.png\): The file is cut off") as rejected:
        pixelmill.embed([files[0], files[1], bad, gone], model)
    assert rejected.value.stage == "decode"
    with pytest.raises(SourceError, match=r"images\[1\] \(.*gone\.png\) cannot be read: No such file"):
        pixelmill.embed([files[0], gone, bad], model)
    with pytest.raises(ImageRejected, match=r"images\[0\] \(9 bytes\)"):
        pixelmill.embed(b"no image.", model)
    with pytest.warns(UserWarning, match=r"images\[.\]") as told:
        vectors = pixelmill.embed([bad, files[0], gone, bad], model, errors="nan")
    assert np.isnan(vectors).all(axis=1).tolist() == [True, False, True, True]
    assert ["bad.png" in str(one.message) for one in told] == [True, False, True]


def test_a_lazy_picture_that_is_damaged_is_told_like_its_file(files: list[Path], model: ModelSpec) -> None:
    """Pillow decodes when pixels are asked for; what it finds then names the picture, too."""
    cut = Image.open(io.BytesIO(files[0].read_bytes()[:-200]))
    with pytest.raises(ImageRejected, match=r"images\[0\] \(PngImageFile\)"):
        pixelmill.embed(cut, model)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (np.zeros((3, 8, 8), np.float32), r"images\[1\] \(float32 \(3, 8, 8\)\)"),
        (np.zeros((8, 8, 2), np.uint8), "height, width"),
        (7, r"images\[1\] \(int\)"),
        (None, "NoneType"),
        (bytearray(b"x"), "bytearray"),
        (io.BytesIO(b"x"), "BytesIO"),
    ],
)
def test_what_is_no_picture_is_a_type_error(thing: Any, words: str, model: ModelSpec) -> None:
    """Nothing is guessed of arrays whose numbers may mean anything."""
    with pytest.raises(TypeError, match=words):
        pixelmill.embed([np.zeros((8, 8), np.uint8), thing], model)


def test_one_thing_that_holds_bytes_is_not_several(model: ModelSpec) -> None:
    """The lines of an open file are no pictures, nor are the numbers of a bytearray."""
    for thing in (io.BytesIO(b"a\nb\n"), bytearray(b"ab")):
        with pytest.raises(TypeError, match=rf"images\[0\] \({type(thing).__name__}\)"):
            pixelmill.embed(thing, model)  # type: ignore[arg-type]


def test_an_array_of_names_is_several(files: list[Path], model: ModelSpec) -> None:
    """As a column of a table gives it; a path may be in bytes where it says that it is one."""

    class InBytes:
        def __fspath__(self) -> bytes:
            return bytes(files[1])

    expected = pixelmill.embed(files[:2], model)
    for names in (np.array(files[:2], object), np.array(list(map(str, files[:2]))), [files[0], InBytes()]):
        np.testing.assert_array_equal(pixelmill.embed(names, model), expected)  # type: ignore[arg-type]


def test_a_picture_in_memory_is_judged_before_it_is_copied(model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no run would take costs no memory; one without pixels is told as what it is."""
    monkeypatch.setattr(pictures, "to_rgb", None)
    with pytest.raises(ImageRejected, match="Expected at most 200,000,000 pixels"):
        pixelmill.embed(np.broadcast_to(np.zeros((), np.uint8), (1, 20_000, 20_000))[0], model)
    with pytest.raises(ImageRejected, match=r"Expected at least one pixel\. The image is 8 x 0"):
        pixelmill.embed(np.zeros((0, 8), np.uint8), model)


@pytest.mark.parametrize(
    ("name", "value"), [("precision", "auto"), ("precision", "float64"), ("decode", "slow"), ("errors", "ignore")]
)
def test_what_cannot_be_chosen_is_refused(name: str, value: str, files: list[Path], model: ModelSpec) -> None:
    """Instead of being taken for another word, as rows of NaN that nobody asked for."""
    with pytest.raises(SettingsError, match=rf"Expected {name} to be one of .*Got '{value}'"):
        pixelmill.embed(files[0], model, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [[0], [float("nan")], [1e39], ["heavy"], 2])
def test_weights_that_leave_nothing_are_refused(weights: Any, files: list[Path], model: ModelSpec) -> None:
    """They would make NaN, or zeros, of every vector; an array of NumPy's is a list like others."""
    with pytest.raises(SettingsError, match=r"Expected (finite|one|weights)"):
        pixelmill.embed(files[0], model, weights=weights)
    twice = pixelmill.embed(files[0], model, weights=np.array([2.0]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(twice, 2 * pixelmill.embed(files[0], model))


def test_a_folder_is_no_picture(photos: Path, model: ModelSpec) -> None:
    """Its files would be rows that nobody counted."""
    with pytest.raises(SourceError, match=r"is a folder: name its files, or use pixelmill\.run"):
        pixelmill.embed(photos, model)


def test_models_are_named_as_elsewhere(files: list[Path]) -> None:
    """A wrong name is told with the nearest; two of one name, and weights for others, are refused."""
    with pytest.raises(UnknownModel, match="resnet50"):
        pixelmill.embed(files, "resnet5O")
    with pytest.raises(SettingsError, match="each named once"):
        pixelmill.embed(files, ["resnet50", "resnet50"])
    with pytest.raises(SettingsError, match="one weight for each of 1 models"):
        pixelmill.embed(files, "resnet50", weights=(1, 2))


def test_a_model_stays_loaded(files: list[Path], model: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between calls, from many threads at once, until `release_models`; other weights are another model."""
    loaded = []

    def kind(spec: ModelSpec, sha256: str) -> BlockMeans:
        loaded.append(threading.get_ident())
        return BlockMeans(spec, sha256)

    pixelmill.release_models()
    monkeypatch.setattr(STAND_INS, "kind", kind)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: pixelmill.embed(files, model), range(8)))
    assert len(loaded) == 1
    assert all(np.array_equal(one, made[0]) for one in made)
    Path(model.weights.url.removeprefix("file:")).write_bytes(b"others")
    assert not np.array_equal(pixelmill.embed(files, model), made[0])
    pixelmill.embed(files, model)
    assert len(loaded) == 2
    pixelmill.release_models()
    pixelmill.embed(files, model)
    assert len(loaded) == 3
