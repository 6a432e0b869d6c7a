"""What schemathesis makes of the OpenAPI document: calls of every kind, right and wrong; none may fail on our side."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from hearing_loki import HearingLoki
from kept_api import KeptApi, kept_settings, make_tokens
from shipper.api.principal import Role
from shipper.devstack.kafka import KafkaServer, make_topic

pytestmark = pytest.mark.kafka

_ENDLESS = {"/v1/tail"}


@pytest.fixture(scope="module")
def api(kafka: KafkaServer) -> Iterator[KeptApi]:
    with HearingLoki() as loki:
        dead_letters = make_topic(kafka.bootstrap)
        found = kept_settings(
            kafka.bootstrap, dead_letters=dead_letters, loki_url=loki.url, requests_per_minute=1_000_000, shippers=[]
        )
        with KeptApi(found, make_tokens(found, {"admin": {"role": Role.ADMIN}})) as started:
            yield started


def test_no_call_that_the_document_allows_or_forbids_fails_on_our_side(api: KeptApi) -> None:
    document: dict[str, Any] = api.ask("admin", "GET", "/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations: list[Any] = [getattr(it, "ok")() for it in schema.get_all_operations()]  # noqa: B009 - or it fails here
    assert {"/v1/logs", "/v1/levels/{service}", "/v1/queries/{name}", "/v1/dead-letters/redrive"} <= {
        it.path for it in operations
    }
    for operation in operations:
        if operation.path in _ENDLESS:
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _try(api, operation, mode)


def _try(api: KeptApi, operation: Any, mode: schemathesis.GenerationMode) -> None:  # noqa: ANN401 - schemathesis' own
    @settings(
        max_examples=1, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:  # noqa: ANN401 - as above
        (case.query or {}).pop("wait", None)
        (case.headers or {}).pop("prefer", None)
        answer = case.call(base_url=api.url, headers={"Authorization": api.who["admin"]}, allow_redirects=False)
        where = f"{case.method} {answer.request.url}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, where
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"], where

    try:
        call()
    except Unsatisfiable:  # there are calls that nothing can be wrong with
        assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label
