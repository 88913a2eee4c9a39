"""A decoder that crashes, hangs or eats memory costs one image; the processes behind it end when they should."""

from __future__ import annotations

import io
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pixelmill.embedding.targets import Target
from pixelmill.errors import ImageRejected
from pixelmill.images import sandbox, sandbox_pool
from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.preprocess import Preprocessing, pixels
from pixelmill.images.sandbox import DecoderUnusable, decode_in_sandbox
from pixelmill.images.sandbox_pool import DecodingInterrupted, end_idle_decoders
from pixelmill.pipeline import Pipeline
from pixelmill.sources.found import FoundFile
from tests.conftest import SavePicture
from tests.support.heic import coded
from tests.support.models import Limited
from tests.support.scenes import EIGHT_BIT, scene

PLAIN = Preprocessing(32, 40, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
TURNED = Image.Exif()
TURNED[0x0112] = 6
FAULTS = {
    b"crash": "os.kill(os.getpid(), signal.SIGSEGV)",
    b"abort": "os.abort()",
    b"hang": "time.sleep(1000)",
    b"spin": "exec('while True: pass')",
    b"works": "(os.pwrite(works, b'%d' % os.getpid(), 0), exec('while time.process_time() < 1: pass'))",
    b"memory": "bytearray(1 << 45)",
    b"killed": "os.kill(os.getpid(), signal.SIGKILL)",
    b"once": "os.pread(once, 1, 0) or (os.pwrite(once, b'1', 0), os.abort())",
}
"""What the decoder does at a file that ends so, as a fault in a library of C would have it."""

PATCH = """
import os, signal, sys, time
if sys.argv[0] == "-m":
    from pixelmill.images import decode
    works, once = (os.open({folder!r} + name, os.O_RDWR | os.O_CREAT) for name in ("/works", "/once"))
    real = decode._attempt

    def faulty(kind, data, **how):
        for end, fault in {faults}.items():
            if data.endswith(end):
                eval(fault)
        return real(kind, data, **how)

    decode._attempt = faulty
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Decoders that a test changed are not those of the next."""
    end_idle_decoders()
    yield
    end_idle_decoders()


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New decoders have faults."""
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(PATCH.format(faults=FAULTS, folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patch"))


def sandboxed(data: bytes, **options: object) -> np.ndarray:
    (array,) = decode_in_sandbox(data, DecodeOptions(**options), shortest=40, wanted=[PLAIN]).arrays  # type: ignore[arg-type]
    return array


@pytest.mark.parametrize("kind", EIGHT_BIT)
def test_pixels_are_those_of_the_same_process(kind: str) -> None:
    """Whatever the format, the other process gives the pixels and the size that this one would."""
    data, options = EIGHT_BIT[kind], DecodeOptions()
    here = decode_image(data, options, shortest=40)
    there = decode_in_sandbox(data, options, shortest=40, wanted=[PLAIN])
    assert (there.width, there.height) == here.frame.size
    np.testing.assert_array_equal(there.arrays[0], pixels(np.array(here.image), here.frame, PLAIN))


@pytest.mark.parametrize("interpolation", ["BICUBIC", "BILINEAR"])
@pytest.mark.parametrize("size", [40, (40, 40)], ids=["shortest", "squash"])
@pytest.mark.parametrize("edges", [(97, 64), (64, 97), (40, 40), (40, 55), (1000, 751), (30, 20)])
def test_reference_is_upstreams_transform_of_the_whole_picture(
    edges: tuple[int, int], size: int | tuple[int, int], interpolation: str
) -> None:
    """torchvision's own transform makes the same tensor of what comes back as of the whole picture, to the bit."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor

    upstream = Compose([Resize(size, InterpolationMode[interpolation]), CenterCrop(32), ToTensor()])
    random = np.random.default_rng(3)
    image = Image.fromarray(random.integers(0, 256, (*edges[::-1], 3), dtype=np.uint8))
    image.save("picture.png")
    made = Preprocessing(
        32, 40, (0, 0, 0), (1, 1, 1), interpolation.lower(), "shortest" if size == 40 else "squash"  # type: ignore[arg-type]
    )  # fmt: skip
    options = DecodeOptions(decode="reference")
    (array,) = decode_in_sandbox(Path("picture.png").read_bytes(), options, shortest=40, wanted=[made]).arrays
    assert upstream(Image.fromarray(array)).equal(upstream(image))


def photograph(width: int, height: int, format: str, **how: Any) -> bytes:
    """Smooth noise, encoded."""
    coarse = np.random.default_rng(width).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, format, **how)
    return file.getvalue()


def turned_by_xmp() -> bytes:
    """A TIFF whose orientation is in its XMP alone: Pillow knows of it when it has loaded the picture."""
    return photograph(970, 640, "TIFF", tiffinfo={700: b'<x:xmpmeta tiff:Orientation="6"></x:xmpmeta>'})


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("data", "size", "scaled"),
    [
        (photograph(3601, 4003, "JPEG", exif=TURNED, quality=95), (4003, 3601), True),
        (photograph(3601, 4003, "JPEG", exif=TURNED, subsampling="4:4:4"), (4003, 3601), False),
        (photograph(1601, 1403, "PNG"), (1601, 1403), False),
        (photograph(40, 9000, "PNG"), (40, 9000), False),
        (turned_by_xmp(), (640, 970), False),
    ],
    ids=["scaled and turned", "turned", "in strips", "elongated", "turned by its XMP"],
)
def test_a_picture_is_resized_there_or_here(
    data: bytes, size: tuple[int, int], scaled: bool, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PyTorch is quick the whole picture crosses, else a small one: both are upstream's of the upright picture."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    monkeypatch.setattr("pixelmill.images.sandbox._resizes_fast", lambda: quick)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert upright.size == size
    expected = np.asarray(Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224)])(upright)).astype(int)
    made = Preprocessing(224, 224, (0, 0, 0), (1, 1, 1))
    found = decode_in_sandbox(data, DecodeOptions(max_aspect=1000.0), shortest=224, wanted=[made, made])
    assert (found.width, found.height) == size
    for array in found.arrays:
        difference = np.abs(array - expected)
        assert difference.max() <= (12 if scaled else 2)
        assert difference.mean() < (0.5 if scaled else 0.02)


@pytest.mark.parametrize(
    "lie",
    [
        {"across": 4000, "down": 3000}, {"across": 64, "down": 97}, {"factor": 2}, {"factor": 0}, {"orientation": 9},
        {"orientation": 0}, {"across": 10**9},
    ],
    ids=str,
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_refused(lie: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that says another size than it hands over costs its picture, and embeds nothing black."""
    ask = sandbox_pool._Decoder.ask

    def lied(*given: Any) -> Any:
        answer, arrays = ask(*given)
        answer["frame"].update(lie)
        return answer, arrays

    monkeypatch.setattr(sandbox_pool._Decoder, "ask", lied)
    with pytest.raises(ImageRejected, match="does not fit together"):
        sandboxed(EIGHT_BIT["png"])


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (MemoryError(), DecodingInterrupted),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            DecodingInterrupted,
        ),
        (RuntimeError("Expected something else"), ImageRejected),
    ],
    ids=["MemoryError", "PyTorch's", "other"],
)
def test_what_resizing_raises_costs_one_picture(
    error: Exception, means: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little memory may pass; what else PyTorch says of a picture is its reason."""

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(sandbox, "pixels", fails)
    with pytest.raises(means):
        sandboxed(EIGHT_BIT["png"])


def test_a_picture_that_cannot_be_handed_over_waits() -> None:
    """Where the memory that both processes share does not grow, the picture is left for later and the run goes on."""
    flat = io.BytesIO()
    Image.new("RGB", (1200, 1200)).save(flat, "PNG")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(DecodingInterrupted, match="could not hand it over"):
            sandboxed(flat.getvalue())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    end_idle_decoders()
    assert sandboxed(flat.getvalue()).shape == (32, 32, 3)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (b"crash", r"crashed at it \(SIGSEGV\)"), (b"abort", r"crashed at it \(SIGABRT\)"),
        (b"hang", r"longer than 0\.5 s \(max_seconds\)"), (b"spin", r"longer than 0\.5 s \(max_seconds\)"),
        (b"memory", "MiB of memory"),
    ],
)  # fmt: skip
def test_a_fault_of_the_decoder_costs_that_picture(end: bytes, words: str) -> None:
    """The picture is refused with the reason, and the next one is decoded."""
    good = EIGHT_BIT["jpeg"]
    expected = sandboxed(good)
    with pytest.raises(ImageRejected, match=words):
        sandboxed(good + end, max_seconds=0.5)
    np.testing.assert_array_equal(sandboxed(good), expected)


@pytest.mark.usefixtures("faulty")
def test_a_decoder_that_is_stopped_keeps_its_picture(tmp_path: Path) -> None:
    """A process that somebody stops for longer than max_seconds, and lets go on, decodes its picture."""
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(sandboxed, EIGHT_BIT["jpeg"] + b"works", max_seconds=1.5)
        decoder = _decoder_at_work(tmp_path)
        os.kill(decoder, signal.SIGSTOP)
        time.sleep(2.0)
        os.kill(decoder, signal.SIGCONT)
        assert made.result().shape == (32, 32, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("faulty")
def test_a_run_that_is_stopped_keeps_its_pictures(tmp_path: Path) -> None:
    """Ctrl-Z, a frozen container, a laptop that sleeps: all processes stand still, and no sound picture is blamed."""
    code = (
        "from tests.images.test_sandbox import *;print(sandboxed(EIGHT_BIT['jpeg'] + b'works', max_seconds=3.0).shape)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{Path(__file__).parents[2]}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as run:
        _decoder_at_work(tmp_path)
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(5.0)
        os.killpg(run.pid, signal.SIGCONT)
        assert run.communicate()[0].strip() == "(32, 32, 3)"


def _decoder_at_work(folder: Path) -> int:
    """The decoder that is at a picture which takes a second to compute, imports included."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(FileNotFoundError, ValueError):
            return int((folder / "works").read_text())
        time.sleep(0.01)
    raise AssertionError("no decoder came to work")


@pytest.mark.usefixtures("faulty")
def test_a_picture_that_follows_a_damaging_one_is_not_blamed() -> None:
    """A process that dies at a picture and not at a second try was damaged before: the picture is embedded."""
    assert sandboxed(EIGHT_BIT["jpeg"] + b"once").shape == (32, 32, 3)


@pytest.mark.usefixtures("faulty")
def test_what_somebody_else_ended_may_pass() -> None:
    """A decoder that the kernel or a person kills says nothing about the picture: it is for another try."""
    with pytest.raises(DecodingInterrupted, match="SIGKILL"):
        sandboxed(EIGHT_BIT["jpeg"] + b"killed")


@pytest.mark.usefixtures("faulty")
def test_too_little_memory_on_the_machine_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that got no memory while the machine has none to give is not refused."""
    monkeypatch.setattr(sandbox, "_available", lambda: 0)
    with pytest.raises(DecodingInterrupted, match="not enough memory"):
        sandboxed(EIGHT_BIT["jpeg"] + b"memory")


@pytest.mark.usefixtures("faulty")
def test_a_shard_with_every_fault_embeds_the_rest(tmp_path: Path, save_picture: SavePicture) -> None:
    """Crashes, hangs and hunger among forty pictures: each costs its own image, what may pass is left for later."""
    names = [f"{seed}.png" for seed in range(40)]
    for seed, name in enumerate(names):
        save_picture(tmp_path / name, seed, (16, 16))
    bad = dict(zip(names[3::6], [b"crash", b"hang", b"memory", b"killed", b"spin", b"abort"], strict=False))
    for name, end in bad.items():
        with (tmp_path / name).open("ab") as file:
            file.write(end)
    options = DecodeOptions(max_seconds=1)
    pipeline = Pipeline([Target(Limited(), "one")], options, batch_size=4, threads=3)
    result = pipeline.run([FoundFile(str(tmp_path), name, 0, 0, 0) for name in names], lambda _: frozenset({"one"}))
    assert len(result.rows.vectors["one"].index) == 34
    refused = {Path(failure.path).name for failure in result.rows.failures}
    assert refused == {name for name, end in bad.items() if end != b"killed"}
    assert [file.path for file, _ in result.unread] == [name for name, end in bad.items() if end == b"killed"]


def test_a_decoder_that_cannot_start_is_no_fault_of_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation stops the run in words, instead of refusing every picture."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nif sys.argv[0] == '-m': raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DecoderUnusable, match="exit code 1"):
        sandboxed(EIGHT_BIT["jpeg"])


def test_a_library_that_is_missing_costs_its_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no libheif can be had, HEIC is refused with the module's name, and all else is decoded."""
    (tmp_path / "pi_heif.py").write_text("raise ImportError('no pi_heif for this machine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert sandboxed(EIGHT_BIT["png"]).shape == (32, 32, 3)
    with pytest.raises(ImageRejected, match=r"does not read its format.*pi_heif"):
        sandboxed(coded(scene()))


def test_the_working_directory_is_not_searched(tmp_path: Path) -> None:
    """A folder of pictures that holds a file named as a module of ours does not run it."""
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "PIL.py").write_text("raise SystemExit(3)")
    assert sandboxed(EIGHT_BIT["jpeg"]).shape == (32, 32, 3)


def test_decoders_end_with_their_parent(tmp_path: Path) -> None:
    """After kill -9 of a run its decoders are gone within moments."""
    (tmp_path / "a.jpg").write_bytes(EIGHT_BIT["jpeg"])
    code = (
        "import sys, time; from tests.images.test_sandbox import *; sandboxed(Path('a.jpg').read_bytes());"
        "print(sandbox_pool._idle[0]._process.pid, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        decoder = int(parent.stdout.readline())
        parent.kill()
    end = time.monotonic() + 10
    while _runs(decoder):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_decoder_says_nothing_of_a_parent_that_left_words_unread(capfd: pytest.CaptureFixture[str]) -> None:
    """A run that is stopped while it decodes ends without a traceback."""
    decoder = sandbox_pool._Decoder()
    select.select([decoder._channel], [], [], 60)
    decoder._channel.close()
    assert decoder._process.wait(60) == 0
    os.close(decoder._memory)
    assert capfd.readouterr().err == ""


def _runs(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")")[1].split()[0]
    except FileNotFoundError:
        return False


def test_large_pictures_take_turns_in_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pictures over LARGE, one is decoded at a time, whichever process does it; small ones go beside it."""
    log = tmp_path / "log"
    (tmp_path / "sitecustomize.py").write_text(f"""
import os, sys, time
if sys.argv[0] == "-m":
    from pixelmill.images import decode
    decode.LARGE, real = 5000, decode._decoded
    log = os.open({str(log)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def told(picture, *rest):
        large = picture.size[0] * picture.size[1] > 5000
        os.write(log, b"+" if large else b"s")
        time.sleep(0.05)
        done = real(picture, *rest)
        os.write(log, b"-" if large else b"")
        return done

    decode._decoded = told
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    small = _small()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sandboxed, [EIGHT_BIT["png"], small] * 8))
    end_idle_decoders()
    turns = log.read_text()
    assert turns.replace("s", "") == "+-" * 8
    assert turns.count("s") == 8
    assert "+s" in turns or "s-" in turns, turns


def _small() -> bytes:
    Image.new("RGB", (60, 60)).save("small.png")
    return Path("small.png").read_bytes()


def test_a_forked_process_has_decoders_of_its_own() -> None:
    """After a fork, parent and child each decode without hearing the other's answers."""
    expected = sandboxed(EIGHT_BIT["jpeg"])
    child = os.fork()
    if not child:
        fine = all((sandboxed(EIGHT_BIT["jpeg"]) == expected).all() for _ in range(20))
        end_idle_decoders()
        os._exit(0 if fine else 1)
    other = sandboxed(EIGHT_BIT["png"])
    for _ in range(20):
        np.testing.assert_array_equal(sandboxed(EIGHT_BIT["png"]), other)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_limits_are_the_kernels(tmp_path: Path) -> None:
    """Hostile files of every kind, decoded under a limit of address space: bounded memory and time, each a picture or a
    reason."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_images"], capture_output=True, text=True, timeout=200,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) >= 60
    assert {kind for _, kind, _, _ in told} == {"picture", "ImageRejected"}
    assert all(words for _, kind, words, _ in told if kind == "ImageRejected")
    assert max(seconds for *_, seconds in told) < 30
    for name in ("bomb", "strip", "gif bomb", "html", "eps", "cut jpeg"):
        assert [kind for found, kind, *_ in told if found == name] == ["ImageRejected"], name
