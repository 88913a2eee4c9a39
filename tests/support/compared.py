"""A comparison of models, as an evaluation tells it."""

from __future__ import annotations

from pixelmill.evaluation.told import Agreement, Cost, Evaluation, Measured, Pictures, Scores


def scores(name: str, value: float, speed: float | None) -> Scores:
    models = tuple(name.split("+"))
    cost = Cost(dim=512 * len(models), gb_per_million=2.048 * len(models), images_per_second=speed, ms_per_image=speed and 1000 / speed)  # fmt: skip
    measured = {name: Measured(value=value, low=value - 0.05, high=value + 0.04, pictures=40) for name in ("neighbours_5", "probe")}  # fmt: skip
    return Scores(name=name, models=models, weights=(1.0,) * len(models), measures=measured, cost=cost)


TOLD = Evaluation(
    store="/stores/photos", labels="folder", pictures=Pictures(rows=50, without_label=3, usable=47, compared=47, classes=5),
    folds=5, seed=0, probe="logistic regression, C = 0.1",
    scores=(scores("openai_clip_vit_l14", 0.81, 20.0), scores("resnet18", 0.6, 200.0), scores("openai_clip_vit_l14+resnet18", 0.8, None)),
    best={"neighbours_5": ("openai_clip_vit_l14",), "probe": ("openai_clip_vit_l14", "openai_clip_vit_l14+resnet18")},
    agreement=(Agreement(models=("openai_clip_vit_l14", "resnet18"), cka=0.412),), notes=("A note.",),
)  # fmt: skip
