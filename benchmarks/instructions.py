"""Instructions per record of `prepare()`: what a change costs, whatever else the machine does.

Counted by `perf stat` where the processor has such a counter, else by valgrind's cachegrind, which runs a program on a
processor of its own; where there is neither, that is said. A process that prepares a batch once is taken from one that
does it more often, so that starting Python and importing polars count for nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measured import NotMeasuredError
from benchmarks.prepared import RECORDS
from shipper import native

_PERF = ("perf", "stat", "-x", ",", "-e", "instructions:u", "--")
_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNT = re.compile(r"I\s+refs:\s+([\d,]+)|^(\d+),,instructions", re.MULTILINE)
_ROUNDS = 20
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Instructions:
    """Of one way to prepare.

    Attributes:
        way: `Python`, or `native code`.
        per_record: instructions of the process, all threads.
        counted_by: `perf` or `valgrind`.
    """

    way: str
    per_record: float
    counted_by: str


def measure_instructions(rounds: int = _ROUNDS) -> list[Instructions]:
    """Count, in Python, and with native code where it is built; nothing where nothing can count."""
    counter = _counter()
    if counter is None:
        return []
    ways = {"Python": "python", **({"native code": "native"} if native.is_used(wanted=True) else {})}
    return [Instructions(name, per_record(counter, way, rounds), counter[0]) for name, way in ways.items()]


def _counter() -> Sequence[str] | None:
    """What counts here; None, and why, if nothing does."""
    if shutil.which("perf") and _COUNT.search(_run([*_PERF, "true"])):
        return _PERF
    if shutil.which("valgrind"):
        return _VALGRIND
    print("    no instructions are counted: this processor shows perf none, and valgrind is not on PATH", flush=True)
    return None


def per_record(counter: Sequence[str], way: str, rounds: int) -> float:
    """Count, by the beginning of a command line that does; see above."""
    one, many = (_count(counter, way, number) for number in (1, 1 + rounds))
    return (many - one) / (rounds * RECORDS)


def _count(counter: Sequence[str], way: str, rounds: int) -> int:
    said = _run([*counter, sys.executable, "-m", "benchmarks.prepared", way, str(rounds)])
    found = _COUNT.search(said)
    if not found:
        raise NotMeasuredError(f"{counter[0]} counted nothing: {said[-2_000:]}")
    return int((found[1] or found[2]).replace(",", ""))


def _run(command: Sequence[str]) -> str:
    """Run it with one thread of polars and the same hashes every time; returns what it said on stderr."""
    env = {**os.environ, "POLARS_MAX_THREADS": "1", "PYTHONHASHSEED": "0"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=root, env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )  # fmt: skip
    return done.stderr
