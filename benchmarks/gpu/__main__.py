"""What does a GPU make of Pixelmill, and what would it make of it?

    python -m benchmarks.gpu [--minutes 9] [--photos FOLDER] [--device cuda|cpu] [--images 20000] [--only run,peer]

From a checkout, without a network; open_clip, clip and Prefect need not be there (docs/performance.md, "On a GPU").
Models have random weights. Pictures are made, or cut from the JPEGs of a folder, at 500 x 375 and 12 megapixels. What
cannot be measured is told, with the reason, and costs nothing else. Parts, whose tables are printed as they come:

    chip       products of matrices at the pace of each model's largest layer, and the images/s that follow
    model      the model alone, by precision and batch, and as a CUDA graph
    decode     decoding alone: the sandbox with all cores, nvJPEG
    transfer   pinned memory and a stream for copies, on and off
    run        files to a published store, by one process and by two
    peer       clip-retrieval's way on the same
    compiled   the model by torch.compile

On a CPU it shows that all of this runs, with a small model: --device cpu --models timm:test_vit.r160_in1k --images 200
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.gpu import chip, decode, model, peer, pictures, run, transfer
from benchmarks.gpu.cells import CONTEXT, Outcomes, Part, Setting, measured
from benchmarks.gpu.models import KNOWN
from benchmarks.gpu.tables import aims, as_json, machine, markdown

PARTS: dict[str, tuple[Part, float]] = {
    "chip": (chip.cells, 5), "model": (model.cells, 24), "decode": (decode.cells, 7), "transfer": (transfer.cells, 9),
    "run": (run.cells, 37), "peer": (peer.cells, 12), "compiled": (model.compiled_cells, 6),
}  # fmt: skip
"""With their share of the time; what one leaves is the others'."""
SIZES = "500x375,4000x3000"
_SMALL = 1_000_000
"""Pixels; of larger pictures there are fewer."""
_FEWER = 20


def main() -> None:
    given = _arguments()
    end = time.monotonic() + 60 * given.minutes
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as process:
        device, told = process.submit(machine, given.device).result()
    print(told, flush=True)
    with tempfile.TemporaryDirectory(prefix="pixelmill-gpu-") as name:
        setting = Setting(
            device, Path(name), tuple(given.models.split(",")), _sizes(given.sizes),
            tuple(map(int, given.batches.split(","))), given.seconds or given.minutes / 8, os.cpu_count() or 1,
        )  # fmt: skip
        for title, size in setting.sizes.items():
            images = given.images if size[0] * size[1] < _SMALL else given.images // _FEWER
            pictures.make(setting.photos(title), size, images, given.photos)
        outcomes: Outcomes = {}
        parts = given.only.split(",") if given.only else list(PARTS)
        for number, part in enumerate(parts):
            cells, share = PARTS[part]
            left = end - time.monotonic()
            found = measured(cells, setting, left * share / sum(PARTS[other][1] for other in parts[number:]))
            outcomes |= found
            print(markdown(found, outcomes), f"\n{end - time.monotonic():.0f} s left", sep="\n", flush=True)
            if given.json:
                given.json.write_text(as_json(told, outcomes))
        print(aims(setting, outcomes), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs of 12 megapixels or more; else they are made")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=20_000, help=f"small ones; of large ones 1 in {_FEWER} of that")
    parser.add_argument("--only", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--models", default=",".join(KNOWN), help="also others that Pixelmill knows")
    parser.add_argument("--sizes", default=SIZES, help="of pictures, in pixels")
    parser.add_argument("--batches", default="64,256")
    parser.add_argument("--seconds", type=float, help="of one measurement, about 1 by default")
    given = parser.parse_args()
    if unknown := set(given.only.split(",") if given.only else ()) - set(PARTS):
        parser.error(f"Expected parts among {', '.join(PARTS)}. Got {', '.join(sorted(unknown))}.")
    return given


def _sizes(said: str) -> dict[str, tuple[int, int]]:
    """Widths and heights by what they are called."""
    sizes = {}
    for size in said.split(","):
        width, height = map(int, size.split("x"))
        small = width * height < _SMALL
        sizes[f"{width} x {height}" if small else f"{width * height // 1_000_000} megapixels"] = (width, height)
    return sizes


if __name__ == "__main__":
    main()
