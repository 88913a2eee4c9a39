"""Who embeds what: everything once, nothing where it does not fit, done about as soon as can be."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmill import catalog
from pixelmill.errors import DeviceUnavailable
from pixelmill.formatting import in_words
from pixelmill.models.base import ModelSpec
from pixelmill.models.cost import gflops, memory_needed
from pixelmill.plan import Plan, cut
from pixelmill.run.job import Worker
from pixelmill.run.results import WorkerModel, WorkerReport
from pixelmill.run.schedule import Schedule, schedule
from pixelmill.run.throughput import Throughput

NAMES = ["resnet18", "resnet50", "efficientnet_lite0", "vit_b_16"]


class Known(Throughput):
    """Seconds an image as the test says, by worker and model; nothing for reading and loading unless said."""

    def __init__(self, seconds: dict[tuple[str, str], float], reading: float = 0.0) -> None:
        super().__init__([])
        self._models = seconds
        self._read = reading

    def reading(self, worker: str) -> float:
        return self._read

    def loading(self, spec: ModelSpec) -> float:
        return 0.0


def plan_for(images: dict[str, int], shard_size: int = 100, workers: int = 1) -> Plan:
    most = max(images.values())
    return Plan(images, most, cut(most, shard_size, workers))


def specs(names: list[str]) -> dict[str, ModelSpec]:
    return {name: catalog.get(name) for name in names}


def cells(scheduled: Schedule) -> Counter[tuple[int, str]]:
    return Counter((n, m) for share in scheduled.shares for n, models in share.shards.items() for m in models)


@settings(deadline=None)
@given(
    pending=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5000), min_size=1),
    speeds=st.lists(st.floats(1e-4, 1), min_size=4, max_size=4),
    workers=st.integers(1, 4),
    reading=st.floats(0, 0.1),
)
def test_each_shard_gets_each_model_once(
    pending: dict[str, int], speeds: list[float], workers: int, reading: float
) -> None:
    """Whatever the speeds: every shard is done with every model that lacks images by exactly one worker, and the images
    of the shares add up to those that are missing."""
    named = [Worker(name=f"w{i}") for i in range(workers)]
    throughput = Known(
        dict(zip(itertools.product([w.name for w in named], NAMES), itertools.cycle(speeds), strict=False)), reading
    )
    plan = plan_for(pending, workers=workers) if max(pending.values()) else Plan(pending, 0, ())
    scheduled = schedule(plan, specs(list(pending)), named, throughput)
    wanted = [(shard.number, model) for shard in plan.shards for model, images in pending.items() if images]
    assert cells(scheduled) == Counter(wanted)
    for model, images in pending.items():
        assert sum(share.images.get(model, 0) for share in scheduled.shares) == images


@settings(deadline=None, max_examples=60)
@given(seconds=st.lists(st.integers(1, 50), min_size=2, max_size=6), workers=st.integers(2, 3))
def test_equal_workers_are_done_within_four_thirds_of_the_best(seconds: list[int], workers: int) -> None:
    """Beside the best of all ways to share models out among equal workers, ours takes at most a third longer."""
    names = [spec.name for spec in catalog.all_models()][: len(seconds)]
    named = [Worker(name=f"w{i}") for i in range(workers)]
    throughput = Known({(w.name, n): s for w in named for n, s in zip(names, seconds, strict=True)})
    ours = schedule(plan_for(dict.fromkeys(names, 1)), specs(names), named, throughput).seconds
    ways = itertools.product(range(workers), repeat=len(seconds))
    best = min(max(sum(s for s, w in zip(seconds, way, strict=True) if w == i) for i in range(workers)) for way in ways)
    assert ours <= best * 4 / 3 + 1e-9


def test_a_fast_worker_gets_more_of_one_model() -> None:
    """One model alone is shared out by the shard: a worker of nine times the speed gets about nine of ten images."""
    throughput = Known({("gpu", "resnet50"): 0.01, ("cpu", "resnet50"): 0.09})
    plan = plan_for({"resnet50": 10_000})
    scheduled = schedule(plan, specs(["resnet50"]), [Worker(name="cpu"), Worker(name="gpu")], throughput)
    images = {share.worker: share.images["resnet50"] for share in scheduled.shares}
    assert images["gpu"] == pytest.approx(9000, abs=200)
    assert scheduled.seconds == pytest.approx(90, rel=0.03)


def test_models_gather_where_the_images_are_decoded() -> None:
    """Where decoding is what takes long, both models of a shard go to the worker that reads it."""
    workers = [Worker(name="a"), Worker(name="b")]
    throughput = Known({(w.name, m): 0.001 for w in workers for m in NAMES[:2]}, reading=0.1)
    scheduled = schedule(plan_for(dict.fromkeys(NAMES[:2], 1000)), specs(NAMES[:2]), workers, throughput)
    assert [len(share.shards) for share in scheduled.shares] == [5, 5]
    assert all(len(models) == 2 for share in scheduled.shares for models in share.shards.values())
    assert scheduled.seconds == pytest.approx(50)


def test_what_does_not_fit_stays_off() -> None:
    """A model goes to the device that holds it, be it ever so slow; one that fits nowhere is named with what it needs."""
    large, small = "open_clip_vit_h14_laion2b", "resnet18"
    workers = [Worker(name="gpu0", memory_gb=2), Worker(name="cpu", memory_gb=64)]
    throughput = Known({("gpu0", large): 0.001, ("cpu", large): 5.0, ("gpu0", small): 0.001, ("cpu", small): 1.0})
    scheduled = schedule(plan_for({large: 100, small: 100}), specs([large, small]), workers, throughput)
    assert {share.worker: set(share.images) for share in scheduled.shares} == {"gpu0": {small}, "cpu": {large}}
    with pytest.raises(DeviceUnavailable, match=f"holds {large}: it takes about 5.* GB. Found gpu0 2 GB.*workers"):
        schedule(plan_for({large: 100}), specs([large]), workers[:1], throughput)


def test_it_explains_itself() -> None:
    """The plan in words, as `--dry-run` and the log show it."""
    workers = [Worker(name="gpu0"), Worker(name="cpu")]
    throughput = Known(
        {("gpu0", "vit_b_16"): 0.5, ("cpu", "vit_b_16"): 500, ("gpu0", "resnet18"): 9, ("cpu", "resnet18"): 0.4}
    )
    scheduled = schedule(
        plan_for({"vit_b_16": 4212, "resnet18": 1000}), specs(["vit_b_16", "resnet18"]), workers, throughput
    )
    assert str(scheduled) == (
        "4,212 images x 2 models, about 35 min (gpu0: vit_b_16 (4,212), 35 min; cpu: resnet18 (1,000), 7 min)."
    )
    assert str(schedule(Plan({}, 0, ()), {}, workers, throughput)) == "Nothing to embed."
    assert [in_words(s) for s in (0.2, 40, 600, 12_000)] == ["1 s", "40 s", "10 min", "3 h 20 min"]


def test_the_pace_is_what_earlier_runs_took() -> None:
    """Seconds an image come from the reports of earlier runs, by worker and model; a model that was never measured takes
    as much longer than those that were as it has more to compute; where nothing was, the plan says that it guesses."""

    def did(reading: float, images: int, seconds: float) -> dict[str, WorkerReport]:
        work = WorkerModel(device="cpu", images=100, seconds=seconds)
        worker = WorkerReport(images=images, seconds=10.0, reading_seconds=reading, models={"resnet18": work})
        return {"cpu": worker}

    measured, unknown = catalog.get("resnet18"), catalog.get("resnet50")
    throughput = Throughput([measured, unknown], [did(4.0, 200, 5.0), did(5.0, 100, 15.0), {}])
    assert throughput.model("cpu", "cpu", measured) == pytest.approx(0.1)
    assert throughput.reading("cpu") == pytest.approx(0.03)
    assert throughput.model("cpu", "cpu", unknown) == pytest.approx(0.1 * gflops(unknown) / gflops(measured))
    plan = plan_for({"resnet18": 10, "resnet50": 10})
    words = str(schedule(plan, specs(["resnet18", "resnet50"]), [Worker(name="cpu", device="cpu")], throughput))
    assert "a guess: not all of it was ever measured here" in words
    assert "guess" not in str(
        schedule(plan_for({"resnet18": 10}), specs(["resnet18"]), [Worker(name="cpu")], throughput)
    )
    assert not Throughput([measured], [did(4.0, 200, 5.0)], {"cpu": "cuda:0"}).measured("cpu", "resnet18"), (
        "a night on the CPU tells nothing of a GPU"
    )


@pytest.mark.parametrize(("name", "published"), [("resnet50", 4.09), ("vit_b_16", 17.56), ("efficientnet_b0", 0.39)])
def test_operations_are_those_that_torchvision_publishes(name: str, published: float) -> None:
    """Twice the multiply-adds in the documentation of torchvision's weights."""
    assert gflops(catalog.get(name)) == pytest.approx(2 * published, rel=0.02)


def test_memory_is_more_than_the_weights() -> None:
    """A model's estimate holds its float32 weights."""
    assert all(memory_needed(spec) > spec.parameters * 4 for spec in catalog.all_models())
