"""The endpoints do what /openapi.json says, whatever they are asked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.conftest import ClientOf, Collection

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 8


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_documented(
    mode: GenerationMode, collection: Collection, client_of: ClientOf, tmp_path: Path
) -> None:
    """For generated parameters, right ones and wrong ones: no failure of the server; documented statuses, types, shapes."""
    shutil.copytree(collection.store, tmp_path / "store")  # in which generated labels may lie
    client = client_of(replace(collection, store=tmp_path / "store"))
    document = schemathesis.openapi.from_asgi("/openapi.json", client.app, headers={"Host": "localhost"})
    asked: dict[str, list[int]] = {}
    for found in document.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            answer = case.call(headers={"Host": "localhost"})
            asked.setdefault(case.operation.label, []).append(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:  # what takes no parameters cannot be asked wrongly
            assert mode is GenerationMode.NEGATIVE
    statuses = [status for answers in asked.values() for status in answers]
    good = sum(status < 300 for status in statuses)
    if mode is GenerationMode.POSITIVE:
        assert {label.split()[1] for label in asked} == set(client.get("/openapi.json").json()["paths"])
        assert good > 20, asked
    else:
        assert len(asked) > 6
        assert good < len(statuses) / 2, asked
