"""The baseline that is checked in: it fits the stages, and says nothing of where it was taken."""
# ruff: noqa: D103 - a test's name is its documentation

import getpass
import platform
import re
from pathlib import Path

from benchmarks import baseline


def test_the_baseline_has_every_stage_and_nothing_local() -> None:
    stages = set(re.findall(r"^def (test_\w+)", Path(__file__).with_name("test_stages.py").read_text(), re.MULTILINE))
    assert {name.partition("::")[2].partition("[")[0] for name in baseline.lowest_s()} == stages
    text = baseline.STAGES.read_text(encoding="utf-8")
    assert platform.node() not in text
    assert f"{Path(__file__).parents[1]}" not in text
    assert f'"{getpass.getuser()}"' not in text


def test_what_is_local_is_left_out() -> None:
    machine = {"node": "host-1", "system": "Linux", "release": "6.1-host", "cpu": {"brand_raw": "CPU", "hz_actual": 1}}
    baseline.trim_machine(machine)
    assert machine == {"system": "Linux", "cpu": {"brand_raw": "CPU"}}
    run = {
        "commit_info": {"author": "a"},
        "benchmarks": [{"param": "<at 0x7f>", "params": {"a": 1}, "stats": {"data": []}}],
    }
    baseline.trim_run(run)
    assert run == {"commit_info": {}, "benchmarks": [{"param": None, "params": {}, "stats": {}}]}
