"""Trains the small CLIP of the demo, from nothing, on painted pictures and what is said of them: minutes on one core.

    python examples/train_demo_clip.py [PHOTOS]

examples/demo_clip has the architecture in `open_clip_config.json`, and gets `open_clip_model.safetensors` and
`figures.json`: what is found among pictures that were not trained on, and among PHOTOS, a folder of photographs each
with a caption in the `.txt` beside it. What the model is, and is not: examples/demo_clip/README.md.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from painting import Painted, Picture, grey, sticker
from PIL import Image
from safetensors.torch import save_file
from scenes import PAINTERS
from torch.nn.functional import normalize

FOLDER = Path(__file__).parent / "demo_clip"
WEIGHTS = "open_clip_model.safetensors"
SEED = 18
PICTURES, BATCH, STEPS = 6_000, 128, 2_000
TRAINED_ON, HELD_OUT = 10_000, 1_000_000
"""The first seeds of pictures to learn from, and of those for the figures. The samples' own are below 1000."""
SHARPNESS = 20.0
"""What cosines are multiplied by in the loss."""
OPENINGS = ("a picture of ", "a photo of ", "an image of ", "", "", "")
JOINTS = (", ", " and ", " with ", " on ", " ")
WORDS = {
    "mountains": ("mountains", "hills", "peaks", "a mountain", "a mountain landscape"),
    "the sea": ("the sea", "the ocean", "waves", "water"),
    "a boat": ("a boat", "a ship", "a sailing boat", "a sailboat"),
    "a city": ("a city", "a town", "a skyline", "tall buildings", "houses"),
    "flowers": ("flowers", "blossoms", "a flower"),
    "green grass": ("green grass", "grass", "a meadow", "a garden"),
    "fruits": ("fruits", "fruit", "balls"),
    "red fruit": ("red fruit", "red apples", "a red apple"),
    "orange fruit": ("orange fruit", "oranges", "an orange"),
    "yellow fruit": ("yellow fruit", "lemons", "a lemon"),
    "green fruit": ("green fruit", "green apples", "a green apple"),
    "on a table": ("on a table", "on wood", "on a wooden table"),
    "tiles": ("tiles", "a wall of tiles", "a pattern", "a tiled wall"),
    "at sunset": ("at sunset", "at dusk", "in the evening"),
    "in golden light": ("in golden light", "in warm light", "under a yellow sky"),
    "by day": ("by day", "in daylight", "under a blue sky", "on a sunny day"),
    "at night": ("at night", "by night", "in the dark"),
    "circle": ("circle", "disc", "ball", "dot"),
    "square": ("square", "box"),
    "background": ("background", "ground", "sky", "wall"),
    "black and white": ("black and white", "grey", "without colour"),
    "a round sticker": ("a round sticker", "a sticker"),
}
"""What people may say for what scenes.py says."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Collection:
    """Pictures as the model takes them, (N, side, side, 3), and the phrases that are true of each."""

    pixels: Pixels
    phrases: tuple[tuple[str, ...], ...]


def collect(seeds: Iterable[int], side: int) -> Collection:
    """A picture for each seed."""
    painted = [varied(seed) for seed in seeds]
    return Collection(np.stack([squeezed(p.picture, side) for p in painted]), tuple(p.phrases for p in painted))


def varied(seed: int) -> Painted:
    """By one painter after the other, of any size and shape; one in 16 is grey, one in 16 a sticker."""
    chance = Random(seed)
    width, aspect = chance.randrange(112, 224), chance.uniform(0.6, 2.1)
    painted = PAINTERS[seed % len(PAINTERS)](width, int(width / aspect), chance)
    return {0: grey, 1: sticker}.get(chance.randrange(16), lambda same: same)(painted)


def squeezed(picture: Picture, side: int) -> Pixels:
    """As Pixelmill and open_clip prepare it: on white, both edges `side` pixels."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def said(phrases: Sequence[str], chance: Random) -> tuple[str, frozenset[str]]:
    """What somebody may type who has a picture in mind, and which of its phrases that means."""
    meant = [phrase for index, phrase in enumerate(phrases) if chance.random() < (0.5 if index else 0.85)]
    meant = meant or [chance.choice(phrases)]
    if chance.random() < 0.3:
        chance.shuffle(meant)
    text = chance.choice(OPENINGS) + reworded(meant[0], chance)
    for phrase in meant[1:]:
        text += chance.choice(JOINTS) + reworded(phrase, chance)
    return text, frozenset(meant)


def reworded(phrase: str, chance: Random) -> str:
    for words, others in WORDS.items():
        if words in phrase and chance.random() < 0.5:
            phrase = phrase.replace(words, chance.choice(others))
            break
    if chance.random() < 0.2:
        phrase = " ".join(word for word in phrase.split() if word not in ("a", "an", "the"))
    return phrase


def train(
    steps: int = STEPS, pictures: int = PICTURES, *, seed: int = SEED, told: Callable[[str], None] = print
) -> tuple[Any, list[float]]:
    """A model that was trained so long on so many pictures, and the loss of each step."""
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model, tokenizer = build(), open_clip.get_tokenizer(f"local-dir:{FOLDER}")
        collection = collect(range(TRAINED_ON, TRAINED_ON + pictures), side_of(model))
        only_words_of(collection, model, tokenizer)
        learnt = [parameter for name, parameter in model.named_parameters() if name != "logit_scale"]
        optimizer = torch.optim.AdamW(learnt, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
        chance, losses = Random(seed), []
        for step in range(1, steps + 1):
            loss = loss_of(collection, chance, model, tokenizer)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if step % 50 == 0:
                told(f"step {step}: loss {np.mean(losses[-50:]):.3f}")
    return model.eval(), losses


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a model gains nothing by more; and sums come out the same on machines with more or fewer cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build() -> Any:
    """The architecture with the weights of chance."""
    logging.disable(logging.WARNING)  # that there are no weights
    try:
        return open_clip.create_model(f"local-dir:{FOLDER}", load_weights=False).train()
    finally:
        logging.disable(logging.NOTSET)


def side_of(model: Any) -> int:
    side = model.visual.image_size
    return int(side[0] if isinstance(side, tuple) else side)


def only_words_of(collection: Collection, model: Any, tokenizer: Any) -> None:
    """Leave the embedding of all tokens that nobody says of these pictures at 0: words without a meaning."""
    chance = Random(0)
    texts = {said(phrases, chance)[0] for phrases in {*collection.phrases} for _ in range(60)}
    known = torch.zeros(model.token_embedding.weight.shape[0], 1)
    known[tokenizer(sorted(texts)).unique()] = 1
    model.token_embedding.weight.data.mul_(known)
    model.token_embedding.weight.register_hook(lambda gradient: gradient * known)


def loss_of(collection: Collection, chance: Random, model: Any, tokenizer: Any) -> torch.Tensor:
    """CLIP's own, over a batch in which a text may be true of several pictures, and several texts of a picture."""
    batch = [chance.randrange(len(collection.phrases)) for _ in range(min(BATCH, len(collection.phrases)))]
    shown = [set(collection.phrases[index]) for index in batch]
    texts, meant = zip(*(said(collection.phrases[index], chance) for index in batch), strict=True)
    fits = torch.tensor([[phrases <= picture for phrases in meant] for picture in shown]).float()
    images = normalize(model.encode_image(lit(as_tensor(collection.pixels[batch]))), dim=-1)
    words = normalize(model.encode_text(tokenizer(list(texts))), dim=-1)
    logits = SHARPNESS * images @ words.T
    by_picture = fits / fits.sum(1, keepdim=True) * logits.log_softmax(1)
    by_text = fits / fits.sum(0, keepdim=True) * logits.log_softmax(0)
    return -(by_picture.sum() + by_text.sum()) / (2 * len(batch))


def as_tensor(pixels: Pixels) -> torch.Tensor:
    """Normalised as the model_config says: -1 to 1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def lit(pixels: torch.Tensor) -> torch.Tensor:
    """Each picture a little brighter or darker, and with some noise."""
    gain, shift = 1 + 0.1 * torch.randn(len(pixels), 1, 1, 1), 0.05 * torch.randn(len(pixels), 1, 1, 1)
    return pixels * gain + shift + 0.02 * torch.randn_like(pixels)


def save(model: Any) -> None:
    """In float16, half the size."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, FOLDER / WEIGHTS)


def recall(pixels: Pixels, captions: Sequence[str]) -> dict[str, float]:
    """How many captions find their own picture among the first, by the saved weights; and by chance."""
    model, tokenizer = (
        open_clip.create_model(f"local-dir:{FOLDER}").eval(),
        open_clip.get_tokenizer(f"local-dir:{FOLDER}"),
    )
    with torch.inference_mode():
        images = normalize(model.encode_image(as_tensor(pixels)), dim=-1)
        words = normalize(model.encode_text(tokenizer(list(captions))), dim=-1)
    order = (words @ images.T).argsort(dim=1, descending=True)
    place = (order == torch.arange(len(order))[:, None]).int().argmax(dim=1)
    found = {f"recall@{k}": round((place < k).float().mean().item(), 3) for k in (1, 3, 10)}
    return {"pictures": len(pixels), **found, "chance@3": round(3 / len(pixels), 4)}


def painted_ones(number: int, side: int) -> tuple[Pixels, list[str]]:
    """Pictures that were not trained on, no two with the same caption, and the captions."""
    kept: dict[str, Painted] = {}
    for seed in range(HELD_OUT, HELD_OUT + 20 * number):
        if len(kept) < number:
            painted = varied(seed)
            kept.setdefault(painted.caption, painted)
    return np.stack([squeezed(painted.picture, side) for painted in kept.values()]), [*kept]


def photographs(folder: Path, side: int) -> tuple[Pixels, list[str]]:
    """Pictures that have a caption beside them, as the first line of a text file, and the captions."""
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".png", ".jpg") and _text_of(file)]
    return np.stack([squeezed(Image.open(file).convert("RGBA"), side) for file in files]), [*map(_text_of, files)]


def _text_of(file: Path) -> str:
    beside = file.with_suffix(".txt")
    return beside.read_text("utf-8").partition("\n")[0].strip() if beside.is_file() else ""


def main(photos: Path | None) -> None:
    began = time.perf_counter()
    model, losses = train()
    seconds = time.perf_counter() - began
    save(model)
    figures = {
        "seed": SEED, "pictures": PICTURES, "batch": BATCH, "steps": STEPS, "seconds": round(seconds),
        "first_loss": round(losses[0], 3), "last_loss": round(float(np.mean(losses[-50:])), 3),
        "painted": recall(*painted_ones(200, side_of(model))),
    }  # fmt: skip
    if photos:
        figures["photographs"] = recall(*photographs(photos, side_of(model)))
    text = json.dumps(figures, indent=2)
    (FOLDER / "figures.json").write_text(f"{text}\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
