"""One request across services, from its lines: in order, with durations and the first error; and as text. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from shipper.api.entries import shown
from shipper.api.record import Record, record_of
from shipper.api.scope import LEVELS
from shipper.api.walk import Numbered

_NS_PER_MS = 10**6
_SERIOUS = LEVELS.index("error")
_MESSAGE_WIDTH = 100


class Step(msgspec.Struct):
    """A line of the request.

    Attributes:
        offset_ms: since the first line.
        record: what it says.
        line: the whole of it, as JSON shows it.
    """

    offset_ms: float
    record: Record
    line: dict[str, Any]

    @property
    def is_error(self) -> bool:
        """Whether it is an error or worse."""
        return self.record.level in LEVELS[_SERIOUS:]


class Trace(msgspec.Struct):
    """All lines of a request, in order.

    Attributes:
        request_id: which one.
        steps: one or more.
        complete: whether there are no more.
    """

    request_id: str
    steps: list[Step]
    complete: bool

    @property
    def first_error(self) -> Step | None:
        """The first line that is an error."""
        return next((step for step in self.steps if step.is_error), None)


def trace_of(request_id: str, lines: Sequence[Numbered], *, complete: bool) -> Trace:
    """Return the trace of a request from its lines, oldest first, at least one."""
    start_ns = lines[0][0].timestamp_ns
    steps = [
        Step((entry.timestamp_ns - start_ns) / _NS_PER_MS, record_of(entry), shown(entry, key)) for entry, key in lines
    ]
    return Trace(request_id, steps, complete)


def document(trace: Trace) -> dict[str, Any]:
    """Return the trace as JSON shows it."""
    error = trace.first_error
    return {
        "requestId": trace.request_id,
        "from": trace.steps[0].line["timestamp"],
        "to": trace.steps[-1].line["timestamp"],
        "durationMs": trace.steps[-1].offset_ms,
        "complete": trace.complete,
        "services": _services(trace),
        "firstError": _step(error) if error else None,
        "steps": [_step(step) for step in trace.steps],
    }


def text(trace: Trace) -> str:
    """Return the trace for a terminal: a line each, with control characters taken out."""
    services, error = _services(trace), trace.first_error
    width = max(len(service["name"]) for service in services)
    offsets = max(len(f"{step.offset_ms:.1f}") for step in trace.steps)
    duration_ms = trace.steps[-1].offset_ms
    head = f"request {trace.request_id}: {len(trace.steps)} lines of {len(services)} services in {duration_ms:.1f} ms"
    rows = [_plain(head), f"from {trace.steps[0].line['timestamp']}"]
    if error:
        rows.append(_plain(f"first error after {error.offset_ms:.1f} ms, in {error.record.service}: {_said(error)}"))
    if not trace.complete:
        rows.append("there are more lines than are shown")
    rows.append("")
    for step in trace.steps:
        mark = ">" if step is error else " "
        took = "" if step.record.duration_ms is None else f"  [{step.record.duration_ms:g} ms]"
        row = f"{mark} {step.offset_ms:>{offsets}.1f} ms  {step.record.level:<5}  {step.record.service:<{width}}  "
        rows.append(_plain(row + _said(step) + took))
    rows.append("")
    for one in services:
        row = f"  {one['name']:<{width}}  {one['lines']:>5} lines  {one['durationMs']:>10.1f} ms"
        rows.append(_plain(f"{row}  {one['errors']} errors"))
    return "\n".join(rows) + "\n"


def _services(trace: Trace) -> list[dict[str, Any]]:
    """Return what each service had to do with it, in order of their first lines."""
    steps: dict[str, list[Step]] = {}
    for step in trace.steps:
        steps.setdefault(step.record.service, []).append(step)
    return [
        {
            "name": name,
            "lines": len(own),
            "offsetMs": own[0].offset_ms,
            "durationMs": round(own[-1].offset_ms - own[0].offset_ms, 6),
            "errors": sum(step.is_error for step in own),
        }
        for name, own in steps.items()
    ]


def _step(step: Step) -> dict[str, Any]:
    record = step.record
    return {
        "offsetMs": step.offset_ms,
        "service": record.service,
        "level": record.level,
        "message": record.message,
        "durationMs": record.duration_ms,
        "error": record.error or None,
        **step.line,
    }


def _said(step: Step) -> str:
    record = step.record
    message = record.message if len(record.message) <= _MESSAGE_WIDTH else record.message[: _MESSAGE_WIDTH - 1] + "…"
    return f"{message} ({record.error})" if record.error else message


def _plain(row: str) -> str:
    """Return text that cannot steer a terminal: what a service logs may come from anybody."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in row).rstrip()
