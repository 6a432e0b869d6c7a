"""The dashboards as they are checked in: what Grafana accepts, and what a person needs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from examples.chat import SERVICES
from grafana.dashboards.__main__ import BOARDS, write
from grafana.dashboards.names import LEVEL_COLOURS, OUTCOME_COLOURS
from panels import GRAFANA, Asked, boards, panels, queries
from shipper.process.metrics import METRICS

SOURCES = {"${loki}", "${prometheus}"}
EVERY_BOARD = pytest.mark.parametrize("uid", boards())


def within(value: object, key: str) -> Iterator[Any]:
    """Give whatever stands under this key, however deep."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from within(one, key)


def of(uid: str, language: str) -> list[Asked]:
    """Give a dashboard's queries in this language."""
    return [asked for asked in queries(uid) if asked.language == language]


def test_what_is_checked_in_is_what_the_sources_write(tmp_path: Path) -> None:
    write(tmp_path)
    wanted = {file.name: file.read_text() for file in tmp_path.iterdir()}
    found = {file.name: file.read_text() for file in (GRAFANA / "json").iterdir()}
    assert sorted(found) == sorted(wanted)
    different = [name for name in wanted if found[name] != wanted[name]]
    assert not different, f"`make dashboards` writes them otherwise: {different}"


def test_there_is_a_dashboard_for_everything_that_people_look_at() -> None:
    services = {f"service-{name}-service" for name in ("auth", "user", "chat", "notification")}
    wanted = {"overview", "explorer", "shipper", "loki", "noise", "service-api-gateway"}
    assert set(boards()) == services | wanted
    assert [board.uid for board in BOARDS] == list(dict.fromkeys(board.uid for board in BOARDS))


@EVERY_BOARD
def test_a_dashboard_has_nothing_that_grafanas_schema_does_not_know(uid: str) -> None:
    read = Dashboard.from_json(boards()[uid])
    for link in read.links or ():
        link.placement = ""  # it reads no other than the menu's
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == boards()[uid]


@EVERY_BOARD
def test_a_dashboard_is_read_only_has_a_purpose_and_looks_again_by_itself(uid: str) -> None:
    board = boards()[uid]
    assert board["description"].endswith("?") or "." in board["description"]
    assert not board["editable"]
    assert board["refresh"]
    assert board["time"]["to"] == "now"
    assert "logs" in board["tags"]


@EVERY_BOARD
def test_panels_have_numbers_and_titles_of_their_own_and_do_not_overlap(uid: str) -> None:
    placed: set[tuple[int, int]] = set()
    for panel in boards()[uid]["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at.get("x", 0), at.get("x", 0) + at["w"])
            for y in range(at.get("y", 0), at.get("y", 0) + at["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & placed, panel["title"]
        placed |= cells
    for name in ("id", "title"):
        names = [panel[name] for panel in panels(boards()[uid])]
        assert len(set(names)) == len(names), names


@EVERY_BOARD
def test_a_panel_has_a_unit_and_says_what_to_do_when_it_is_bad(uid: str) -> None:
    for panel in panels(boards()[uid]):
        assert panel["title"]
        if panel["type"] == "text":
            continue
        shows, _, bad = panel["description"].partition("**When it is bad:** ")
        assert len(shows.strip()) > 10, panel["title"]
        assert len(bad) > 10, panel["title"]
        assert panel["type"] == "logs" or panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@EVERY_BOARD
def test_colours_mean_something_and_a_number_says_from_where_on(uid: str) -> None:
    for panel in panels(boards()[uid]):
        for thresholds in within(panel, "thresholds"):
            colours = [step["color"] for step in thresholds["steps"]]
            limits = [step["value"] for step in thresholds["steps"]]
            assert limits[0] is None
            assert limits[1:] == sorted(limits[1:]), panel["title"]
            assert colours == ["blue"] or {"green", "red"} <= set(colours), panel["title"]
        if panel["type"] == "stat" and len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1:
            assert re.search(r"\b[Rr]ed\b|but 0 is", panel["description"]), panel["title"]


def test_a_level_and_an_outcome_have_one_colour_everywhere() -> None:
    seen: dict[str, set[str]] = {}
    for board in boards().values():
        for override in within(board, "overrides"):
            for one in override:
                name = one["matcher"]["options"].removeprefix("/^(.* )?").removesuffix("$/")
                for value in one["properties"]:
                    if value["id"] == "color":
                        seen.setdefault(name, set()).add(value["value"]["fixedColor"])
                    if value["id"] == "mappings" and name in {"level", "outcome"}:
                        for text, told in value["value"][0]["options"].items():
                            seen.setdefault(text, set()).add(told["color"])
    assert seen == {name: {colour} for name, colour in {**LEVEL_COLOURS, **OUTCOME_COLOURS}.items()}
    assert len(set(LEVEL_COLOURS.values())) == len(LEVEL_COLOURS)


@EVERY_BOARD
def test_no_data_source_is_named_but_by_its_variable(uid: str) -> None:
    board = boards()[uid]
    found = {source["uid"] for source in within(board["panels"], "datasource")}
    found |= {source["uid"] for source in within(board["templating"], "datasource")}
    assert found
    assert found <= SOURCES
    kinds = {it["name"]: it["query"] for it in board["templating"]["list"] if it["type"] == "datasource"}
    assert kinds == {"loki": "loki", "prometheus": "prometheus"}


@EVERY_BOARD
def test_every_variable_is_there_and_is_used(uid: str) -> None:
    board = boards()[uid]
    there = {it["name"] for it in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["templating"]])
    used = {name for pair in re.findall(r"\$\{(\w+)|\$(\w+)", text) for name in pair if name}
    used = {name for name in used if not name.startswith("__")}
    assert used - there == set()
    assert there - used <= {"loki", "prometheus"}


@EVERY_BOARD
def test_a_query_of_lines_reads_no_more_than_it_must(uid: str) -> None:
    for asked in of(uid, "loki"):
        selector = re.match(r"[^{]*(\{[^}]*\})", asked.expr)
        assert selector, asked
        assert "service=" in selector[1], f"{asked}: Loki wants a matcher that cannot match the empty text"
        assert not re.search(r"\|~|!~", asked.expr), f"{asked}: a search by expression"
        for expression in re.findall(r'=~ ?["`]([^"`]*)["`]', asked.expr):
            bounded = re.fullmatch(r"\$\w+|[a-z|]+|\$\{\w+:regex\}(\.\*|\$\{request_end:raw\})", expression)
            assert bounded, f"{asked}: {expression} has no bound"
        if "unwrap" in asked.expr:
            assert "|=" in asked.expr[: asked.expr.index("| json")], f"{asked}: the text filter comes first"


@EVERY_BOARD
def test_a_range_is_the_steps_own(uid: str) -> None:
    for asked in of(uid, "loki"):
        ranges = re.findall(r" \[([^\]]+)\]\)", asked.expr)
        assert set(ranges) <= {"$__auto"}, asked
        assert bool(ranges) == (asked.kind != "logs"), asked
    for asked in of(uid, "prometheus"):
        assert set(re.findall(r"\[([^\]]+)\]", asked.expr)) <= {"$__rate_interval", "$__range"}, asked


@EVERY_BOARD
def test_one_strange_line_fails_no_query(uid: str) -> None:
    """Whatever can fail for a line is followed by what leaves that line out, or its error."""
    for asked in of(uid, "loki"):
        left_out = "__error__=``" in asked.expr or "drop __error__" in asked.expr
        assert left_out or "| json" not in asked.expr or asked.kind == "logs", asked
        # Loki takes the texts NaN and Infinity for numbers: what has bounds on both sides is neither.
        rest = re.sub(r"\| (\w+) >= \d+ and \1 < \d+ \| __error__=``( \| unwrap \1 )?", "", asked.expr)
        assert not re.search(r"unwrap|\| \w+ [<>]", rest), f"{asked}: a number without bounds, or what fails is left in"


@EVERY_BOARD
def test_a_metric_of_the_shipper_is_one_that_it_has_with_these_labels(uid: str) -> None:
    known = {metric.name: set(metric.labels) for metric in METRICS}
    for histogram in [metric.name for metric in METRICS if metric.kind == "histogram"]:
        known[f"{histogram}_bucket"] = known[histogram] | {"le"}
    for asked in of(uid, "prometheus"):
        for name, matchers in re.findall(r"(shipper_\w+)(?:\{([^}]*)\})?", asked.expr):
            assert name in known, asked
            assert set(re.findall(r"(\w+)=", matchers)) - {"instance"} <= known[name], asked


@EVERY_BOARD
def test_every_link_leads_to_a_dashboard_that_is_there_with_variables_that_it_has(uid: str) -> None:
    text = json.dumps(boards()[uid])
    for link in re.findall(r"/d/([^\"\s)]+)", text):
        target, _, query = link.partition("?")
        leads = [f"service-{it}" for it in SERVICES] if target == "service-${__data.fields.service}" else [target]
        assert set(leads) <= boards().keys(), target
        for variable in re.findall(r"var-(\w+)=", query):
            assert all(variable in _variables(it) for it in leads), link
        text_ = re.search(r"var-text=([^&]*)", query)
        # A text that stands alone is found in others' values, too: 203.0.113.1 in 203.0.113.10.
        assert not text_ or re.fullmatch(r"\w+|%22\w+%22%3A.*", text_[1]), link


def _variables(uid: str) -> set[str]:
    return {it["name"] for it in boards()[uid]["templating"]["list"]}


def test_links_lead_from_the_overview_to_a_service_to_its_lines_to_a_request() -> None:
    def leads(uid: str) -> set[str]:
        return set(re.findall(r"/d/([\w-]+)", json.dumps(boards()[uid])))

    assert {"service-", "explorer"} <= leads("overview")
    assert all("explorer" in leads(uid) for uid in boards() if uid.startswith("service-"))
    assert "var-request_id=${__data.fields.request}" in json.dumps(boards()["explorer"])
    for board in boards().values():
        assert {tag for link in board["links"] for tag in link["tags"]} == {"logs", "logs-service"}


def test_every_dashboard_is_explained() -> None:
    explained = (GRAFANA.parent / "docs" / "dashboards.md").read_text()
    assert [board["title"] for board in boards().values() if board["title"] not in explained] == []
    known = {it["title"] for board in boards().values() for it in board["panels"]}
    known |= {"When it is bad", *(link["title"] for board in boards().values() for link in _links(board))}
    assert set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", explained)) <= known
    assert "Everything that this request did" in (GRAFANA / "provisioning/datasources/logs.yaml").read_text()


def _links(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [link for it in within(board["panels"], "value") if isinstance(it, list) for link in it if "url" in link]


def test_provisioning_names_the_data_sources_and_where_the_dashboards_lie() -> None:
    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / name / "logs.yaml").read_text())
        assert found["apiVersion"] == 1
        return found

    sources = {source["uid"]: source for source in read("datasources")["datasources"]}
    assert {uid: (source["type"], source["editable"]) for uid, source in sources.items()} == {
        "loki": ("loki", False),
        "prometheus": ("prometheus", False),
    }
    [derived] = sources["loki"]["jsonData"]["derivedFields"]
    # Grafana fills in variables of its environment: a `$` that it must leave alone is doubled.
    assert derived["url"].replace("$$", "").count("$") == 0
    assert "/d/explorer?" in derived["url"]
    assert derived["matcherRegex"] == "request_id"
    # As in the explorer's own link; and in the Loki that has the line.
    own = re.search(r"request}(&var-request_end=\S+)\"", json.dumps(boards()["explorer"]))
    assert own
    assert derived["url"].endswith(f"&var-loki=loki&var-request_id=$${{__value.raw}}{own[1]}")
    [provider] = read("dashboards")["providers"]
    assert provider["options"]["path"] == "${LOGS_DASHBOARDS}"
    assert not provider["allowUiUpdates"]
    assert not provider["disableDeletion"], "what is removed from the code stays in Grafana"
