"""Requests that nobody thought of, made from the description that the service gives of itself.

Half of them fit the description, and half do not. None may be answered with a 5xx, or with what the description does
not say. Some name rows that are there, since what only names missing ones never gets far.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
import schemathesis.checks
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode

from service.attacks.attacked_service import AttackedService

_REGISTRY: Any = schemathesis.checks
_REGISTRY.load_all_checks()
_CHECKS: Any = _REGISTRY.CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
_OF_A_REQUEST = frozenset({"method", "url", "headers", "params", "json", "data", "files"})
_OURS = frozenset({"authorization", "content-length", "host"})


def named(case: Any, rows: dict[str, str]) -> Any:
    """The case with rows that are there in the place of what was made up, but for what would remove them."""
    if case.method != "DELETE":
        case.path_parameters = {name: rows.get(name, value) for name, value in (case.path_parameters or {}).items()}
    there = {"model": "pocket", "training_file": rows["file_id"]}
    if isinstance(case.body, dict):
        case.body |= {name: there[name] for name in there if name in case.body}
    return case


def answered(case: Any, service: AttackedService) -> Response:
    values = case.as_transport_kwargs(base_url=service.address.removesuffix("/v1"))
    taken = {name: value for name, value in values.items() if name in _OF_A_REQUEST}
    prepared = requests.Request(**taken).prepare()
    body = prepared.body or b""
    headers = {name: value if isinstance(value, str) else value.decode() for name, value in prepared.headers.items()}
    reply = service.ask(
        case.method,
        prepared.path_url,
        headers=[pair for pair in headers.items() if pair[0].lower() not in _OURS],
        body=body if isinstance(body, bytes) else str(body).encode(),
    )
    lists = {name: [value] for name, value in reply.headers.items()}
    return Response(
        status_code=reply.status, headers=lists, content=reply.body, request=prepared, elapsed=0.0, verify=False
    )


def fuzz(operation: Any, service: AttackedService, cases: int, *, explore: bool) -> None:
    rows = dict(service.red.ids)
    for mode in GenerationMode:

        @settings(
            max_examples=cases // 2,
            deadline=None,
            database=None,
            derandomize=not explore,
            phases=[Phase.generate, Phase.shrink] if explore else [Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
        def hold(case: Any, known: bool) -> None:
            case = named(case, rows) if known else case
            case.validate_response(answered(case, service), checks=_CHECKS)

        hold()


def fuzz_all(service: AttackedService, cases: int, *, explore: bool = False) -> None:
    schema: Any = schemathesis.openapi.from_dict(service.app.openapi())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:
        fuzz(operation, service, cases, explore=explore)


def test_nothing_that_is_sent_is_answered_otherwise_than_described(attacked: AttackedService) -> None:
    fuzz_all(attacked, 14)


@pytest.mark.slow
def test_nothing_that_is_sent_two_hundred_times_is_answered_otherwise_than_described(attacked: AttackedService) -> None:
    fuzz_all(attacked, 200, explore=True)
