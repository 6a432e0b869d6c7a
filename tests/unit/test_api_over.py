"""Answers that last: the audit knows of them when they begin, and they end with the token that they were asked with."""

import httpx
import msgspec
import pytest

from log_api import PEOPLE, LogApi, Names, wait_until
from shipper.api.access import Access
from shipper.api.routes import tail
from shipper.devstack.server import HOST

_BEARER = {"Authorization": "Bearer viewer"}


def test_a_tail_is_audited_when_it_begins_and_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_CHECK_EVERY_S", 0.05)
    people = dict(PEOPLE)
    with (
        LogApi(f"http://{HOST}:1", people, tail_heartbeat_s=0.2) as api,
        httpx.stream("GET", f"{api.url}/v1/tail", headers=_BEARER, timeout=60) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ": following"
        assert [(visit.status, visit.facts["stream"]) for visit in api.visits] == [(200, "ends")], "it has begun"
        del people["viewer"]
        rest = "\n".join(lines)  # it ends
        assert "urn:shipper:problem:unauthenticated" in rest
        wait_until(lambda: len(api.visits) == 2, "the end is audited")


@pytest.mark.anyio
async def test_who_was_let_in_stays_until_the_token_is_over_or_no_longer_what_it_was() -> None:
    people = dict(PEOPLE)
    access = Access(authenticators=[Names(people)])
    viewer = people["viewer"]
    assert await access.why_over(["Bearer viewer"], viewer) == ""
    expired = msgspec.structs.replace(viewer, expires_s=1.0)
    assert "expired" in await access.why_over(["Bearer viewer"], expired)
    people["viewer"] = msgspec.structs.replace(viewer, services=frozenset())
    assert "changed" in await access.why_over(["Bearer viewer"], viewer)
    del people["viewer"]
    assert await access.why_over(["Bearer viewer"], viewer) != ""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
