"""What was measured, for people as tables in Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version

import torch

from benchmarks.gpu import chip, decode, model, peer, run, transfer
from benchmarks.gpu.cells import Figure, Key, Outcomes, Setting
from pixelmill.devices import resolve_device

TITLES = {
    chip.TABLE: "The chip",
    model.TABLE: "The model alone, images/s (share of the chip's limit)",
    decode.TABLE: "Decoding alone, images/s",
    transfer.TABLE: "Pixels in memory to embeddings in memory, images/s (share of the model alone)",
    run.TABLE: "The whole run, images/s (share of min(decoding, model))",
    peer.TABLE: "clip-retrieval's way, images/s (share of Pixelmill's run)",
}
AIM = 0.8
"""Of min(decoding, model)."""


def machine(device: str) -> tuple[str, str]:
    """The device that is meant, and what is measured, with what. Uses the GPU."""
    device = resolve_device(device)
    chip = torch.cuda.get_device_name(device) if device != "cpu" else f"no GPU, {platform.machine()}"
    made = f"PyTorch {torch.__version__}, torchvision {version('torchvision')}, CUDA {torch.version.cuda}"
    return device, f"{time.strftime('%Y-%m-%d')}, {chip}, {os.cpu_count()} cores, {made}"


def markdown(some: Outcomes, outcomes: Outcomes) -> str:
    """The tables of some outcomes, rows and columns in their order; shares are those of any `outcomes`."""
    lines = []
    for table, title in TITLES.items():
        keys = [key for key in some if key.table == table]
        if keys:
            columns = list(dict.fromkeys(key.column for key in keys))
            lines += ["", f"### {title}", "", f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
            for row in dict.fromkeys(key.row for key in keys):
                told = [_cell(outcomes, Key(table, row, column)) for column in columns]
                lines.append(f"| {row} | {' | '.join(told)} |")
    return "\n".join(lines)


def aims(setting: Setting, outcomes: Outcomes) -> str:
    """How the run of the first model over the first size stands to what is aimed at."""
    name, title = setting.models[0], next(iter(setting.sizes))
    key = run.in_one_process(setting, title, name)
    found = outcomes.get(key)
    said = f"\n{name} at {title}, a run in one process: "
    if not isinstance(found, Figure):
        return said + f"not measured: {found or 'not asked for'}"
    share = _share(outcomes, found)
    of = f"{share:.2f} of min(decoding, model), aim {AIM}" if share else "its stages alone were not measured"
    published = f"{found.value / peer.PUBLISHED:.2f} times the {peer.PUBLISHED:,.0f} that clip-retrieval publishes"
    return f"{said}{found.value:,.0f} images/s, {of}; {published}, aim 10"


def as_json(machine: str, outcomes: Outcomes) -> str:
    """The same for programs: each cell with its value and share, or why it has none."""
    cells = [
        {
            **key._asdict(),
            "value": outcome.value if isinstance(outcome, Figure) else None,
            "share": _share(outcomes, outcome) if isinstance(outcome, Figure) else None,
            "note": outcome.note if isinstance(outcome, Figure) else f"not measured: {outcome}",
        }
        for key, outcome in outcomes.items()
    ]
    return json.dumps({"machine": machine, "cells": cells}, indent=1)


def _cell(outcomes: Outcomes, key: Key) -> str:
    outcome = outcomes[key]
    if not isinstance(outcome, Figure):
        return f"not measured: {outcome}".replace("|", "/")
    share = _share(outcomes, outcome)
    value = f"{outcome.value:,.0f}" if outcome.value >= 100 else f"{outcome.value:.3g}"
    return "; ".join(filter(None, (value + (f" ({share:.2f})" if share else ""), outcome.note)))


def _share(outcomes: Outcomes, figure: Figure) -> float | None:
    """Of the least of what the figure is measured by; None unless all of that was measured."""
    found = [outcomes.get(key) for key in figure.of]
    values = [one.value for one in found if isinstance(one, Figure)]
    return figure.value / min(values) if values and len(values) == len(found) else None
