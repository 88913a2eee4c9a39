"""Files from strangers: code in them must not run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pixelmill.errors import WeightsRefused
from pixelmill.models.base import WeightsSource
from pixelmill.models.checkpoint.state_dict import read_state_dict
from pixelmill.models.load import load
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TinyModels, Tripwire


class Talker(torch.nn.Module):
    """A module whose TorchScript prints when it is loaded, from `__setstate__`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.training = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        print("CANARY: code ran while loading")
        self.weight = state[0]
        self.training = state[1]


@pytest.fixture
def talking_archive(tmp_path: Path) -> Path:
    path = tmp_path / "talking.pt"
    torch.jit.script(Talker()).save(str(path))
    return path


def test_the_canary_sings(talking_archive: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The archive of the next test does run code when torch.jit.load reads it."""
    torch.jit.load(str(talking_archive))
    assert "CANARY" in capfd.readouterr().out


@pytest.mark.parametrize("backend", ["openai_clip", "open_clip", "torchvision", "timm"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_an_unpinned_archive_runs_no_code(
    backend: str,
    name: str,
    talking_archive: Path,
    tiny: TinyModels,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No backend loads a TorchScript archive that is not pinned, whatever it is called: refused before code runs."""
    path = talking_archive.rename(talking_archive.with_name(name))
    spec = replace(getattr(tiny, backend), weights=WeightsSource(f"file:{path}"))
    with pytest.raises(WeightsRefused, match="TorchScript"):
        load(spec, WeightsCache(path.parent / "cache"))
    assert "CANARY" not in capfd.readouterr().out


@pytest.mark.parametrize("backend", ["openai_clip", "open_clip", "torchvision", "timm"])
@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_with_code_is_refused(
    backend: str, old_format: bool, tmp_path: Path, tiny: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No backend runs a pickle's code, not even where the environment turns torch's own guard off by default."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    canary, path = tmp_path / "canary", tmp_path / "weights.pth"
    torch.save({"weight": Tripwire(canary)}, path, _use_new_zipfile_serialization=not old_format)
    spec = replace(getattr(tiny, backend), weights=WeightsSource(f"file:{path}"))
    with pytest.raises(WeightsRefused, match=r"weights\.pth"):
        load(spec, WeightsCache(tmp_path / "cache"))
    assert not canary.exists()
    torch.load(path)
    assert canary.exists(), "the pickle must be able to run code for this to say anything"


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"PK\x03\x04 not a zip", b'\x08\0\0\0\0\0\0\0{"a":1}x'])
def test_rubbish_is_refused(content: bytes, tmp_path: Path) -> None:
    """Rubbish is WeightsRefused with the file's name, not an error from the depths of a parser."""
    path = tmp_path / "rubbish.bin"
    path.write_bytes(content)
    with pytest.raises(WeightsRefused, match=r"rubbish\.bin"):
        read_state_dict(path)


def test_a_truncated_file_is_refused(tiny: TinyModels, tmp_path: Path) -> None:
    """Half of a safetensors or PyTorch file is refused."""
    for spec in (tiny.open_clip, tiny.torchvision):
        whole = tiny.file_of(spec).read_bytes()
        path = tmp_path / "half"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsRefused):
            read_state_dict(path)


def test_training_wrappers_are_taken_off(tmp_path: Path) -> None:
    """`{"state_dict": {"module.x": …}}`, as training scripts save, gives the tensors by their names."""
    torch.save({"epoch": 3, "state_dict": {"module.x": torch.ones(2)}}, tmp_path / "epoch.pt")
    assert read_state_dict(tmp_path / "epoch.pt").keys() == {"x"}
