"""Weights from an enemy: nothing in them runs, nothing grows, and what they are is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pixelmill.cli.main import main
from tests.support.server import WeightsServer

BACKENDS = {"openai_clip", "open_clip", "torchvision", "timm"}
WORDS = {
    r"code named safetensors\.safetensors": "header too large",
    r"code getattr.*": "would call (getattr|builtins.getattr|posix)",
    r"code os.system.*": "would call posix.system while it is loaded",
    r"code .*": r"would call [\w.]+ while it is loaded",
    r"script\..*": "TorchScript archive, which runs code|whole sha256 .* to be pinned",
    r"st long header": "cut off, or whose header lies about its length. Fetch the file again",
    r"st (nothing)|pickle nothing": "expected tensors by name, got nothing",
    r"st empty giants|pickle (attributes|versions)": "Expected the tensors of",
    r"st .*": "Error while deserializing header: .*(offset|covered|overflow|invalid)",
    r"pickle (list|numbers|names)": "expected tensors by name, got",
    r"pickle (sparse|quantized|complex|meta)": "expected dense real numbers in 'a'",
    r"pickle nan|misfit nan": "holds NaN, which would make every vector NaN",
    r"pickle expanded.*|misfit last is huge": "its tensors claim [0-9,]{12,} bytes, but the file has",
    r"pickle (deep|giant bytearray)": "Could not read",
    r"zip bomb .*": "compressed archive, which torch.save never writes",
    r"zip lying sizes": "claims to hold 1[0-9,]{13} bytes in 1,",
    r"zip of nothing|noise": "no PyTorch file",
    r"empty": "It is empty. Fetch the file again",
    r"page": "a web page; a proxy or a login",
    r"pointer": "a Git LFS pointer.*git lfs pull",
    r"gzip": "a gzip file. Unpack it",
    r"cut.pt": "a PyTorch file that was cut off. Fetch the file again",
    r"folder.pt": "a folder. Name the weights file itself",
    r"pipe.pt": "no regular file. Name the weights file itself",
    r"misfit integers": "Expected the number types of",
    r"misfit .*": "Expected the tensors of",
}
"""What is said of each file: the first pattern that the file's name fits."""


@pytest.mark.slow
def test_every_hostile_file_is_refused_by_every_backend(tmp_path: Path) -> None:
    """In a process of little memory, loading any of them with any backend raises WeightsRefused, which says what is wrong;
    no code of theirs runs, though torch's own guard is switched off by the environment."""
    folder = tmp_path / "hostile"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.hostile", str(folder)], capture_output=True, text=True,
        timeout=200, cwd=Path(__file__).parents[3], env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CANARY" not in done.stdout + done.stderr
    assert not (folder / "canary").exists()
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    for backend, name, kind, message, _ in trials:
        words = next(words for pattern, words in WORDS.items() if re.fullmatch(pattern, name))
        assert kind == "WeightsRefused", (backend, name, kind, message)
        assert re.search(words, message), (backend, name, message)
        assert not re.search(r"weights_only|add_safe_globals|arbitrary code", message), "no advice to unlock the door"
    counts = Counter(backend for backend, *_ in trials)
    assert counts.keys() == BACKENDS
    assert min(counts.values()) > 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Please log in</html>", "a web page; a proxy"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"", "empty"),
    ],
)
def test_pull_keeps_no_page_in_place_of_weights(
    content: bytes, words: str, server: WeightsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a proxy puts in the place of a person's own checkpoint is refused by `pull`, and not kept: once the proxy is
    gone, the same command succeeds."""
    served = server.folder / "own" / "tuned.safetensors"
    served.parent.mkdir(exist_ok=True)
    served.write_bytes(content)
    Path("pixelmill.toml").write_text(
        '[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\n'
        f'checkpoint = "{server.url}/own/tuned.safetensors"\n'
    )
    assert code("pull", "mine") == 1
    told = capsys.readouterr().err
    assert words in told
    assert "thrown away" in told
    assert not [f for f in (tmp_path / "cache").rglob("*") if f.is_file() and f.suffix != ".lock"]
    served.write_bytes(b"the right file")
    assert code("pull", "mine") == 0


def test_a_pipe_in_a_mirror_folder_ends_nobodys_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A FIFO where a mirror should have a file is an error at once, not a wait for ever."""
    place = tmp_path / "mirror" / "host.example" / "tuned.pt"
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    Path("pixelmill.toml").write_text(
        '[models.mine]\nbackend = "torchvision"\narchitecture = "resnet18"\n'
        f'checkpoint = "https://host.example/tuned.pt"\n[weights.mirrors]\n"*" = "{tmp_path}/mirror"\n'
    )
    assert code("pull", "mine") == 1
    assert "no regular file" in capsys.readouterr().err


def code(*arguments: str) -> int:
    """The exit code of a command run in this process."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)
