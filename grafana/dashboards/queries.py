"""Queries: an expression, the name of its series, and whose language it is."""

from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.builders import loki, prometheus
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# Panels name the variable, never a data source: one dashboard serves every Loki that a Grafana knows.
LOKI_SOURCE: Final = DataSourceRef(type_val="loki", uid="${loki}")
PROMETHEUS_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${prometheus}")


@dataclass(frozen=True)
class Query:
    """A query of a panel.

    Attributes:
        expr: LogQL or PromQL.
        legend: name of a series, `{{service}}`; in a table the name of the column.
        language: whose it is.
    """

    expr: str
    legend: str
    language: Literal["loki", "prometheus"]

    @property
    def source(self) -> DataSourceRef:
        """Who answers it."""
        return LOKI_SOURCE if self.language == "loki" else PROMETHEUS_SOURCE

    def target(
        self, ref: str, *, instant: bool, as_table: bool = False, lines_max: int | None = None
    ) -> loki.Dataquery | prometheus.Dataquery:
        """Build it: over the range in steps, or once at its end."""
        if self.language == "loki":
            built = loki.Dataquery().datasource(self.source).expr(self.expr).ref_id(ref).legend_format(self.legend)
            built.query_type("instant" if instant else "range")
            return built.max_lines(lines_max) if lines_max else built
        asked = prometheus.Dataquery().datasource(self.source).expr(self.expr).ref_id(ref).legend_format(self.legend)
        asked.format(PromQueryFormat.TABLE if as_table else PromQueryFormat.TIME_SERIES)
        return asked.instant() if instant else asked.range()


def logql(expr: str, legend: str = "") -> Query:
    """Ask Loki."""
    return Query(expr, legend, "loki")


def promql(expr: str, legend: str = "") -> Query:
    """Ask Prometheus."""
    return Query(expr, legend, "prometheus")
