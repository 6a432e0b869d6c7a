"""The dashboards as Grafana reads them: panels, queries, and variables filled in as Grafana fills them in."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import requests

GRAFANA = Path(__file__).parents[1] / "grafana"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([\w:]+))?\}|\$(\w+)")
_REGEX_CHARS = re.compile(r"[\\^$*+?.()|\[\]{}/]")


@dataclass(frozen=True)
class Asked:
    """A query of a panel.

    Attributes:
        board: uid of the dashboard.
        panel: the panel's title.
        kind: the panel's type.
        ref: A, B, …
        language: loki or prometheus.
        expr: as it stands there.
        instant: asked once at the end of the range, not in steps.
        legend: name of a series.
    """

    board: str
    panel: str
    kind: str
    ref: str
    language: str
    expr: str
    instant: bool
    legend: str

    def __str__(self) -> str:
        return f"{self.board} / {self.panel} / {self.ref}"


@cache
def boards() -> dict[str, dict[str, Any]]:
    """Read what is checked in: uid → dashboard."""
    read = [json.loads(file.read_text()) for file in sorted((GRAFANA / "json").glob("*.json"))]
    return {board["uid"]: board for board in read}


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give a dashboard's panels, without the headings between them."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(uid: str) -> Iterator[Asked]:
    """Give every query of a dashboard."""
    for panel in panels(boards()[uid]):
        for target in panel.get("targets", ()):
            language = target["datasource"]["type"]
            instant = target.get("queryType") == "instant" if language == "loki" else target.get("instant", False)
            yield Asked(
                uid,
                panel["title"],
                panel["type"],
                target["refId"],
                language,
                target["expr"],
                instant,
                target.get("legendFormat", ""),
            )


def find(uid: str, panel: str, ref: str = "A") -> Asked:
    """Find one query."""
    return next(asked for asked in queries(uid) if (asked.panel, asked.ref) == (panel, ref))


def chosen_at_first(uid: str) -> dict[str, str | list[str] | None]:
    """Give the variables as a dashboard opens with them: None stands for All."""
    values: dict[str, str | list[str] | None] = {}
    for variable in boards()[uid]["templating"]["list"]:
        if variable["type"] == "textbox":
            values[variable["name"]] = variable.get("query", "")
        elif variable["type"] == "custom":
            values[variable["name"]] = variable["current"]["value"]
        elif variable["type"] == "query":
            values[variable["name"]] = None
    return values


def filled_in(asked: Asked, chosen: Mapping[str, str | Sequence[str] | None]) -> str:
    """Fill in what people choose, as Grafana's page does; its server fills in `$__auto` and so on.

    Args:
        asked: the query.
        chosen: a sequence for a variable with several, None for All.
    """
    all_of = {it["name"]: it.get("allValue") for it in boards()[asked.board]["templating"]["list"]}

    def fill(found: re.Match[str]) -> str:
        name, form = found[1] or found[3], found[2] or ""
        if name.startswith("__"):
            return found[0]
        value = chosen[name]
        if value is None:
            return str(all_of[name])
        if isinstance(value, str):
            return _escaped(value) if form == "regex" else value
        return "|".join(_escaped(one) for one in value)

    return _VARIABLE.sub(fill, asked.expr)


def with_times(expr: str, asked: Asked, window: "Window", *, scrape_s: int = 1) -> str:
    """Fill in what Grafana's server does: `$__auto` is the range for an instant query, else the step."""
    rate_s = max(4 * scrape_s, window.step_s + scrape_s)
    built_in = {
        "$__auto": f"{window.range_s if asked.instant else window.step_s}s",
        "$__range_s": str(window.range_s),
        "$__range": f"{window.range_s}s",
        "$__rate_interval": f"{rate_s}s",
    }
    for name, text in built_in.items():
        expr = expr.replace(name, text)
    return expr


def _escaped(value: str) -> str:
    return _REGEX_CHARS.sub(r"\\\g<0>", value)


@dataclass(frozen=True)
class Window:
    """A time range, and the step of its curves, as a panel of some width has it."""

    start_s: int
    end_s: int
    step_s: int

    @property
    def range_s(self) -> int:
        """How long it is."""
        return self.end_s - self.start_s


class Series(NamedTuple):
    """What came back of one series: its labels; numbers with their times, or lines with theirs (nanoseconds)."""

    labels: dict[str, str]
    values: list[tuple[float, float]]
    lines: list[str]


class Servers(NamedTuple):
    """Where Loki and Prometheus answer."""

    loki_url: str
    prometheus_url: str

    def ask(self, asked: Asked, window: Window, **chosen: str | Sequence[str] | None) -> list[Series]:
        """Ask a panel's query as Grafana would, these variables chosen, the others as the dashboard opens with them.

        Raises: AssertionError with the server's words if it does not answer, or not in the form that the panel needs.
        """
        expr = with_times(filled_in(asked, chosen_at_first(asked.board) | chosen), asked, window)
        at: dict[str, int] = {"time": window.end_s} if asked.instant else {"start": window.start_s, "end": window.end_s}
        if not asked.instant and asked.kind != "logs":
            at["step"] = window.step_s
        base = f"{self.loki_url}/loki/api/v1" if asked.language == "loki" else f"{self.prometheus_url}/api/v1"
        path = f"{base}/query" if asked.instant else f"{base}/query_range"
        answer = requests.get(path, params={"query": expr} | {name: str(it) for name, it in at.items()}, timeout=60)
        assert answer.ok, f"{asked}: {answer.text}\n{expr}"
        data = answer.json()["data"]
        form = "vector" if asked.instant else "streams" if asked.kind == "logs" else "matrix"
        assert data["resultType"] == form, asked
        return [_series(one, form) for one in data["result"]]

    def values_of(self, variable: Mapping[str, Any], window: Window) -> set[str]:
        """Ask for what can be chosen, as Grafana would."""
        query = variable["query"]
        if variable["datasource"]["type"] == "loki":
            base, label = f"{self.loki_url}/loki/api/v1", query["label"]
            chosen = {"query": query["stream"]} if query["stream"] else {}
        else:
            base = f"{self.prometheus_url}/api/v1"
            metric, label = query["query"].removeprefix("label_values(").removesuffix(")").split(", ")
            chosen = {"match[]": metric}
        times = {"start": str(window.start_s), "end": str(window.end_s)}
        answer = requests.get(f"{base}/label/{label}/values", params=chosen | times, timeout=60)
        assert answer.ok, answer.text
        return set(answer.json()["data"])


def _series(one: Mapping[str, Any], form: str) -> Series:
    if form == "streams":
        return Series(one["stream"], [], [line for _, line in one["values"]])
    pairs = [one["value"]] if form == "vector" else one["values"]
    return Series(one["metric"], [(float(at), float(number)) for at, number in pairs], [])
