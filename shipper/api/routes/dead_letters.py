"""`/v1/dead-letters`: what Loki can never take, looked at and put back, for operators of the whole installation."""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shipper.api.access import note, require
from shipper.api.answers import answer
from shipper.api.principal import Principal, Role
from shipper.api.problems import RETRY_AFTER_S, Problem, bad_parameter
from shipper.api.scope import of_all
from shipper.errors import KafkaUnavailableError
from shipper.kafka.letters import Letter, LettersReader, Place
from shipper.kafka.redrive import RedriveEndedError
from shipper.logs import log
from shipper.moments import moment_ns
from shipper.records import Reason
from shipper.settings import Settings
from shipper.tools import letter_fields, redrive
from shipper.tools.dead_letters import Index, Known, Wanted, fetch, survey

_MS: Final = 1_000_000
_LIMIT_MAX: Final = 1_000
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="dead-letters")  # each reads the whole topic
_T = TypeVar("_T")
_Text = Annotated[str, Field(min_length=1, max_length=300)]


async def _operator(request: Request, who: Annotated[Principal, Depends(require(Role.OPERATOR))]) -> None:
    """Refuse those who may not see all of it: a letter is bytes, and nobody can tell whose."""
    of_all(request, who)


router = APIRouter(tags=["Dead letters"], dependencies=[Depends(_operator)])


class Which(BaseModel):
    """Which letters are meant; all conditions hold."""

    model_config = ConfigDict(extra="forbid")

    reason: list[Reason] = Field([], max_length=20, description="Dead-lettered for one of these reasons.")
    topic: list[_Text] = Field([], max_length=20, description="Of records that were in one of these topics.")
    partition: list[Annotated[int, Field(ge=0, le=100_000)]] = Field([], max_length=100)
    from_: str | None = Field(
        None, alias="from", max_length=40, description="Dead-lettered then or later: RFC 3339, `2h`."
    )
    to: str | None = Field(None, max_length=40, description="Dead-lettered before.")
    contains: str = Field("", max_length=300, description="With this text in the value.")

    def wanted(self) -> Wanted:
        """Return the filters. Raises Problem."""
        return Wanted(
            reasons=frozenset(one.value for one in self.reason),
            topics=frozenset(self.topic),
            partitions=frozenset(self.partition),
            since_ms=_ms("from", self.from_),
            until_ms=_ms("to", self.to),
            contains=self.contains.encode("utf-8", "surrogateescape"),
        )


class Listing(Which):
    """What `GET /v1/dead-letters` takes."""

    limit: int = Field(100, ge=1, le=_LIMIT_MAX, description="So many at most, the earliest first.")
    all: bool = Field(False, description="Those that were put back, too.")  # noqa: FBT003 - pydantic's default


class Errand(Which):
    """What is to be put back: letters by where their records were, or by conditions."""

    places: list[_Text] = Field([], max_length=_LIMIT_MAX, examples=[["logs/3/47201"]])
    limit: int = Field(_LIMIT_MAX, ge=1, le=_LIMIT_MAX, description="So many at most, the earliest first.")
    dry_run: bool = Field(True, alias="dryRun", description="Only say what would be done.")  # noqa: FBT003 - as above


class LettersTold(BaseModel):
    """Dead letters, the earliest first."""

    letters: list[dict[str, Any]]
    total: int = Field(description="How many there are, beyond the limit too.")
    unreadable: int = Field(description="Records of the topic that are no letters of shipper's.")


class LetterTold(BaseModel):
    """All of a letter; several where a topic was made anew."""

    letters: list[dict[str, Any]]


class Redriven(BaseModel):
    """What a redrive did, or would do."""

    model_config = ConfigDict(extra="allow")

    dry_run: bool
    to_put_back: int
    put_back: int


@router.get("/v1/dead-letters", summary="Dead letters", response_model=LettersTold)
async def list_letters(request: Request, asked: Annotated[Listing, Query()]) -> Response:
    """Those that wait, the earliest first; one that a crash wrote twice is one."""
    wanted = asked.wanted()
    index = await _in_thread(lambda: _survey(_settings(request), wanted))
    letters = [known for known in index.letters() if asked.all or known.marker is None]
    shown = letters[: asked.limit]
    note(request, lines=len(shown), asked=asked.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return answer(
        request,
        {
            "letters": [letter_fields.fields(known) for known in shown],
            "total": len(letters),
            "unreadable": index.unreadable,
        },
    )


@router.get("/v1/dead-letters/{topic}/{partition}/{offset}", summary="All of one letter", response_model=LetterTold)
async def show_letter(
    request: Request,
    topic: Annotated[str, Path(max_length=249)],
    partition: Annotated[int, Path(ge=0, le=100_000)],
    offset: Annotated[int, Path(ge=0, le=2**63 - 1)],
) -> Response:
    """Key, value and headers as they were, and what became of it."""
    place = Place(topic, partition, offset)
    found = await _in_thread(lambda: _fetch(_settings(request), Wanted(places=frozenset({place}))))
    if not found:
        raise Problem(404, "not-found", f"there is no dead letter of {place}")
    note(request, lines=len(found))
    return answer(request, {"letters": [letter_fields.all_fields(known, letter) for known, letter in found]})


@router.post("/v1/dead-letters/redrive", summary="Put records of dead letters back", response_model=Redriven)
async def redrive_letters(request: Request, errand: Errand) -> Response:
    """Put records back into the topics that they came from, exactly once each; by default only say which.

    Mend the cause first: a record that Loki still cannot take becomes a letter again.
    """
    wanted = errand.wanted()
    if errand.places:
        wanted = dataclasses.replace(wanted, places=frozenset(map(_place, errand.places)))
    settings, now_ms = _settings(request), time.time_ns() // _MS
    note(request, asked=errand.model_dump(mode="json", by_alias=True, exclude_defaults=True), dryRun=errand.dry_run)

    def look() -> tuple[redrive.Plan, redrive.Outcome]:
        planned = redrive.plan(settings, wanted, limit=errand.limit, now_ms=now_ms)
        return planned, redrive.Outcome(redriven=planned.redriven, failed=list(planned.hindered))

    planned, outcome = await _in_thread(look)
    note(request, planned=len(planned.letters))
    if planned.missing:
        raise bad_parameter("places", f"there is no dead letter of {planned.missing[0]}", 404)
    if planned.letters and not errand.dry_run:
        try:
            await _in_thread(lambda: redrive.carry_out(settings, planned, outcome))
        finally:
            note(request, lines=outcome.put_back.total())
    return answer(request, letter_fields.of_redrive(planned, outcome, dry_run=errand.dry_run))


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.service.settings
    return settings


def _survey(settings: Settings, wanted: Wanted) -> Index:
    with LettersReader(settings) as reader:
        return survey(reader, reader.ends(), wanted)


def _fetch(settings: Settings, wanted: Wanted) -> list[tuple[Known, Letter]]:
    with LettersReader(settings) as reader:
        by_origin = {known.origin: known for known in survey(reader, reader.ends(), wanted).letters()}
        return [(by_origin[letter.origin], letter) for letter in fetch(reader, by_origin.values())]


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Do what asks Kafka on a thread; two at once, since each reads the whole topic. Raises Problem."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, work)
    except RedriveEndedError as error:
        raise Problem(409, "redrive-ended", str(error)) from error
    except KafkaUnavailableError as error:
        log("warn", "The dead letter topic could not be read or written", error=str(error))
        raise Problem(
            503,
            "kafka-away",
            "Kafka does not answer, or refuses it; the log of the log API says why",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        ) from error


def _place(text: str) -> Place:
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise bad_parameter("places", f"{text[:100]!r} is no place of a record: give topic/partition/offset")
    return Place(topic, int(partition), int(offset))


def _ms(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return moment_ns(text, time.time_ns()) // _MS
    except (ValueError, OverflowError):
        raise bad_parameter(name, f"{text!r} is no time: give RFC 3339, or how long ago, as 15m, 2h, 7d") from None
