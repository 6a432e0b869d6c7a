"""The stages' figures that a run is compared with: `baselines/stages.json`, in pytest-benchmark's form.

`make bench` compares with it and prints ratios; `make bench-baseline` writes it anew, for a release. It holds what the
figures depend on, and nothing of the machine that could be told apart from others of its kind.
"""

import json
from pathlib import Path
from typing import Any

STAGES = Path(__file__).with_name("baselines") / "stages.json"
_MACHINE = ("python_version", "python_implementation", "machine", "system")
_CPU = ("brand_raw", "count", "arch")


def trim_machine(info: dict[str, Any]) -> None:
    """Leave of what pytest-benchmark knows of the machine its kind: no names of hosts."""
    cpu = {name: value for name, value in info.get("cpu", {}).items() if name in _CPU}
    kept = {name: info[name] for name in _MACHINE if name in info}
    info.clear()
    info.update(kept, cpu=cpu)


def trim_run(run: dict[str, Any]) -> None:
    """Leave of a run its figures: nothing of the checkout that they were taken in."""
    run["commit_info"] = {}
    for one in run["benchmarks"]:
        one["params"], one["param"] = {}, None  # objects of the program
        one["stats"].pop("data", None)


def lowest_s() -> dict[str, float]:
    """The baseline's lowest seconds by the benchmark's full name: what else the machine does only adds to them."""
    run = json.loads(STAGES.read_text(encoding="utf-8"))
    return {one["fullname"]: float(one["stats"]["min"]) for one in run["benchmarks"]}
