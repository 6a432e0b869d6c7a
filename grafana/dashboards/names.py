"""Names and colours that all dashboards share, and that links, alerts and provisioning rely on."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

TAG: Final = "logs"
SERVICE_TAG: Final = "logs-service"

OVERVIEW: Final = "overview"
EXPLORER: Final = "explorer"
SHIPPER: Final = "shipper"
LOKI: Final = "loki"
NOISE: Final = "noise"


CANARY: Final = "shipper-canary"
"""The service of the lines by which the shipper measures how fresh Loki is: no service of yours."""


def of_service(service: str) -> str:
    """Give the uid of a service's own dashboard; links put a field's value in its place."""
    return f"service-{service}"


LEVEL_COLOURS: Final = {
    "fatal": "dark-purple",
    "error": "dark-red",
    "warn": "dark-yellow",
    "info": "dark-green",
    "debug": "dark-blue",
    "trace": "light-blue",
    "unknown": "#808080",
    "other": "#a0a0a0",
}
"""One colour for a level, wherever it is shown. `unknown` and `other` are what the shipper makes of a missing level and
of one that is an id; a level that a service made up has none of these colours, and is told by its name."""

OUTCOME_COLOURS: Final = {"success": "dark-green", "retry": "dark-yellow", "failure": "dark-red"}
"""Of the member `outcome`: the same in all dashboards, too."""

_TIME: Final = "${__url_time_range}"


def to_dashboard(uid: str, *, kept: Sequence[str] = (), **chosen: str | Sequence[str]) -> str:
    """Give the address of a dashboard, for a link.

    Args:
        uid: which.
        kept: variables that stay as they are here, beside the time range and the data sources.
        chosen: variables that are set, to one value or several.
    """
    pairs = [(name, value) for name, it in chosen.items() for value in ([it] if isinstance(it, str) else it)]
    staying = [f"${{{name}:queryparam}}" for name in ("loki", "prometheus", *kept)]
    return "&".join([f"/d/{uid}?{_TIME}", *staying, *(f"var-{name}={value}" for name, value in pairs)])


def having(member: str, value: str) -> str:
    """Give the explorer's `text`, for a link, that finds the lines with exactly this value, and none that it begins."""
    return quote(f'"{member}":"') + value + quote('"')


def navigation() -> list[DashboardLink]:
    """Give the links at the top of every dashboard: to each other, and to the services' own."""
    services = DashboardLink("Services").type(DashboardLinkType.DASHBOARDS).tags([SERVICE_TAG]).as_dropdown(True)
    others = DashboardLink("Logs").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    # The builder would put them into a menu, where nobody looks.
    return [link.keep_time(True).include_vars(False).placement("") for link in (others, services)]
