"""A dashboard from its rows, and the variables that dashboards share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.dashboards.names import TAG, navigation
from grafana.dashboards.panels import Panel
from grafana.dashboards.queries import LOKI_SOURCE, PROMETHEUS_SOURCE

Variable = QueryVariable | TextBoxVariable | CustomVariable
_COLUMNS = 24
# What matches any value that is there. Loki wants one matcher that cannot match the empty text.
_ALL: Final = ".+"


@dataclass(frozen=True)
class Section:
    """Panels below one heading, from the left and from the top."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard.

    Attributes:
        uid: its name in links; one of `names`.
        title: what people read.
        purpose: the question that it answers.
        sections: what it shows.
        variables: besides the data sources.
        tags: `TAG` for all; those of services have one more.
        range_: how far back it looks at first.
        refresh: how often it asks again.
    """

    uid: str
    title: str
    purpose: str
    sections: Sequence[Section]
    variables: Sequence[Variable] = ()
    tags: Sequence[str] = (TAG,)
    range_: str = "1h"
    refresh: str = "30s"

    def build(self) -> dashboard.Dashboard:
        """Lay the panels out, number them, and give what Grafana reads."""
        board = Dashboard(self.title).uid(self.uid).description(self.purpose).tags(list(self.tags)).readonly()
        board.time(f"now-{self.range_}", "now").refresh(self.refresh).timezone("browser")
        board.tooltip(DashboardCursorSync.CROSSHAIR).links(list(navigation()))
        for variable in (*_sources(), *self.variables):
            board.with_variable(variable)
        for section in self.sections:
            board.with_row(Row(section.title))
            for panel in section.panels:
                board.with_panel(panel)
        built = board.build()
        for number, placed in enumerate(built.panels or (), 1):
            placed.id_val = number
        return built


def choice(name: str, label: str, of: str, *, stream: str = "") -> QueryVariable:
    """Let people choose values of a label of Loki's, all of them at first."""
    query: dict[str, object] = {"type": 1, "label": of, "stream": stream, "refId": f"values-of-{of}"}
    return _choice(name, label).datasource(LOKI_SOURCE).query(query)


def metric_choice(name: str, label: str, of: str, metric: str) -> QueryVariable:
    """Let people choose values of a label of Prometheus', all of them at first."""
    query = f"label_values({metric}, {of})"
    return _choice(name, label).datasource(PROMETHEUS_SOURCE).query({"query": query, "refId": f"values-of-{of}"})


def entry(name: str, label: str, description: str, default: str = "") -> TextBoxVariable:
    """Let people type a text."""
    return TextBoxVariable(name).label(label).description(description).default_value(default)


def alternatives(name: str, label: str, description: str, values: Mapping[str, str]) -> CustomVariable:
    """Let people choose one of these: what they read → the value. The first is chosen at first."""
    options = [VariableOption(selected=not at, text=text, value=it) for at, (text, it) in enumerate(values.items())]
    variable = CustomVariable(name).label(label).description(description).options(options).current(options[0])
    return variable.values(", ".join(f"{text} : {it}" for text, it in values.items()))


def _choice(name: str, label: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).multi(True).include_all(True).all_value(_ALL)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return variable.current(VariableOption(selected=True, text=["All"], value=["$__all"]))


def _sources() -> list[DatasourceVariable]:
    return [
        DatasourceVariable("loki").label("Loki").type("loki"),
        DatasourceVariable("prometheus").label("Prometheus").type("prometheus"),
    ]
