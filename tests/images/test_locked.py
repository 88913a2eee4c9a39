"""A decoder that a picture takes over can open no file, make no socket, start no process; the kernel refuses it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pixelmill.errors import ImageRejected
from pixelmill.images import locked
from pixelmill.images.decode import DecodeOptions, decode_image
from pixelmill.images.locked import LANDLOCK, SECCOMP
from pixelmill.images.preprocess import Preprocessing, scaled
from pixelmill.images.sandbox import decode_in_sandbox, scaled_in_sandbox
from pixelmill.images.sandbox_pool import end_idle_decoders, not_locked_by
from tests.support.canaries import CANARIES
from tests.support.pictures import KINDS
from tests.support.scenes import EIGHT_BIT, encoded, scene

ROOT = Path(__file__).parents[2]
PLAIN = Preprocessing(32, 40, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
HERE = {**os.environ, "PYTHONPATH": str(ROOT)}
REFUSALS = {1, 13, 38}
"""EPERM, EACCES, ENOSYS."""
BY_LANDLOCK = {
    "read a file", "write a file", "make a file", "read the parent's memory as a file", "open anew what is open",
    "list a folder", "remove a file", "rename a file", "make a folder", "make a link", "cut a file", "load a library",
    "connect", "connect to a hidden socket", "start a program", "become a program", "become an open program",
    "trace the parent", "read the parent's memory", "signal the parent",
}  # fmt: skip
"""What Landlock alone refuses, from its version 6 on."""
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

needs_both = pytest.mark.skipif(bool(locked.missing()), reason=f"here is {locked.in_words(locked.missing())}")


TAKEN_OVER = """
import json, os, sys
if sys.argv[0] == "-m":
    from pixelmill.errors import ImageRejected
    from pixelmill.images import decode
    from tests.support.canaries import CANARIES, Place
    place, real = Place(), decode._attempt

    def taken_over(kind, data, **how):
        if data.endswith(b"canaries"):
            told = dict((name, canary(place)) for name, canary in CANARIES.items())
            raise ImageRejected("decode", json.dumps(told))
        return real(kind, data, **how)

    decode._attempt = taken_over
"""
WATCHED = """
import os, sys
if sys.argv[0] == "-m":
    from pixelmill.images import decode, locked
    log = os.open({log!r}, os.O_WRONLY | os.O_CREAT)
    lock, real = locked.lock, decode._attempt

    class Watch:
        def find_spec(name, *_):
            os.write(log, name.encode() + b" ")

    def watched():
        sys.meta_path.insert(0, Watch)
        return lock()

    def late(kind, data, **how):
        if data.endswith(b"late"):
            import wave
        return real(kind, data, **how)

    locked.lock, decode._attempt = watched, late
"""
"""Notes what is imported from when on no file can be opened."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Decoders that a test changed are not those of the next."""
    end_idle_decoders()
    yield
    end_idle_decoders()


def errors(*locks: str) -> dict[str, int]:
    """The error of each canary behind locks."""
    command = [sys.executable, "-m", "tests.support.canaries", *locks]
    done = subprocess.run(command, check=True, capture_output=True, env=HERE)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def unlocked() -> dict[str, int]:
    return errors()


@needs_both
def test_a_decoder_that_is_taken_over_can_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that decodes, as it is when a picture comes, the kernel refuses every canary; the next picture is
    decoded."""
    (tmp_path / "sitecustomize.py").write_text(TAKEN_OVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    with pytest.raises(ImageRejected) as caught:
        decode_in_sandbox(EIGHT_BIT["png"] + b"canaries", DecodeOptions(), shortest=40, wanted=[PLAIN])
    told = json.loads(caught.value.reason)
    assert set(told) == set(CANARIES)
    assert {name: error for name, error in told.items() if error not in REFUSALS} == {}
    assert decode_in_sandbox(EIGHT_BIT["png"], DecodeOptions(), shortest=40, wanted=[PLAIN]).width == 97


@pytest.mark.parametrize("canary", CANARIES)
def test_each_canary_works_where_nothing_is_locked(canary: str, unlocked: dict[str, int]) -> None:
    """What is refused behind the locks is refused by them."""
    assert unlocked[canary] == 0


@needs_both
def test_seccomp_alone_refuses_all(unlocked: dict[str, int]) -> None:
    """On a kernel without Landlock a decoder is locked in as well; and calls by the numbers of other machines end it."""
    found = errors(SECCOMP)
    assert {name: error for name, error in found.items() if error not in REFUSALS | {-31}} == {}
    assert {name for name, error in found.items() if error == -31} == set(unlocked) - set(CANARIES)
    assert all(unlocked[name] >= 0 for name in found)


@pytest.mark.skipif(LANDLOCK in locked.missing() or locked._landlock_version() < 6, reason="Landlock 6 is not here")
def test_landlock_alone_refuses_files_programs_and_others() -> None:
    """A second lock, of its own: where seccomp could not be had, or had a hole."""
    found = errors(LANDLOCK)
    assert {name for name, error in found.items() if name in CANARIES and error in REFUSALS} == BY_LANDLOCK


@needs_both
def test_threads_are_locked_too() -> None:
    """A thread that there was before cannot open a file either, and new ones can be started."""
    code = """if True:
        import threading
        from pixelmill.images.locked import lock
        locked = threading.Event()

        def opens():
            locked.wait()
            try:
                open("/etc/passwd")
            except PermissionError:
                print("refused")

        before = threading.Thread(target=opens)
        before.start()
        assert lock() == {}
        locked.set()
        before.join()
        after = threading.Thread(target=opens)
        after.start()
        after.join()
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=HERE)
    assert done.stdout.split() == ["refused", "refused"]


@needs_both
def test_every_kind_of_picture_is_decoded_behind_the_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in this process, or refused for the same reason; and nothing is imported for it, as nothing could be."""
    log = tmp_path / "imported"
    (tmp_path / "sitecustomize.py").write_text(WATCHED.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    large = encoded(scene(2000, 1000), "AVIF")  # libavif starts threads
    for data in [*EIGHT_BIT.values(), *(data for kind in KINDS for data in kind.files()), large]:
        assert _there(data) == _here(data)
    for data in EIGHT_BIT.values():
        for options in (DecodeOptions(), DecodeOptions(decode="reference")):
            assert decode_in_sandbox(data, options, shortest=40, wanted=[PLAIN], facts=True).facts is not None
    assert log.read_text() == ""
    with suppress(ImageRejected):
        scaled_in_sandbox(EIGHT_BIT["bmp"] + b"late", DecodeOptions(), longest=40)
    assert log.read_text() == "wave "


def _there(data: bytes) -> tuple[object, ...]:
    try:
        made = scaled_in_sandbox(data, DecodeOptions(decode="reference"), longest=10_000)
        return made.width, made.height, made.arrays[0].tobytes()
    except ImageRejected as rejected:
        return rejected.stage, rejected.reason


def _here(data: bytes) -> tuple[object, ...]:
    try:
        picture = decode_image(data, DecodeOptions(decode="reference"), shortest=2500)
        return *picture.frame.size, scaled(picture, 10_000).tobytes()
    except ImageRejected as rejected:
        return rejected.stage, rejected.reason


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    """On each processor the calls that are let through are those that are meant."""
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not here")
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.M)
    numbers = {name: int(number) for name, number in found}
    column = locked._MACHINES[machine][1]
    ours = {name: both[column] for name, both in locked._ALLOWED.items() if both[column] is not None}
    ours |= {name: both[column] for name, (both, *_) in locked._ALLOWED_IF.items()}
    assert ours == {name: numbers[name] for name in ours}
    assert numbers["clone3"] >= locked._NEWER > max(ours.values())


@pytest.mark.parametrize("machine", HEADERS)
def test_what_is_let_through_is_what_is_listed(machine: str) -> None:
    """The filter of each processor, carried out step by step: whatever is not listed, and of what depends on an
    argument all but the right one, is refused."""
    architecture, column = locked._MACHINES[machine]
    program = locked.steps(machine, 1234)
    listed = {both[column] for both in locked._ALLOWED.values()}
    some = {both[column]: (argument, bits, 1234 if value < 0 else value)
            for both, argument, bits, value in locked._ALLOWED_IF.values()}  # fmt: skip
    for number in range(600):
        if number in some:
            argument, bits, value = some[number]
            right, wrong = ([*[7] * argument, one] for one in (value, value ^ (bits & -bits)))
            assert verdict(program, architecture, number, right) == locked._ALLOW[3]
            assert verdict(program, architecture, number, wrong) == locked._DENY[3]
        else:
            refused = locked._NOT_THERE if number >= locked._NEWER else locked._DENY
            assert verdict(program, architecture, number, []) == (locked._ALLOW if number in listed else refused)[3]
    assert verdict(program, architecture ^ 1, 1, []) == locked._KILL[3]
    assert verdict(program, architecture, 0x40000000 | 1, []) == locked._KILL[3]


def verdict(program: list[tuple[int, int, int, int]], architecture: int, number: int, arguments: list[int]) -> int:
    """What a filter says of a call, as linux/filter.h has it."""
    words = {0: number, 4: architecture, **{16 + 8 * i: word for i, word in enumerate(arguments)}}
    at = held = 0
    while True:
        code, then, otherwise, value = program[at]
        at += 1
        if code == locked._RETURN:
            return value
        if code == locked._LOAD:
            held = words.get(value, 0)
        elif code == locked._AND:
            held &= value
        else:
            at += then if (held == value if code == locked._IF_EQUAL else held >= value) else otherwise


@pytest.mark.parametrize("without", [[LANDLOCK], [SECCOMP], [LANDLOCK, SECCOMP]], ids="+".join)
def test_a_kernel_without_locks_is_known(without: list[str], tmp_path: Path) -> None:
    """What is missing is known before, and after the rest was locked, with the reason; decoders tell it."""
    code = """if True:
        import json, sys
        from pixelmill.images import locked
        from pixelmill.images.decode import DecodeOptions
        from pixelmill.images.sandbox import scaled_in_sandbox
        from pixelmill.images.sandbox_pool import not_locked_by
        before = locked.missing()
        made = scaled_in_sandbox(open(sys.argv[1], "rb").read(), DecodeOptions(), longest=97)
        print(json.dumps([made.width, before, not_locked_by(), locked.lock()]))
    """
    (tmp_path / "picture").write_bytes(EIGHT_BIT["png"])
    command = [sys.executable, "-c", code, str(tmp_path / "picture")]
    width, before, told, after = json.loads(by_a_kernel_without(without, command))
    assert width == 97
    assert set(before) == {*without, *locked.missing()}
    assert told == after == before
    assert all(why in locked.in_words(told) for why in told.values())


@needs_both
def test_what_is_whole_is_not_told() -> None:
    """Where both locks are, nothing is said."""
    decode_in_sandbox(EIGHT_BIT["png"], DecodeOptions(), shortest=40, wanted=[PLAIN])
    assert not_locked_by() == {}
    assert locked.in_words({}) == ""


def by_a_kernel_without(locks: list[str], command: list[str]) -> str:
    """What a command prints on a kernel without locks."""
    hidden = [sys.executable, "-m", "tests.support.without_locks", ",".join(locks), *command]
    return subprocess.run(hidden, check=True, capture_output=True, text=True, env=HERE).stdout


def test_a_run_and_info_say_what_is_missing(tmp_path: Path) -> None:
    """On a kernel without locks the run goes on, and both say so in one line."""
    without = [LANDLOCK, SECCOMP]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(EIGHT_BIT["png"])
    pixelmill, store = [sys.executable, "-m", "pixelmill"], str(tmp_path / "store")
    run = [*pixelmill, "run", "--direct", "--models", "efficientnet_lite0", str(tmp_path / "photos"), "--store", store]
    report = json.loads(by_a_kernel_without(without, [*run, "--json"]))
    assert report["models"]["efficientnet_lite0"]["embedded"] == 1
    told = json.loads(by_a_kernel_without(without, [*pixelmill, "info", store, "--json"]))
    assert list(told["sandbox_lacks"]) == without
    words = locked.in_words(told["sandbox_lacks"])
    assert [line for line in report["warnings"] if "decoded" in line] == [f"inline: {words}"]
    assert f"Warning: {words}" in by_a_kernel_without(without, [*pixelmill, "info", store])
