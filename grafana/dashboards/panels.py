"""Panels: each has a unit, a description that says what to do when it is bad, and limits that mean something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import common as make
from grafana_foundation_sdk.builders import logs as logs_panel
from grafana_foundation_sdk.builders import stat, statushistory, table, text, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.text import TextMode

from grafana.dashboards.names import LEVEL_COLOURS, OUTCOME_COLOURS
from grafana.dashboards.queries import LOKI_SOURCE, Query

Panel = stat.Panel | timeseries.Panel | table.Panel | logs_panel.Panel | statushistory.Panel | text.Panel
Coloured = TypeVar("Coloured", stat.Panel, timeseries.Panel, statushistory.Panel)
Described = TypeVar("Described", stat.Panel, timeseries.Panel, table.Panel, logs_panel.Panel, statushistory.Panel)

BAD: Final = "**When it is bad:** "
_GOOD, _WARNING, _BAD, _NEUTRAL = "green", "yellow", "red", "blue"
# Points over the width of a panel: enough to see by, and each costs Loki a reading of its step only.
_POINTS_MAX = 200
_NEWEST_LINES = 100


@dataclass(frozen=True)
class Limits:
    """Where a number begins to be worth a look, and where it is bad; if `bad` is below `warning`, less is worse."""

    warning: float
    bad: float

    @property
    def steps(self) -> list[Threshold]:
        """Colours, from the lowest value on."""
        if self.bad < self.warning:
            return [Threshold(None, _BAD), Threshold(self.bad, _WARNING), Threshold(self.warning, _GOOD)]
        if self.bad == self.warning:
            return [Threshold(None, _GOOD), Threshold(self.bad, _BAD)]
        return [Threshold(None, _GOOD), Threshold(self.warning, _WARNING), Threshold(self.bad, _BAD)]


@dataclass(frozen=True)
class Told:
    """What a person reads above a panel, and behind its `i`.

    Attributes:
        title: few words.
        shows: what the numbers are, in a sentence or two.
        bad: what to do when it is bad.
    """

    title: str
    shows: str
    bad: str

    @property
    def description(self) -> str:
        """Markdown, as Grafana shows it."""
        return f"{self.shows}\n\n{BAD}{self.bad}"


@dataclass(frozen=True)
class Column:
    """A column of numbers in a table.

    Attributes:
        title: its heading.
        query: an instant query; its labels are the table's keys.
        unit: of Grafana's units.
        limits: colour the text.
        decimals: digits behind the point.
    """

    title: str
    query: Query
    unit: str
    limits: Limits | None = None
    decimals: int | None = None


@dataclass(frozen=True)
class Link:
    """Where a click on a value leads."""

    title: str
    url: str

    @property
    def json(self) -> dict[str, object]:
        """As Grafana keeps it."""
        return {"title": self.title, "url": self.url, "targetBlank": False}


def number(
    told: Told,
    query: Query,
    unit: str,
    limits: Limits | None = None,
    *,
    width: int = 4,
    decimals: int | None = None,
    words: Mapping[str, tuple[str, str]] | None = None,
    link: Link | None = None,
) -> stat.Panel:
    """Show one number, of the whole range where Loki is asked and of now where Prometheus is.

    Args:
        told: title and description.
        query: its answer has one series.
        unit: of Grafana's units.
        limits: colour it; without, it is neither good nor bad.
        width: of 24.
        decimals: digits behind the point.
        words: value → (text, colour) to show instead.
        link: where a click leads.
    """
    panel = _told(stat.Panel(), told, [query], instant=True).unit(unit).height(4).span(width)
    panel.color_mode(common.BigValueColorMode.VALUE).graph_mode(common.BigValueGraphMode.NONE)
    panel.reduce_options(make.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.thresholds(_thresholds(limits)).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    if decimals is not None:
        panel.decimals(decimals)
    if words:
        panel.mappings([_words(words)])
    return panel.override_by_regexp(".*", [DynamicConfigValue("links", [link.json])]) if link else panel


def curve(
    told: Told,
    queries: Sequence[Query],
    unit: str,
    limits: Limits | None = None,
    *,
    width: int = 12,
    stacked: bool = False,
    link: Link | None = None,
) -> timeseries.Panel:
    """Show numbers over time as lines, or stacked bars; limits are dashed lines."""
    panel = _told(timeseries.Panel(), told, queries, instant=False).unit(unit).height(8).span(width).min(0)
    panel.max_data_points(_POINTS_MAX).legend(_legend()).tooltip(_tooltip()).line_width(1)
    panel.thresholds(_thresholds(limits)).color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    style = common.GraphThresholdsStyleMode.DASHED if limits else common.GraphThresholdsStyleMode.OFF
    panel.thresholds_style(make.GraphThresholdsStyleConfig().mode(style))
    if stacked:
        panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(70)
        panel.stacking(make.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    else:
        panel.draw_style(common.GraphDrawStyle.LINE).show_points(common.VisibilityMode.AUTO).fill_opacity(5)
    if link:
        panel.override_by_regexp(".*", [DynamicConfigValue("links", [link.json])])
    named = any(name in query.legend for query in queries for name in ("{{level}}", "{{outcome}}"))
    return _coloured(panel) if named else panel


def history(told: Told, query: Query, unit: str, limits: Limits, *, width: int = 24) -> statushistory.Panel:
    """Show a colour for each series and time; where there was nothing there is a gap."""
    panel = _told(statushistory.Panel(), told, [query], instant=False).unit(unit).height(7).span(width)
    panel.max_data_points(60).show_value(common.VisibilityMode.NEVER).tooltip(_tooltip())
    panel.legend(make.VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.LIST))
    return panel.thresholds(_thresholds(limits)).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))


def grid(
    told: Told,
    keys: Mapping[str, str],
    columns: Sequence[Column],
    *,
    width: int = 12,
    height: int = 8,
    links: Mapping[str, Sequence[Link]] | None = None,
    words: Mapping[str, Mapping[str, tuple[str, str]]] | None = None,
) -> table.Panel:
    """Show a table.

    Args:
        told: title and description.
        keys: label → heading, from the left. The queries have no other labels: those would be columns, too.
        columns: their answers are joined by their labels; the first one orders the rows, largest first.
        width: of 24.
        height: of the grid.
        links: heading of a key → where its values lead.
        words: heading → value → (text, colour).
    """
    panel = _told(table.Panel(), told, [column.query for column in columns], instant=True).height(height).span(width)
    panel.unit("short").with_transformation(DataTransformerConfig("merge", options={}))
    values = {f"Value #{_ref(number)}": column.title for number, column in enumerate(columns)}
    names = {**keys, **values, "Value": columns[0].title}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: position for position, name in enumerate(names)},
        "renameByName": names,
        "includeByName": {},
    }
    panel.with_transformation(DataTransformerConfig("organize", options=options))
    panel.sort_by([make.TableSortByFieldState().display_name(columns[0].title).desc(True)])
    for column in columns:
        panel.override_by_name(column.title, _of_column(column))
    for heading in keys.values():
        found = (links or {}).get(heading)
        if found:
            panel.override_by_name(heading, [DynamicConfigValue("links", [link.json for link in found])])
    colours = {"level": _levels(), "outcome": _outcomes(), **(words or {})}
    for heading, mapped in colours.items():
        if heading in {*keys.values(), *(column.title for column in columns)}:
            cell = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
            panel.override_by_name(heading, [DynamicConfigValue("mappings", [_words(mapped)]), cell])
    return panel


def lines(
    told: Told,
    expr: Query,
    *,
    width: int = 24,
    height: int = 10,
    lines_max: int = _NEWEST_LINES,
) -> logs_panel.Panel:
    """Show log lines, the newest first; a click opens one, with its request's link."""
    panel = _told(logs_panel.Panel(), told, [expr], instant=False, lines_max=lines_max).height(height).span(width)
    panel.show_time(True).wrap_log_message(True).enable_log_details(True).sort_order(common.LogsSortOrder.DESCENDING)
    return panel.dedup_strategy(common.LogsDedupStrategy.NONE).prettify_log_message(False)


def note(title: str, markdown: str, *, width: int = 24, height: int = 5) -> text.Panel:
    """Show text."""
    panel = text.Panel().title(title).description("Where to go from here.").datasource(LOKI_SOURCE)
    return panel.mode(TextMode.MARKDOWN).content(markdown).height(height).span(width)


def _told(
    panel: Described, told: Told, queries: Sequence[Query], *, instant: bool, lines_max: int | None = None
) -> Described:
    panel.title(told.title).description(told.description).datasource(queries[0].source)
    as_table = isinstance(panel, table.Panel)
    for position, query in enumerate(queries):
        target = query.target(_ref(position), instant=instant, as_table=as_table, lines_max=lines_max)
        panel.with_target(target)
    return panel


def _ref(position: int) -> str:
    return chr(ord("A") + position)


def _thresholds(limits: Limits | None) -> ThresholdsConfig:
    steps = limits.steps if limits else [Threshold(None, _NEUTRAL)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _of_column(column: Column) -> list[DynamicConfigValue]:
    properties = [DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        properties.append(DynamicConfigValue("decimals", column.decimals))
    if column.limits:
        properties += [
            DynamicConfigValue("thresholds", _thresholds(column.limits).build()),
            DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    return properties


def _words(words: Mapping[str, tuple[str, str]]) -> ValueMap:
    return ValueMap({value: ValueMappingResult(text=told, color=colour) for value, (told, colour) in words.items()})


def _levels() -> Mapping[str, tuple[str, str]]:
    return {level: (level, colour) for level, colour in LEVEL_COLOURS.items()}


def _outcomes() -> Mapping[str, tuple[str, str]]:
    return {outcome: (outcome, colour) for outcome, colour in OUTCOME_COLOURS.items()}


def _coloured(panel: timeseries.Panel) -> timeseries.Panel:
    """Give series that are named by a level or an outcome, alone or at the end (`push success`), its colour."""
    for name, colour in {**LEVEL_COLOURS, **OUTCOME_COLOURS}.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_regexp(f"/^(.* )?{name}$/", [DynamicConfigValue("color", fixed)])
    return panel


def _legend() -> make.VizLegendOptions:
    legend = make.VizLegendOptions().show_legend(True).display_mode(common.LegendDisplayMode.LIST)
    return legend.placement(common.LegendPlacement.BOTTOM).calcs([])


def _tooltip() -> make.VizTooltipOptions:
    return make.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
