"""The services' libraries: what a log call costs beside others' alone, and how many records a second a service sends.

Both languages have a program of their own for it, which is run in a process that loads nothing else: `log_calls.py`
here, `clients/node/bench/` for Node. Ways take turns; what counts is the ratio of a round, in which both were slow
together.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.end_to_end import Spread
from benchmarks.measured import NotMeasuredError
from shipper.devstack import parts
from shipper.devstack.kafka import make_topic

_ROOT = Path(__file__).parents[1]
_PYTHON = (sys.executable, "-m", "benchmarks.log_calls")
_BENCH = _ROOT / "clients" / "node" / "bench"
_TIMEOUT_S = 300
_OWN = "servicelog"
_CALLS, _ROUNDS = 20_000, 9
_RECORDS, _RUNS = 200_000, 3


@dataclass(frozen=True)
class Way:
    """One way to log.

    Attributes:
        language: `Python` or `Node`.
        name: which way.
        call_us: CPU time of a call, of the rounds.
        ratio: of that to `servicelog`'s in the same round.
    """

    language: str
    name: str
    call_us: Spread
    ratio: Spread


def measure_calls(calls: int = _CALLS, rounds: int = _ROUNDS) -> Iterator[Way]:
    """Measure a log call, in Python, and in Node where it is."""
    commands = {"Python": [*_PYTHON, f"--calls={calls}", f"--rounds={rounds}"]}
    if node := _node():
        commands["Node"] = [node, str(_BENCH / "call.mjs"), str(calls), str(rounds)]
    for language, command in commands.items():
        took: dict[str, list[float]] = json.loads(_run(command))
        for name, call_us in took.items():
            ratios = [one / own for one, own in zip(call_us, took[_OWN], strict=True)]
            yield Way(language, name, Spread.of(call_us), Spread.of(ratios))


def measure_rates(bootstrap: str, records: int = _RECORDS, runs: int = _RUNS) -> dict[str, Spread]:
    """Measure records a second from one process into Kafka, until they are confirmed, by language."""
    topic = make_topic(bootstrap)
    commands = {
        "Python": [*_PYTHON, f"--kafka={bootstrap}", f"--topic={topic}", f"--calls={records}", f"--rounds={runs}"]
    }
    if node := _node():
        commands["Node"] = [node, str(_BENCH / "rate.mjs"), bootstrap, topic, str(records), str(runs)]
    return {language: Spread.of(json.loads(_run(command))) for language, command in commands.items()}


def _node() -> str | None:
    """The program, with the library built; None where it is not, which is said."""
    try:
        node = parts.locate("node")
    except parts.PartMissingError as missing:
        print(f"    Node is not measured: {missing}", flush=True)
        return None
    _run(["make", "build-node"])
    return str(node)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise NotMeasuredError(f"{' '.join(command)} ended with exit code {done.returncode}: {done.stderr[-2_000:]}")
    return done.stdout
