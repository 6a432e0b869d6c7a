"""`/healthz`, `/readyz`, `/metrics`: whether it lives, whether it can answer, and figures about it."""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from shipper.api import metrics
from shipper.api.answers import answer
from shipper.api.asking import service_of
from shipper.api.problems import RETRY_AFTER_S, Problem
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


@router.get("/readyz", summary="Whether it can answer", response_model=Ready)
async def readyz(request: Request) -> Response:
    """Whether Loki answers: 503 with the reason where it does not."""
    service = service_of(request)
    if not await AsyncLokiReader(service.client, timeout_s=_READY_TIMEOUT_S).ready():
        raise Problem(
            503, "loki-away", "Loki does not say that it is ready", headers={"Retry-After": str(RETRY_AFTER_S)}
        )
    return answer(request, {"ready": True})


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def show_metrics(request: Request) -> Response:
    """Calls, their durations, lines, tails and exports, in Prometheus' text format."""
    return answer(request, metrics.render(), media_type=metrics.CONTENT_TYPE)
