"""Dashboards where there is more than one of what others have one of."""

import json
from pathlib import Path

import pytest

from alerting import promtool
from panels import filled_in, find

pytestmark = pytest.mark.prometheus


@pytest.mark.parametrize(
    ("panel", "ref", "series", "wanted"),
    [
        ("Kafka", "A", "shipper_kafka_state", {"{}": 2}),
        ("Loki", "A", "shipper_loki_state", {"{}": 2}),
        (
            "Partitions",
            "B",
            "shipper_partition_lag_seconds",
            {f'{{instance="{it}", partition="0", topic="logs", worker="0"}}': age for it, age in (("a", 40), ("b", 7))},
        ),
    ],
)
def test_what_two_shippers_say_is_not_added_up(
    tmp_path: Path, panel: str, ref: str, series: str, wanted: dict[str, int]
) -> None:
    states = {"a": "refusing", "b": "retrying"}
    told = {
        f'{series}{{instance="{it}", state="{state}"}}': int(states[it] == state)
        for it in states
        for state in (*states.values(), "ok")
    }
    if panel == "Partitions":
        told = {f"{series}{labels}": age for labels, age in wanted.items()}
    case = {
        "interval": "1m",
        "input_series": [{"series": it, "values": str(value)} for it, value in told.items()],
        "promql_expr_test": [
            {
                "expr": filled_in(find("shipper", panel, ref), {"shipper": None}),
                "eval_time": "0m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in wanted.items()],
            }
        ],
    }
    rules = tmp_path / "case.yaml"
    rules.write_text(json.dumps({"tests": [case]}))  # JSON is YAML
    promtool("test", "rules", str(rules))
