"""The old script, `examples/image_vectorizer.py`: its flags, what it shows and in which order, in two languages."""

from __future__ import annotations

import importlib.util
import re
import shutil
import string
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SavePicture

SCRIPT = Path(__file__).parents[1] / "examples" / "image_vectorizer.py"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
ENGLISH = [
    "=+", "Pixelmill image vectorizer", "=+", "Models: efficientnet_lite0", "Device: cpu", "Loading efficientnet_lite0 …",
    "  loaded to cpu", r"  done: 1280 dimensions, [\d.]+ s", "=+", "Models loaded: 1", "Total feature dimension: 1280",
    "Complexity factor: 1x", r"Device information: cpu.*", "Mode: single image", "Path: photo.png", "=+", "Device: cpu",
    r"Models: efficientnet_lite0 \(1\)", r"Processing time: [\d.]+ s for 1 image", "", ".*photo.png",
    r"Vector shape: \(1280,\)", r"First 10 elements: \[-?\d.*\]", r"Mean: -?[\d.]+", r"Standard deviation: [\d.]+",
]  # fmt: skip
CHINESE = [
    "=+", "Pixelmill 图像向量化工具", "=+", "使用的模型: efficientnet_lite0", "使用的设备: cpu",
    "正在加载模型: efficientnet_lite0 …", "  模型已加载到设备: cpu", r"  加载完成: 特征维度 1280, 耗时 [\d.]+ 秒", "=+",
    "已加载模型数量: 1", "总特征维度: 1280", "复杂度系数: 1x", r"设备信息: cpu.*", "处理模式: 单张图像", "路径: photo.png",
    "=+", "使用的设备: cpu", r"使用的模型: efficientnet_lite0 \(共 1 个\)", r"处理时间: [\d.]+ 秒, 共 1 张图像", "",
    ".*photo.png", r"向量形状: \(1280,\)", r"前 10 个元素: \[-?\d.*\]", r"平均值: -?[\d.]+", r"标准差: [\d.]+",
]  # fmt: skip
"""Line by line what the script of the guide showed, which people know: its steps, in its order."""


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


Vectorized = Callable[..., Done]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("image_vectorizer", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vectorized(script: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Vectorized:
    """What the script says to arguments, in the language of a locale."""

    def run(*arguments: str, **variables: str) -> Done:
        for name in LOCALE:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "--device", "cpu"])
        code = script.main()
        return Done(code, *capfd.readouterr())

    return run


@pytest.mark.parametrize(("language", "lines"), [("en_US.UTF-8", ENGLISH), ("zh_CN.UTF-8", CHINESE)])
def test_it_shows_what_it_always_showed(
    vectorized: Vectorized, save_picture: SavePicture, language: str, lines: list[str]
) -> None:
    """Line by line, in the language of the locale."""
    save_picture(Path("photo.png"))
    done = vectorized("--image_path", "photo.png", "--models", "efficientnet_lite0", LANG=language)
    assert (done.code, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert len(shown) == len(lines)
    assert [line for line, like in zip(shown, lines, strict=True) if not re.fullmatch(like, line)] == []


def test_a_folder_and_an_ensemble_in_chinese(
    vectorized: Vectorized, save_picture: SavePicture, own_resnet: str
) -> None:
    """Each picture has one vector, of all models side by side; copies and broken files are told of."""
    for seed in range(2):
        save_picture(Path(f"photos/{seed}.png"), seed)
    shutil.copy("photos/0.png", "photos/copy.png")
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    done = vectorized(
        "--image_path", "photos", "--models", f"efficientnet_lite0,{own_resnet}", "--batch_size", "2", LC_ALL="zh_TW.UTF-8"
    )  # fmt: skip
    assert done.code == 0
    for told in (
        "处理模式: 批量处理 (文件夹)",
        "总特征维度: 1792",
        "复杂度系数: 2x",
        "共 2 张图像",
        "copy.png\n与上面某张图像内容相同。",
    ):
        assert told in done.stdout
    assert done.stdout.count("向量形状: (1792,)") == 2
    assert "broken.jpg\n未能向量化 (decode)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image_path", "photo.png", "--models", "openai_clip_vit_b23"), "Did you mean 'openai_clip_vit_b32'"),
        (("--image_path", "photo.pgn"), "photo.pgn"),
        (("--image_path", "empty"), "'empty', where there is none"),
    ],
)
def test_a_typo_is_told_first(
    vectorized: Vectorized, save_picture: SavePicture, arguments: tuple[str, ...], words: str
) -> None:
    """Before any model is loaded, in words, with exit code 1."""
    save_picture(Path("photo.png"))
    Path("empty").mkdir()
    done = vectorized(*arguments, LANG="zh_CN.UTF-8")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("错误: Expected")
    assert words in done.stderr


def test_a_batch_has_a_picture(vectorized: Vectorized, capfd: pytest.CaptureFixture[str]) -> None:
    """A batch size of 0 is wrong usage."""
    with pytest.raises(SystemExit, match="2"):
        vectorized("--image_path", "photo.png", "--batch_size", "0")
    assert "--batch_size: expected 1 or more, got 0" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("variables", "chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, True),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "", "LC_ALL": "zh_HK.Big5"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, False),
    ],
)
def test_the_locale_says_which_language(
    script: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], chinese: bool
) -> None:
    """In the order in which POSIX asks its variables."""
    for name in LOCALE:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert script.in_ours("Path: {path}") == ("路径: {path}" if chinese else "Path: {path}")


def test_every_word_is_translated_with_what_it_names(script: Any) -> None:
    """Both languages are filled in with the same values."""
    said = re.findall(r'(?:say|in_ours)\(\s*"([^"]+)"', SCRIPT.read_text())
    assert set(said) <= set(script.CHINESE)
    for english, chinese in script.CHINESE.items():
        assert fields(english) == fields(chinese)


def fields(words: str) -> set[tuple[str, str]]:
    return {(name, shape or "") for _, name, shape, _ in string.Formatter().parse(words) if name}
