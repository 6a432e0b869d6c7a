"""`/v1/levels`: what loggers of running services write, changed for a while and without a restart."""

import re
import time
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from shipper.api import levels
from shipper.api.access import note, require
from shipper.api.answers import answer
from shipper.api.levels import MS, Level, ServiceLevels, Setting
from shipper.api.principal import Principal, Role
from shipper.api.problems import Problem, bad_parameter
from shipper.api.scope import may_see_service, of_installation
from shipper.api.tables import ConflictError, Stored, tables_of
from shipper.api.versions import IfMatch, changed_meanwhile, expected_version, not_modified, tagged, wait_s
from shipper.moments import duration_ns, moment_ns, rfc3339

router = APIRouter(tags=["Levels"])

_LOGGERS_MAX: Final = 50
_FOR_MAX_MS: Final = 30 * 86_400_000
_TRIES: Final = 10
_LOGGER: Final = r"^(\*|[A-Za-z0-9_$@:<>-]+(\.[A-Za-z0-9_$@:<>-]+)*)$"

ServiceName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, examples=["chat-service"])]
LoggerName = Annotated[
    str,
    Path(pattern=_LOGGER, max_length=200, description="`*`: all without a level of their own.", examples=["app.db"]),
]
Reader = Annotated[Principal, Depends(require(Role.SERVICE))]
Operator = Annotated[Principal, Depends(require(Role.OPERATOR))]


class Term(BaseModel):
    """For how long, and why."""

    model_config = ConfigDict(extra="forbid")

    for_: str | None = Field(None, alias="for", max_length=20, description="So long: `15m`, `2h`.", examples=["15m"])
    expires_at: str | None = Field(None, alias="expiresAt", max_length=40, description="Until then; in place of `for`.")
    why: str = Field(min_length=1, max_length=500, examples=["messages are lost in room-375"])

    @model_validator(mode="after")
    def _has_an_end(self) -> "Term":
        if (self.for_ is None) == (self.expires_at is None):
            raise ValueError("give `for` or `expiresAt`: a level ends by itself")
        return self

    def until_ms(self, now_ms: int) -> int:
        """Return when it is over. Raises Problem."""
        name, text = ("for", self.for_) if self.for_ is not None else ("expiresAt", self.expires_at or "")
        try:
            until_ms = (now_ms + duration_ns(text) // MS) if name == "for" else moment_ns(text, now_ms * MS) // MS
        except (ValueError, OverflowError):
            raise bad_parameter(
                name, f"{text!r} is no time: give `15m` or `2h` as for, RFC 3339 as expiresAt"
            ) from None
        if not now_ms < until_ms <= now_ms + _FOR_MAX_MS:
            raise bad_parameter(name, f"{text!r} is not ahead, or more than 30 days")
        return until_ms


def _loggers(given: dict[str, Level]) -> dict[str, Level]:
    for name in given:
        if not re.fullmatch(_LOGGER, name) or len(name) > 200:  # noqa: PLR2004 - as LoggerName has it
            raise ValueError(f"{name[:50]!r} is no logger: give `*`, or names with dots between")
    return given


class LevelsSet(Term):
    """Levels of a service, in place of those that were set."""

    levels: Annotated[dict[str, Level], AfterValidator(_loggers)] = Field(
        min_length=1, max_length=_LOGGERS_MAX, examples=[{"*": "info", "app.db": "trace"}]
    )


class LevelSet(Term):
    """The level of one logger, and of those below it."""

    level: Level


class LevelTold(BaseModel):
    """One level that is in force."""

    logger: str
    level: Level
    expires_at: str = Field(alias="expiresAt")
    by: str
    why: str
    set_at: str = Field(alias="setAt")


class LevelsTold(BaseModel):
    """The levels of a service that are in force; the libraries read `levels` and `expiresAt`."""

    service: str
    levels: dict[str, Level] = Field(examples=[{"*": "debug", "app.db": "trace"}])
    expires_at: str | None = Field(alias="expiresAt", description="When the first of them is over.")
    set: list[LevelTold]


class AllLevels(BaseModel):
    """Every service that has levels set."""

    services: list[LevelsTold]


class LevelInForce(BaseModel):
    """What is set for one logger: by its own name, or by the nearest one above."""

    service: str
    logger: str
    level: Level | None = Field(description="null: nothing is set, and what the service is configured with counts.")
    decided_by: LevelTold | None = Field(alias="decidedBy")


def _now_ms() -> int:
    return time.time_ns() // MS


@router.get("/v1/levels", summary="All levels that are set", response_model=AllLevels)
async def all_levels(request: Request, who: Reader) -> Response:
    """Of every service that the caller may see, what is set, until when, by whom and why."""
    of_installation(request, who)
    now_ms = _now_ms()
    stored = ((service, levels.read(row).in_force(now_ms)) for service, row in tables_of(request).levels.items())
    found = [levels.document(name, of) for name, of in stored if of and may_see_service(who, name)]
    return answer(request, {"services": found})


@router.get("/v1/levels/{service}", summary="The levels of a service", response_model=LevelsTold)
async def service_levels(
    request: Request,
    service: ServiceName,
    who: Reader,
    *,
    wait: Annotated[
        float | None,
        Query(ge=0, le=30, description="Wait so many seconds for another answer than `If-None-Match` names."),
    ] = None,
    prefer: Annotated[str, Header(description="`wait=20` says the same.", max_length=200)] = "",
) -> Response:
    """What the logging libraries ask every two seconds. 404: nothing is set, and what is configured counts."""
    _see(request, who, service)
    patience_s, applied = wait_s(wait, prefer)
    deadline = time.monotonic() + patience_s
    stored = tables_of(request).levels
    while True:
        upcoming, now_ms = stored.next_change, _now_ms()
        of = levels.read(stored.get(service))
        found, etag = of.in_force(now_ms), of.etag(now_ms)
        known = not_modified(request, etag) or (not found and "if-none-match" not in request.headers)
        left_s = deadline - time.monotonic()
        ends_s = min((one.until_ms - now_ms for one in found.values()), default=_FOR_MAX_MS) / 1_000
        if not known or left_s <= 0 or not await stored.wait(upcoming, min(left_s, ends_s)):
            break
    if not found:
        raise Problem(404, "not-found", f"no level is set for {service}: what it is configured with counts")
    return tagged(request, levels.document(service, found), etag, applied)


@router.get("/v1/levels/{service}/{logger}", summary="What is set for one logger", response_model=LevelInForce)
async def logger_level(request: Request, service: ServiceName, logger: LoggerName, who: Reader) -> Response:
    """The level that counts for a logger: its own, or that of the nearest logger above it."""
    _see(request, who, service)
    found = levels.read(tables_of(request).levels.get(service)).in_force(_now_ms())
    name = levels.deciding(found, logger)
    decided = levels.told(name, found[name]) if name else None
    level = decided["level"] if decided else None
    return answer(request, {"service": service, "logger": logger, "level": level, "decidedBy": decided})


@router.put("/v1/levels/{service}", summary="Set the levels of a service", response_model=LevelsTold)
async def set_levels(
    request: Request, service: ServiceName, given: LevelsSet, who: Operator, if_match: IfMatch = None
) -> Response:
    """Set levels for a while, in place of all that were set; in force in the service within seconds."""
    now_ms = _now_ms()
    until_ms = given.until_ms(now_ms)
    wanted = {name: Setting(level, until_ms, who.name, given.why, now_ms) for name, level in given.levels.items()}
    return await _change(request, service, who, if_match, wanted, replace=True)


@router.put("/v1/levels/{service}/{logger}", summary="Set the level of one logger", response_model=LevelsTold)
async def set_level(
    request: Request,
    service: ServiceName,
    logger: LoggerName,
    given: LevelSet,
    who: Operator,
    *,
    if_match: IfMatch = None,
) -> Response:
    """Set the level of a logger, and of those below it, for a while; what is set for others stays."""
    now_ms = _now_ms()
    one = Setting(given.level, given.until_ms(now_ms), who.name, given.why, now_ms)
    return await _change(request, service, who, if_match, {logger: one})


@router.delete("/v1/levels/{service}", summary="Take back the levels of a service", status_code=204)
async def delete_levels(request: Request, service: ServiceName, who: Operator, if_match: IfMatch = None) -> Response:
    """Take all of them back: what the service is configured with counts again."""
    return await _change(request, service, who, if_match, {}, replace=True)


@router.delete("/v1/levels/{service}/{logger}", summary="Take back the level of one logger", status_code=204)
async def delete_level(
    request: Request, service: ServiceName, logger: LoggerName, who: Operator, *, if_match: IfMatch = None
) -> Response:
    """Take it back; what is set for others stays."""
    return await _change(request, service, who, if_match, {logger: None})


def _see(request: Request, who: Principal, service: str) -> None:
    if not may_see_service(who, service):
        raise Problem(403, "forbidden", f"this token is not for {service}")
    of_installation(request, who)


async def _change(
    request: Request,
    service: str,
    who: Principal,
    if_match: str | None,
    wanted: Mapping[str, Setting | None],
    *,
    replace: bool = False,
) -> Response:
    """Change the levels of a service, again where somebody else was quicker, unless the caller says what it must be."""
    _see(request, who, service)
    note(request, service=service, change={name: one.level if one else None for name, one in wanted.items()})
    for one in wanted.values():
        if one:
            note(request, until=rfc3339(one.until_ms * MS), why=one.why)
    stored: Stored = tables_of(request).levels
    for _ in range(_TRIES):
        now_ms = _now_ms()
        before = levels.read(stored.get(service))
        expected_version(if_match, before.etag(now_ms), exists=bool(before.in_force(now_ms)))
        of = {name: one for name, one in wanted.items() if one} if replace else before.changed(wanted, now_ms)
        if len(of) > _LOGGERS_MAX:
            raise Problem(422, "bad-parameter", f"{service} has levels for {_LOGGERS_MAX} loggers already")
        try:
            row = await stored.put(service, levels.write(of), expected=before.version or None)
        except ConflictError:
            continue
        after: ServiceLevels = levels.read(row)
        if not after.loggers or request.method == "DELETE":
            return Response(status_code=204)
        found = after.in_force(_now_ms())
        return tagged(request, levels.document(service, found), after.etag(_now_ms()))
    raise changed_meanwhile()
