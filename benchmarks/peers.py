"""How fast is a run beside the peers that can be installed, on the same photographs and weights?

    python -m benchmarks.peers FOLDER [--images 24] [--size 4000x3000|500x375] [--turns 2]

OpenAI's ViT-B/32 with random weights. Each peer embeds the folder in turns with Pixelmill, after one picture to warm
up, in a process of its own; its result is in files or in memory, as it comes. What is not installed is said so. All are
at their defaults, which is float32, but for a second turn of the fastest in bfloat16.

    clip-retrieval          its inference over the folder in batches of 8 (its default of 256 is larger than the
                            folder), its start and load, which one picture shows, taken off
    sentence-transformers   CLIP as Hugging Face has it, random weights of that shape, `encode` of a list of pictures
    thingsvision            its extractor over upstream's model and preprocess, batches of 32

Pixelmill's times are those of reading, decoding, embedding and committing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context, set_start_method
from pathlib import Path

import clip
import numpy as np
import torch
from clip.simple_tokenizer import SimpleTokenizer
from PIL import Image

from benchmarks.speed import Run, encode, vit_b32

Embed = Callable[[list[str]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--turns", type=int, default=2)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="pixelmill-peers-") as name:
        folder = Path(name)
        spec, archive = vit_b32(folder / "mirror", 0)
        photos = folder / "photos"
        encode(given.folder, photos, (width, height), given.images)
        paths = sorted(map(str, photos.iterdir()))
        ways: dict[str, Callable[[], float]] = {
            "pixelmill": Run(folder, "fast", photos, [spec], decode="fast", precision="auto"),
            "pixelmill, float32": Run(folder, "float32", photos, [spec], decode="fast", precision="float32"),
            "the same, reference": Run(folder, "reference", photos, [spec], decode="reference", precision="float32"),
        }
        with ExitStack() as stack:
            for title in PEERS:
                process = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
                try:
                    process.submit(make, title, archive, folder).result()
                    ways[title] = spent(process, paths)
                except Exception as error:
                    print(f"  {title}: left out, {type(error).__name__}: {str(error)[:120]}", flush=True)
            report(given.size, ways, len(paths), given.turns)


_embed: list[Embed] = []
"""Of the peer that this process runs."""


def make(title: str, archive: Path, folder: Path) -> None:
    """Load a peer in this process."""
    warnings.simplefilter("ignore")
    set_start_method("fork", force=True)  # the peers' own default, which a spawned process changes
    _embed[:] = [PEERS[title](archive, folder)]


def seconds(some: list[str]) -> float:
    """What the peer of this process takes for some pictures."""
    start = time.perf_counter()
    _embed[0](some)
    return time.perf_counter() - start


def spent(process: ProcessPoolExecutor, paths: list[str]) -> Callable[[], float]:
    """A way that gives its seconds for all but one picture: what it takes for one alone is its start."""
    first = min(process.submit(seconds, paths[:1]).result() for _ in range(3))
    return lambda: (process.submit(seconds, paths).result() - first) * len(paths) / (len(paths) - 1)


def report(size: str, ways: dict[str, Callable[[], float]], images: int, turns: int) -> None:
    """Print images/s of each, and how much faster Pixelmill is."""
    best = {title: min(way() for _ in range(turns)) for title, way in ways.items()}
    print(f"{size}, {images} images, {torch.get_num_threads()} threads")
    for title, seconds in best.items():
        print(
            f"  {title:<24}{images / seconds:8.1f} images/s, pixelmill {seconds / best['pixelmill']:.2f} x", flush=True
        )


def clip_retrieval(archive: Path, folder: Path) -> Embed:
    from clip_retrieval.clip_inference.main import main as infer

    def embed(paths: list[str]) -> None:
        out = folder / "clip-retrieval"
        shutil.rmtree(out, ignore_errors=True)
        infer(
            input_dataset=linked(folder / "some", paths), output_folder=str(out), input_format="files",
            clip_model=str(archive), enable_text=False, use_jit=False, enable_wandb=False,
            batch_size=8, num_prepro_workers=torch.get_num_threads(),
        )  # fmt: skip
        stored = sum(len(np.load(file)) for file in out.glob("img_emb/*.npy"))
        assert stored == len(paths), f"clip-retrieval stored {stored} of {len(paths)}"

    return embed


def linked(folder: Path, paths: list[str]) -> str:
    """A folder with just these pictures in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in paths:
        (folder / Path(path).name).symlink_to(path)
    return str(folder)


def sentence_transformers(_archive: Path, folder: Path, dtype: str = "float32") -> Embed:
    from sentence_transformers import SentenceTransformer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    local, bpe = folder / "hugging-face", SimpleTokenizer()
    local.mkdir(exist_ok=True)
    (local / "vocab.json").write_text(json.dumps(bpe.encoder))
    (local / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, bpe.bpe_ranks)))
    CLIPProcessor(CLIPImageProcessor(), CLIPTokenizer.from_pretrained(str(local))).save_pretrained(local)
    CLIPModel(CLIPConfig()).save_pretrained(local)  # its defaults are those of ViT-B/32
    model = SentenceTransformer(str(local), device="cpu", model_kwargs={"dtype": dtype})
    return lambda paths: model.encode([Image.open(path) for path in paths], show_progress_bar=False)


def thingsvision(archive: Path, folder: Path) -> Embed:
    np.AxisError = np.exceptions.AxisError  # it was written for NumPy 1
    from thingsvision import get_extractor_from_model
    from thingsvision.utils.data import DataLoader, ImageDataset

    model, preprocess = clip.load(str(archive), device="cpu", jit=False)
    extractor = get_extractor_from_model(model=model.visual, device="cpu", preprocess=preprocess, backend="pt")

    def embed(paths: list[str]) -> None:
        some = linked(folder / "some", paths)
        data = ImageDataset(root=some, out_path=str(folder), backend="pt", transforms=preprocess)
        batches = DataLoader(dataset=data, batch_size=32, backend="pt")
        features = extractor.extract_features(batches=batches, module_name="ln_post", flatten_acts=False)
        assert len(features) == len(paths), f"thingsvision made {len(features)} of {len(paths)}"

    return embed


PEERS: dict[str, Callable[[Path, Path], Embed]] = {
    "clip-retrieval": clip_retrieval,
    "sentence-transformers": sentence_transformers,
    "the same, bfloat16": partial(sentence_transformers, dtype="bfloat16"),
    "thingsvision": thingsvision,
}

if __name__ == "__main__":
    main()
