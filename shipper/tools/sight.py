"""How far back Loki can be seen: what it says of its retention."""

import re
from typing import NamedTuple

import requests

from shipper.loki.server_config import parse_limit, plain_values, split_sections
from shipper.settings import Loki

_NS_PER_S = 10**9
_CLOSED = "Loki's /config cannot be read from here: entries that it has deleted by its retention count as missing"
_LATE = (
    "entries that are hours old when they are pushed may be found only when Loki has flushed their chunk, by default "
    "after up to two hours (ingester.query_store_max_look_back_period): if the missing are such, verify again then"
)


class Sight(NamedTuple):
    """Entries before `horizon_ns` may be deleted, or hidden from queries.

    Attributes:
        horizon_ns: nanoseconds since the epoch; 0 where nothing is known of an end.
        cannot_see: sentences about it.
        if_missing: sentences that matter only if something is missing.
    """

    horizon_ns: int
    cannot_see: list[str]
    if_missing: list[str]


def ask(http: requests.Session, loki: Loki) -> str:
    """Return Loki's configuration; nothing where it cannot be read, as behind most proxies."""
    try:
        answer = http.get(f"{loki.url.rstrip('/')}/config", timeout=loki.timeout_s)
    except requests.RequestException:
        return ""
    return answer.text if answer.ok else ""


def judge(config: str, now_ns: int) -> Sight:
    """Say from when on Loki's entries can be seen.

    Args:
        config: what `/config` answered.
        now_ns: nanoseconds since the epoch.
    """
    sections = split_sections(config)
    if "limits_config" not in sections:
        return Sight(0, [_CLOSED], [_LATE])
    limits, compactor = plain_values(sections["limits_config"]), plain_values(sections.get("compactor", ""))
    bounds = {"max_query_lookback": limits.get("max_query_lookback", "0s")}
    if compactor.get("retention_enabled") == "true":
        bounds["retention_period"] = limits.get("retention_period", "0s")
    told = {name: text for name, text in bounds.items() if parse_limit(text) > 0}
    cannot_see = []
    horizon_ns = 0
    if told:
        name = min(told, key=lambda it: parse_limit(told[it]))
        horizon_ns = now_ns - int(parse_limit(told[name]) * _NS_PER_S)
        cannot_see.append(
            f"Loki's {name} is {told[name]}: older entries that are not there count as unseen, not as missing"
        )
    of_streams = re.search(r"^  retention_stream:\n", sections["limits_config"], re.MULTILINE)
    if of_streams and compactor.get("retention_enabled") == "true":
        cannot_see.append("Loki's retention_stream deletes some streams earlier: their entries count as missing")
    look_back = plain_values(sections.get("ingester", "")).get("query_store_max_look_back_period", "0s")
    return Sight(horizon_ns, cannot_see, [] if look_back.startswith("-") else [_LATE])
