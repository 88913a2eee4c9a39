"""Text towers whose tokenizer or config is a file of Hugging Face's hub: fetched as weights are, used without the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pixelmill.errors import WeightsError, WeightsUnavailable
from pixelmill.models.base import TextModel
from pixelmill.models.load import load
from pixelmill.models.own import own_spec
from pixelmill.models.pack import pack
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import TINY_OPEN_CLIP, path_under, shaken
from tests.support.server import WeightsServer

HUB = "https://huggingface.co"
WORDS = ["a red square", "two dogs and a very long tail of words that does not fit into the tower at all"]


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with a tokenizer of transformers' and the config of a small BERT; the real one is out of reach."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({word for text in WORDS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    folder = tmp_path / "upstream"
    fast.save_pretrained(path_under(folder, f"{HUB}/acme/tokenizer/resolve/main/x").parent)
    BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=20,
    ).save_pretrained(path_under(folder, f"{HUB}/acme/bert/resolve/main/x").parent)  # fmt: skip
    return folder


def config(folder: Path, **text: Any) -> dict[str, Any]:
    made = {**TINY_OPEN_CLIP, "text_cfg": {"context_length": 12, **text}}
    (folder / "mine.json").write_text(json.dumps(made))
    return made


def reference(folder: Path, made: dict[str, Any], hub: Path) -> tuple[Any, Any]:
    """open_clip's own model and tokenizer from a folder as its users lay it out."""
    import open_clip

    local = folder / "local"
    local.mkdir()
    for file in (hub / "huggingface.co/acme/tokenizer/resolve/main").iterdir():
        (local / file.name).write_bytes(file.read_bytes())
    if "hf_model_name" in made["text_cfg"]:
        made["text_cfg"]["hf_model_name"] = str(hub / "huggingface.co/acme/bert/resolve/main")
    (local / "open_clip_config.json").write_text(json.dumps({"model_cfg": made}))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = shaken(open_clip.create_model(f"local-dir:{local}", load_weights=False, pretrained_text=False)).eval()
    return module, open_clip.get_tokenizer(f"local-dir:{local}")


@pytest.mark.parametrize("tower", ["open_clip's", "transformers'"])
def test_words_go_through_upstreams_tokenizer_and_tower(tower: str, tmp_path: Path, upstream: Path) -> None:
    """Fetched by the real download path, packed into a bundle and taken out of it, the files give open_clip's own token
    ids and text embeddings, and how many tokens of a long text were cut."""
    text: dict[str, Any] = {"hf_tokenizer_name": "acme/tokenizer"}
    if tower == "open_clip's":
        text |= {"vocab_size": 40, "width": 32, "heads": 2, "layers": 1, "pool_type": "last"}
    else:
        text |= {"hf_model_name": "acme/bert", "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    made = config(tmp_path, **text)
    module, tokenizer = reference(tmp_path, json.loads(json.dumps(made)), upstream)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    spec = own_spec(
        "mine", backend="open_clip", architecture=str(tmp_path / "mine.json"), checkpoint=str(tmp_path / "weights.pt")
    )
    assert (spec.dim, spec.image_size) == (48, 64)
    with WeightsServer(upstream).running() as server:
        pack([spec], WeightsCache(tmp_path / "cache", mirrors={"*": server.url}), tmp_path / "bundle")
    model = load(spec, WeightsCache(tmp_path / "elsewhere", mirrors={"*": str(tmp_path / "bundle")}, offline=True))
    assert isinstance(model, TextModel)
    tokens = model.tokenize(WORDS)
    assert torch.equal(tokens.ids, tokenizer(WORDS))
    assert tokens.cut == (0, 18 + 2 - 12)
    with torch.inference_mode():
        pixels = torch.randn(2, 3, 64, 64)
        for ours, theirs in (
            (model.encode_text(tokens.ids), module.encode_text(tokens.ids)),
            (model.encode_image(pixels), module.encode_image(pixels)),
        ):
            assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_pictures_need_no_tokenizer(tmp_path: Path, upstream: Path) -> None:
    """Without the tokenizer's files pictures are embedded; words say what is missing."""
    made = config(tmp_path, hf_tokenizer_name="acme/tokenizer", vocab_size=40, width=32, heads=2, layers=1)
    module, _ = reference(tmp_path, json.loads(json.dumps(made)), upstream)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    spec = own_spec(
        "mine", backend="open_clip", architecture=str(tmp_path / "mine.json"), checkpoint=str(tmp_path / "weights.pt")
    )
    model = load(spec, WeightsCache(tmp_path / "cache", offline=True))
    with torch.inference_mode():
        assert model.encode_image(torch.randn(1, 3, 64, 64)).shape == (1, 48)
    assert isinstance(model, TextModel)
    with pytest.raises(WeightsUnavailable, match="pixelmill pull"):
        model.tokenize(WORDS)


def test_a_tower_without_its_config_is_not_guessed(tmp_path: Path) -> None:
    """The text tower's shape is in a file of the hub: without it the model is not loaded, and the message names it."""
    config(tmp_path, hf_tokenizer_name="acme/tokenizer", hf_model_name="acme/bert")
    torch.save({"x": torch.zeros(1)}, tmp_path / "weights.pt")
    spec = own_spec(
        "mine", backend="open_clip", architecture=str(tmp_path / "mine.json"), checkpoint=str(tmp_path / "weights.pt")
    )
    with pytest.raises(WeightsError, match=r"acme/bert"):
        load(spec, WeightsCache(tmp_path / "cache", offline=True))
