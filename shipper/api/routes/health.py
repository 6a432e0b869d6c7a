"""`/healthz`, `/readyz`, `/metrics`: whether it lives, whether it can answer, and figures about it."""

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from shipper.api import metrics
from shipper.api.access import unless_open
from shipper.api.answers import answer
from shipper.api.asking import service_of
from shipper.api.problems import RETRY_AFTER_S, Problem
from shipper.api.tables import Stored, Tables
from shipper.loki.async_reader import AsyncLokiReader

router = APIRouter(tags=["Service"])
_READY_TIMEOUT_S = 3


class Alive(BaseModel):
    """It lives."""

    alive: bool = True


class Ready(BaseModel):
    """It can answer."""

    ready: bool = True


@router.get("/healthz", summary="Whether it lives", response_model=Alive)
async def healthz(request: Request) -> Response:
    """Answered to everybody, and without asking anybody."""
    return answer(request, {"alive": True})


@router.get("/readyz", summary="Whether it can answer", response_model=Ready, dependencies=[Depends(unless_open)])
async def readyz(request: Request) -> Response:
    """Whether Loki answers, and what is kept in Kafka is followed: 503 with the reason where it is not.

    A Kafka that is away is no reason: what was read stays in force, and `log_api_table_behind_seconds` tells of it.
    """
    service = service_of(request)
    if not await AsyncLokiReader(service.client, timeout_s=_READY_TIMEOUT_S).ready():
        raise Problem(
            503, "loki-away", "Loki does not say that it is ready", headers={"Retry-After": str(RETRY_AFTER_S)}
        )
    lost = [each.topic for each in _tables(request) if not each.is_followed]
    if lost:
        raise Problem(503, "not-ready", f"nobody follows {', '.join(lost)} any more: restart this process")
    return answer(request, {"ready": True})


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response, dependencies=[Depends(unless_open)])
async def show_metrics(request: Request) -> Response:
    """Calls, their durations, lines, tails, exports and tables, in Prometheus' text format."""
    for each in _tables(request):
        metrics.TABLE_BEHIND.labels(each.topic).set(each.behind_s)
    return answer(request, metrics.render(), media_type=metrics.CONTENT_TYPE)


def _tables(request: Request) -> tuple[Stored, ...]:
    tables: Tables | None = request.app.state.tables
    return tables.all if tables else ()
