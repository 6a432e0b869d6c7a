"""`GET /v1/services` and `/v1/fields`: which names there are to ask for."""

import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from shipper.api.answers import answer
from shipper.api.asking import Asked
from shipper.api.filters import Filters, Window
from shipper.api.scope import LEVEL, LEVELS, SERVICE
from shipper.api.vocabulary import check_services
from shipper.loki.logql import selector
from shipper.loki.query_answers import Listed

router = APIRouter(tags=["Logs"])
_EXTRACTED = "_extracted"  # what Loki adds to a field's name where a label has the same one


class ServiceFound(BaseModel):
    """A service that has lines in the range."""

    name: str = Field(examples=["chat-service"])
    levels: list[str] = Field(examples=[["info", "warn", "error"]])


class Services(BaseModel):
    """The services that the caller may see."""

    services: list[ServiceFound]


class FieldFound(BaseModel):
    """A field of the lines in the range."""

    name: str = Field(description="As `field=` takes it.", examples=["metadata.upstream"])
    kind: str = Field(description="json: of the record; label or metadata: of Loki's entry.", examples=["json"])
    type: str = Field(examples=["string"])
    values: int = Field(description="How many different values a sample of the lines has.", examples=[3])


class Fields(BaseModel):
    """The fields of a sample of the lines."""

    fields: list[FieldFound]


class _Detected(msgspec.Struct, rename="camel"):
    label: str
    type: str = ""
    cardinality: int = 0
    parsers: list[str] | None = None
    json_path: list[str] | None = None


class _DetectedFields(msgspec.Struct):
    fields: list[_Detected] | None = None


@router.get("/v1/services", summary="Services that have lines, and their levels", response_model=Services)
async def services(request: Request, asking: Asked, asked: Annotated[Window, Query()]) -> Response:
    """Services with lines in the range that the caller may see, with the levels that these have."""
    from_ns, to_ns = asked.range_ns(asking, time.time_ns())
    question: dict[str, str | int | float] = {
        "match[]": selector(asking.matchers, anything=SERVICE),
        "start": from_ns,
        "end": to_ns,
    }
    found: dict[str, set[str]] = {}
    for labels in (await asking.reader().get("/series", question, Listed[dict[str, str]])).data:
        if SERVICE in labels:
            found.setdefault(labels[SERVICE], set()).add(labels.get(LEVEL, "unknown"))
    listed = [{"name": name, "levels": sorted(found[name], key=_rank)} for name in sorted(found)]
    return answer(request, {"services": listed})


@router.get("/v1/fields", summary="Fields that lines have", response_model=Fields)
async def fields(request: Request, asking: Asked, asked: Annotated[Filters, Query()]) -> Response:
    """Fields of a sample of the lines that meet the conditions: what `field=` can be asked for."""
    range_ns = asked.range_ns(asking, time.time_ns())
    question: dict[str, str | int | float] = {"query": await asked.query(asking)}
    question |= {"start": range_ns[0], "end": range_ns[1]}
    found = (await asking.reader().get("/detected_fields", question, _DetectedFields)).fields or []
    if not found:
        await check_services(asking, range_ns, asked.service)
    listed = [
        {
            "name": ".".join(one.json_path) if one.json_path else one.label.removesuffix(_EXTRACTED),
            "kind": "json" if one.parsers else "metadata",
            "type": one.type,
            "values": one.cardinality,
        }
        for one in found
    ]
    return answer(request, {"fields": sorted(listed, key=lambda one: str(one["name"]))})


def _rank(level: str) -> tuple[int, str]:
    return (LEVELS.index(level) if level in LEVELS else len(LEVELS), level)
