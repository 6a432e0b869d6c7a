"""`/v1/queries`: queries that people keep for themselves and for each other, and running them."""

import time
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import RedirectResponse, Response

from shipper.api import saved
from shipper.api.access import note, principal_of
from shipper.api.answers import answer
from shipper.api.principal import Principal
from shipper.api.problems import Problem, bad_parameter
from shipper.api.saved import Call, Saved, TooLongError
from shipper.api.tables import ConflictError, tables_of
from shipper.api.versions import IfMatch, changed_meanwhile, expected_version, tagged
from shipper.moments import show_ms

router = APIRouter(tags=["Saved queries"])

_OF_A_PERSON_MAX: Final = 200
_URL_CHARS_MAX: Final = 16 << 10
_Name = Annotated[
    str,
    Path(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=80,
        description="Small letters, digits, dashes.",
        examples=["lost-messages"],
    ),
]
_Who = Annotated[Principal, Depends(principal_of)]
_VALUE_CHARS_MAX: Final = 1_000
_Value = Annotated[str, Field(min_length=1, max_length=_VALUE_CHARS_MAX)]
_Values = Annotated[list[_Value], Field(max_length=50)]
_PlaceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class QuerySaved(BaseModel):
    """A query to be saved."""

    model_config = ConfigDict(extra="forbid")

    call: Call = Field("logs", description="Which call it is of: `/v1/logs`, `/v1/stats` or `/v1/export`.")
    parameters: dict[str, _Value | _Values] = Field(
        max_length=30,
        description="Of that call. `{name}` in a value is filled in when it is run.",
        examples=[{"service": "auth-service", "text": "{user}", "from": "1h"}],
    )
    places: dict[_PlaceName, Annotated[str, Field(max_length=_VALUE_CHARS_MAX)]] = Field(
        {},
        max_length=30,
        description="What a place is where nothing is given for it.",
        examples=[{"user": "usr_006aab"}],
    )
    title: str = Field("", max_length=200)
    about: str = Field("", max_length=2_000, description="For people: when it helps, and what to look for.")
    shared: bool = Field(False, description="Whether others see it, and may run it with what they may see.")  # noqa: FBT003 - pydantic's default

    @field_validator("parameters")
    @classmethod
    def _without_a_cursor(cls, given: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        if "cursor" in given:
            raise ValueError("`cursor` belongs to one caller and one page: leave it out")
        return given


class QueryTold(QuerySaved):
    """A saved query."""

    name: str
    owner: str
    saved_at: str = Field(alias="savedAt")
    asks_for: list[str] = Field(alias="asksFor", description="The places, each filled in by `?name=value`.")


class QueriesTold(BaseModel):
    """The saved queries that the caller sees."""

    queries: list[QueryTold]


@router.get("/v1/queries", summary="Saved queries", response_model=QueriesTold)
async def list_queries(request: Request, who: _Who) -> Response:
    """One's own, and those that are shared."""
    found = [(name, saved.read(row)) for name, row in tables_of(request).queries.items()]
    return answer(request, {"queries": [_told(name, it) for name, it in found if it and it.is_seen_by(who)]})


@router.get("/v1/queries/{name}", summary="A saved query", response_model=QueryTold)
async def show_query(request: Request, name: _Name, who: _Who) -> Response:
    """With its ETag, for whoever wants to change it."""
    found = _seen(request, name, who)
    return tagged(request, _told(name, found), _etag(found))


@router.put("/v1/queries/{name}", summary="Save a query", response_model=QueryTold)
async def save_query(
    request: Request, name: _Name, given: QuerySaved, who: _Who, *, if_match: IfMatch = None
) -> Response:
    """Save it under this name, or change it: its owner and admins may."""
    before = _changeable(request, name, who, if_match)
    rows = tables_of(request).queries
    owned = [it for _, row in rows.items() if (it := saved.read(row)) and it.owner == who.identity]
    if before is None and len(owned) >= _OF_A_PERSON_MAX:
        raise Problem(409, "too-many", f"{who.name} has {_OF_A_PERSON_MAX} saved queries: delete some")
    wanted = Saved(
        call=given.call,
        parameters={key: [value] if isinstance(value, str) else value for key, value in given.parameters.items()},
        places=given.places,
        title=given.title,
        about=given.about,
        owner=before.owner if before else who.identity,
        by=before.by if before else who.name,
        tenant=who.tenant,
        shared=given.shared,
        at_ms=time.time_ns() // 1_000_000,
    )
    if unknown := given.places.keys() - wanted.names():
        raise bad_parameter("places", f"no parameter has the place {{{min(unknown)}}}")
    return await _write(request, name, before, saved.write(wanted))


@router.delete("/v1/queries/{name}", summary="Delete a saved query", status_code=204)
async def delete_query(request: Request, name: _Name, who: _Who, if_match: IfMatch = None) -> Response:
    """Its owner and admins may."""
    before = _changeable(request, name, who, if_match)
    if before is None:
        raise _unknown(name)
    return await _write(request, name, before, None)


@router.get(
    "/v1/queries/{name}/run",
    summary="Run a saved query",
    status_code=307,
    response_class=RedirectResponse,
    responses={307: {"description": "To the call, with its parameters: `curl -L` follows."}},
)
async def run_query(request: Request, name: _Name, who: _Who) -> Response:
    """Leads to the call that was saved, with the places filled in: each by a parameter of its name, `?user=usr_006aab`.

    It is run on behalf of whoever asks, with what they may see, whoever saved it.
    """
    found = _seen(request, name, who)
    given: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if key not in found.names():
            raise bad_parameter(
                key[:40], f"{name} has no such place; it asks for {', '.join(sorted(found.names())) or 'none'}"
            )
        if key in given:
            raise bad_parameter(key, "is given twice")
        if len(value) > _VALUE_CHARS_MAX:
            raise bad_parameter(key, f"has more than {_VALUE_CHARS_MAX} characters")
        given[key] = value
    try:
        location = f"/v1/{found.call}?{urlencode(found.filled(given))}"
    except KeyError as missing:
        raise bad_parameter(str(missing.args[0]), f"{name} asks for it: add ?{missing.args[0]}=…") from None
    except TooLongError:
        raise _too_long(name) from None
    if len(location) > _URL_CHARS_MAX:
        raise _too_long(name)
    note(request, saved=name)
    headers = {"Location": location, "Cache-Control": "private, no-store"}
    return Response(status_code=307, headers=headers)


def _told(name: str, it: Saved) -> dict[str, Any]:
    return {
        "name": name,
        "call": it.call,
        "parameters": {key: values[0] if len(values) == 1 else values for key, values in it.parameters.items()},
        "places": it.places,
        "title": it.title,
        "about": it.about,
        "shared": it.shared,
        "owner": it.by,
        "savedAt": show_ms(it.at_ms),
        "asksFor": sorted(it.names()),
    }


def _etag(it: Saved) -> str:
    return f'"{it.version}"'


def _unknown(name: str) -> Problem:
    return Problem(404, "not-found", f"there is no saved query {name} that you may see; /v1/queries lists them")


def _too_long(name: str) -> Problem:
    detail = f"with its places filled in, {name} is longer than a URL may be ({_URL_CHARS_MAX} characters): give less"
    return Problem(422, "too-large", detail)


def _seen(request: Request, name: str, who: Principal) -> Saved:
    found = saved.read(tables_of(request).queries.get(name))
    if found is None or not found.is_seen_by(who):
        raise _unknown(name)
    return found


def _changeable(request: Request, name: str, who: Principal, if_match: str | None) -> Saved | None:
    """Return what there is under this name. Raises Problem if it is somebody else's, or not what the caller saw."""
    found = saved.read(tables_of(request).queries.get(name))
    if found is not None and not found.is_changed_by(who):
        if not found.is_seen_by(who):
            raise Problem(409, "name-taken", f"{name} is the name of somebody else's query: take another")
        raise Problem(403, "forbidden", f"{name} is {found.by}'s: save yours under another name")
    expected_version(if_match, _etag(found) if found else "", exists=found is not None)
    return found


async def _write(request: Request, name: str, before: Saved | None, value: bytes | None) -> Response:
    rows = tables_of(request).queries
    note(request, saved=name)
    try:
        row = await rows.put(name, value, expected=before.version if before else None)
    except ConflictError:
        raise changed_meanwhile() from None
    after = saved.read(row)
    return tagged(request, _told(name, after), _etag(after)) if after else Response(status_code=204)
