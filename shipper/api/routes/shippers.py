"""`GET /v1/shippers`: how all hosts that ship are doing, as one view."""

import asyncio
from typing import Any, Final

import httpx
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import AskedByOperator
from shipper.api.scope import of_all

router = APIRouter(tags=["Operators"])
TIMEOUT_S: Final = 3.0
_STATES = ("unreachable", "draining", "degraded", "starting", "running")


class ShipperSeen(BaseModel):
    """A host that ships."""

    url: str = Field(examples=["http://shipper-0:9600"])
    state: str = Field(description=f"One of {', '.join(_STATES)}.", examples=["running"])
    problem: str | None = Field(description="Why it cannot be asked.", examples=[None])
    version: str | None = Field(examples=["0.1.0"])
    loki: str | None = Field(description="As this host sees it.", examples=["ok"])
    workers: int = Field(examples=[2])
    partitions: int = Field(examples=[8])
    lag_records: int = Field(alias="lagRecords", examples=[0])
    lag_seconds: float = Field(
        alias="lagSeconds", description="Of its partition that is furthest behind.", examples=[0.0]
    )
    records_per_s: float = Field(alias="recordsPerSecond", examples=[1834.5])
    totals: dict[str, int] = Field(examples=[{"consumed": 812000, "delivered": 811990, "dead_lettered": 10}])


class Shippers(BaseModel):
    """All hosts that ship."""

    state: str = Field(description="The worst of the hosts'.", examples=["running"])
    lag_records: int = Field(alias="lagRecords", examples=[0])
    records_per_s: float = Field(alias="recordsPerSecond", examples=[1834.5])
    shippers: list[ShipperSeen]


@router.get("/v1/shippers", summary="How all hosts that ship are doing, for operators", response_model=Shippers)
async def shippers(request: Request, asking: AskedByOperator) -> Response:
    """The status of each host in `api.shippers`, asked now; a host that does not answer is in it too.

    For those who are bound to nothing: a host ships for all services.
    """
    of_all(request, asking.principal)
    client = asking.service.shippers
    seen = await asyncio.gather(*(_seen(client, url.rstrip("/")) for url in asking.settings.api.shippers))
    asking.note(query="shippers")
    worst = min((one["state"] for one in seen), key=_rank, default="unreachable")
    return answer(
        request,
        {
            "state": worst,
            "lagRecords": sum(one["lagRecords"] for one in seen),
            "recordsPerSecond": sum(one["recordsPerSecond"] for one in seen),
            "shippers": seen,
        },
    )


async def _seen(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            response = await client.get(f"{url}/status")
        response.raise_for_status()
        return _shown(url, response.json())
    except (httpx.HTTPError, TimeoutError) as error:
        return _shown(url, {}, problem=f"{type(error).__name__}: {error}".rstrip(": "))
    except (ValueError, TypeError, KeyError, AttributeError):
        return _shown(url, {}, problem="what answers there is no shipper")


def _shown(url: str, status: dict[str, Any], problem: str | None = None) -> dict[str, Any]:
    partitions = status.get("partitions", [])
    return {
        "url": url,
        "state": status["state"] if problem is None else "unreachable",
        "problem": problem,
        "version": status.get("version"),
        "loki": status.get("loki", {}).get("state"),
        "workers": len(status.get("workers", [])),
        "partitions": len(partitions),
        "lagRecords": sum(one.get("lag_records") or 0 for one in partitions),
        "lagSeconds": max((one.get("lag_seconds") or 0.0 for one in partitions), default=0.0),
        "recordsPerSecond": status.get("rates", {}).get("records_per_s", 0.0),
        "totals": status.get("totals", {}),
    }


def _rank(state: str) -> int:
    return _STATES.index(state) if state in _STATES else 0
