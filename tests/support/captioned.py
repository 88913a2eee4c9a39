"""Pictures with captions, drawn from numbers, and a tiny CLIP that learns them in less than a minute."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw

from pixelmill.models.base import ModelSpec, WeightsSource
from tests.support.checkpoints import register_tiny_open_clip

COLOURS = {
    "red": (220, 30, 30), "green": (30, 160, 50), "blue": (40, 60, 220), "yellow": (235, 220, 40),
    "purple": (150, 40, 170), "orange": (245, 140, 20),
}  # fmt: skip
GROUNDS = {"white": (250, 250, 250), "black": (8, 8, 8)}
SIZES = {"big": 25, "small": 12}
SHAPES = ("circle", "square", "triangle")
SIDE, POOL = 64, 60

Kind = tuple[str, str, str, str]
KINDS: list[Kind] = list(product(SIZES, COLOURS, SHAPES, GROUNDS))


def caption(kind: Kind) -> str:
    size, colour, shape, ground = kind
    return f"a {size} {colour} {shape} on {ground}"


def draw(kind: Kind, chance: Random) -> Image.Image:
    """A picture of the kind: where it lies, and its shades, follow from chance."""
    size, colour, shape, ground = kind
    picture = Image.new("RGB", (SIDE, SIDE), _shade(GROUNDS[ground], chance))
    radius = SIZES[size] * chance.uniform(0.9, 1.1)
    x, y = (chance.uniform(radius + 1, SIDE - radius - 1) for _ in range(2))
    pen, fill = ImageDraw.Draw(picture), _shade(COLOURS[colour], chance)
    if shape == "circle":
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
    elif shape == "square":
        pen.rectangle([x - radius, y - radius, x + radius, y + radius], fill=fill)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=fill)
    return picture


def train(folder: Path, *, steps: int) -> ModelSpec:
    """The spec of a tiny OpenCLIP, trained on drawn pictures and their captions; `steps` 0: as it was born."""
    import open_clip

    register_tiny_open_clip(folder)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        module = open_clip.create_model("tiny-clip").train()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so small a model gains nothing by more, and loses much beside other work
        if steps:
            _fit(module, steps)
        torch.set_num_threads(threads)
    path = folder / f"trained-{steps}.pt"
    torch.save(module.state_dict(), path)
    return ModelSpec(
        name=f"clip_{steps}", backend="open_clip", architecture="tiny-clip", pretrained="", dim=48, image_size=SIDE,
        weights=WeightsSource(f"file:{path}"), licence="none", parameters=0, text=True,
    )  # fmt: skip


def _fit(module: torch.nn.Module, steps: int) -> None:
    """CLIP's own loss: each picture of a batch must find its caption among the others, and the other way round."""
    import open_clip

    chance, tokens = Random(5), open_clip.get_tokenizer("tiny-clip")([caption(kind) for kind in KINDS])
    for name, parameter in module.named_parameters():  # 49,408 words, of which a dozen are used: random ones will do
        parameter.requires_grad_("token_embedding" not in name)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    pool = [_pixels([draw(kind, chance) for kind in KINDS]) for _ in range(POOL)]
    for step in range(steps):
        images = module.encode_image(pool[step % POOL], normalize=True)  # type: ignore[operator]
        texts = module.encode_text(tokens, normalize=True)  # type: ignore[operator]
        logits = 20 * images @ texts.T
        target = torch.arange(len(KINDS))
        loss = torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _pixels(pictures: Sequence[Image.Image]) -> torch.Tensor:
    """As open_clip's own transform gives them: these pictures have the model's size already."""
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    arrays = [((np.asarray(picture) / 255 - mean) / std).transpose(2, 0, 1) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).float()


def _shade(colour: tuple[int, int, int], chance: Random) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value + chance.randint(-18, 18))) for value in colour)
    return red, green, blue
