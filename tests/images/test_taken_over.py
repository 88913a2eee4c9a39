"""What a decoder that a picture has taken over says costs that picture, and nothing else."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixelmill.errors import ImageRejected
from pixelmill.images import locked, sandbox
from pixelmill.images.decode import DecodeOptions
from pixelmill.images.preprocess import Preprocessing
from pixelmill.images.sandbox import Pixels, decode_in_sandbox
from pixelmill.images.sandbox_pool import DecodingInterrupted, _Decoder, end_idle_decoders, not_locked_by
from tests.support.scenes import EIGHT_BIT

PLAIN = Preprocessing(32, 40, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def answer(shapes: object = ((32, 32, 3),), **said: object) -> bytes:
    """What a decoder answers."""
    told = {"whole": False, "shapes": shapes, "note": "", "facts": None, "facts_note": "", "made": ""}
    frame = {"across": 97, "down": 64, "factor": 1, "orientation": 1}
    frame |= {name: value for name, value in said.items() if name not in told}
    return json.dumps(
        {**told, **{name: value for name, value in said.items() if name in told}, "frame": frame}
    ).encode()


LIES = {
    "no JSON": b"\xff{", "no answer": b"[]", "a number": b"7", "nothing in it": b"{}",
    "a stage of none": b'{"rejected": "x"}', "a reason of none": b'{"rejected": ["decode", 7]}',
    "text that cannot be kept": b'{"rejected": ["decode", "\\ud800"]}', "memory of none": b'{"memory": "much"}',
    "a failure of none": b'{"failed": []}',
    "more than is there": answer(shapes=[[1 << 20, 1 << 20, 3]]), "less than nothing": answer(shapes=[[-1, -1, 3]]),
    "shapes of none": answer(shapes=[["x"]]), "no picture": answer(shapes=[[4]]), "too many": answer(shapes=[[1, 1, 3]] * 9),
    "none": answer(shapes=[]), "a size of none": answer(across="x"), "a size in parts": answer(across=97.0),
    "a size that cannot be kept": answer(across=10**30), "words of none": answer(note=7), "facts of none": answer(facts=[]),
    "other keys": answer(turns=1),
}  # fmt: skip
"""What a decoder that was taken over may say in place of an answer."""
LIAR = """
import os, sys, time
if sys.argv[0] == "-m":
    from pixelmill.images import decode
    real = decode._attempt

    def lies(kind, data, **how):
        for lie in {lies}:
            if data.endswith(b"|" + lie):
                os.write(int(sys.argv[1]), lie) if lie else os._exit(0)
                time.sleep(60)
        return real(kind, data, **how)

    decode._attempt = lies
"""


def asked(data: bytes) -> Pixels:
    options = DecodeOptions(decode="reference", max_seconds=1)
    return decode_in_sandbox(data, options, shortest=40, wanted=[PLAIN])


@contextmanager
def liar(says: bytes) -> Iterator[_Decoder]:
    """A decoder without a process, that has answered before it is asked."""
    decoder = _Decoder.__new__(_Decoder)
    decoder._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    decoder._memory, decoder._waits, decoder._has_started = os.memfd_create("lies"), False, True
    decoder._process = SimpleNamespace(pid=os.getpid(), wait=lambda _: 0)  # type: ignore[assignment]
    with decoder._channel, other:
        os.pwrite(decoder._memory, bytes(1 << 20), 0)
        other.send(says)
        yield decoder
    os.close(decoder._memory)


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_none_costs_its_picture(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, or left for later where less was handed over than was said; nothing else is raised."""
    monkeypatch.setattr(sandbox, "a_decoder", lambda: liar(LIES[lie]))
    with pytest.raises(DecodingInterrupted if lie == "more than is there" else ImageRejected):
        asked(EIGHT_BIT["png"])


def test_the_answer_that_lies_are_made_of_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused of the others is what they change. Its picture is what lies in the memory that both share."""
    monkeypatch.setattr(sandbox, "a_decoder", lambda: liar(answer()))
    assert asked(EIGHT_BIT["png"]).arrays[0].tobytes().startswith(EIGHT_BIT["png"][:3000])


@pytest.mark.parametrize(
    "lie", [b"{", b'started {"Landlock": "a lie"}', b""], ids=["no JSON", "started anew", "the end"]
)
def test_the_next_picture_is_decoded(lie: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lies, starts anew or ends as if all were well is not used again, and stops no run."""
    (tmp_path / "sitecustomize.py").write_text(LIAR.format(lies=[lie]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    end_idle_decoders()
    with pytest.raises(ImageRejected):
        asked(EIGHT_BIT["bmp"] + b"|" + lie)
    assert asked(EIGHT_BIT["bmp"]).width == 97
    assert set(not_locked_by()) == set(locked.missing())
    end_idle_decoders()
