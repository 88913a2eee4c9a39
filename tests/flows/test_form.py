"""The form that Prefect makes of the flows' parameters, and what it refuses, by Prefect's own validation."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from flows.embed import embed
from flows.maintain import maintain
from flows.vectorize import vectorize
from pixelmill import catalog
from pixelmill.version import VERSION

FORM: dict[str, Any] = parameter_schema(vectorize).model_dump()
"""As `prefect deploy` sends it."""


def errors(**parameters: Any) -> list[str]:
    return [error.message for error in validate(parameters, FORM)]


@pytest.mark.parametrize("flow", [vectorize, embed, maintain], ids=lambda flow: flow.name)
def test_a_flow_says_which_version_it_is_of(flow: Any) -> None:
    """Whoever deploys it, from the checkout or from a wheel: Prefect takes it as the deployment's version."""
    assert flow.version == VERSION


@pytest.mark.parametrize("flow", [vectorize, embed, maintain], ids=lambda flow: flow.name)
def test_every_parameter_is_described(flow: Any) -> None:
    """The form shows the docstring's Args; none is missing or says nothing."""
    for name, field in parameter_schema(flow).properties.items():
        assert len(field.get("description", "")) > 10, name


def test_no_field_offers_none() -> None:
    """What has no value is left empty: no field has a default of null, or null among its choices."""
    for name, field in FORM["properties"].items():
        assert field.get("default") is not None or "default" not in field, name
        assert "null" not in str(field), name
    assert not FORM["required"]


def test_models_are_chosen_from_the_catalog_or_named() -> None:
    """One choice offers the whole catalog, the other takes any name, also beyond the catalog and of the settings."""
    chosen, named = FORM["properties"]["models"]["anyOf"]
    assert sorted(chosen["items"]["enum"]) == sorted(catalog.names())
    assert "enum" not in named["items"]
    assert not errors(models=["resnet50", "efficientnet_lite0"])
    assert not errors(models=["open_clip:ViT-B-32/laion2b_s34b_b79k", "my_clip", "resnet50"])
    assert errors(models=["resnet50", "resnet50"]) == ["['resnet50', 'resnet50'] has non-unique elements"]


def test_the_recommended_models_come_first_with_their_dims_and_sizes() -> None:
    """In the list, and in the field's description, which both of Prefect's pages show."""
    field = FORM["properties"]["models"]
    assert field["anyOf"][0]["items"]["enum"][:4] == [spec.name for spec in catalog.recommended()]
    told = " ".join(field["description"].split())
    for spec in catalog.recommended():
        size = spec.weights.bytes or 0
        in_words = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
        assert f"{spec.name} ({spec.dim:,} dims, {in_words}" in told


@pytest.mark.parametrize("field", ["device", "precision", "decode"])
def test_choices_are_choices(field: str) -> None:
    """A field of few values shows them, and takes no other."""
    values = FORM["properties"][field]["enum"]
    assert all(not errors(**{field: value}) for value in values)
    (message,) = errors(**{field: "quick"})
    assert message.startswith("'quick' is not one of ['")


@pytest.mark.parametrize("deadline", ["06:00", "23:59", "90m", "1.5h", "30s"])
def test_deadlines_that_fit_are_taken(deadline: str) -> None:
    """A time of day or a span."""
    assert not errors(deadline=deadline)


@pytest.mark.parametrize("deadline", ["6am", "24:00", "90", "tomorrow", ""])
def test_a_deadline_that_does_not_fit_is_told_in_words(deadline: str) -> None:
    """The form says what is expected, not a pattern."""
    assert errors(deadline=deadline) == [f"{deadline!r} is not one of ['a time such as 06:00', 'a span such as 90m']"]


def test_an_empty_form_is_a_run_as_the_settings_say() -> None:
    """Nothing has to be filled in."""
    assert not errors()
    assert not errors(dry_run=False)
