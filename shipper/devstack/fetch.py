"""Gets the parts that are missing: builds them into the cache, or has Debian install them; several at once."""

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shipper.devstack.parts import (
    DEFAULT_PARTS,
    PARTS,
    BuiltPart,
    PackagedPart,
    Part,
    PartMissingError,
    cache_dir,
    find,
    where,
)
from shipper.devstack.progress import Report, report_to

_RECIPES = Path(__file__).with_name("recipes")
_STEP_TIMEOUT_S = 45 * 60  # Loki takes 4 minutes on two cores; a slow network and one core may take ten times that
_ERROR_LINES = 6
_LOG_WIDTH = 140
_TOOL_SOURCES = {
    "mvn": "Install Maven (Debian: `apt-get install maven`).",
    "go": "Install Go, in the version that recipes/loki/go.mod names or newer.",
}
_POLICY = Path("/usr/sbin/policy-rc.d")


def ignore(part: str, said: str) -> None:
    """Report to nobody."""


def fetch(part: Part, report: Report = ignore) -> Path:
    """Fetch, build or install a part and return where it lies.

    Args:
        part: what to get.
        report: called with the part's name and each line that the tools say.

    Raises: PartMissingError when it cannot be had here.
    """
    if isinstance(part, BuiltPart):
        _build(part, report)
    else:
        _install(part, report)
    return where(part)


def _build(part: BuiltPart, report: Report) -> None:
    if shutil.which(part.tool) is None:
        raise PartMissingError(
            part.name, f"it is built with `{part.tool}`, which is not on the PATH", _TOOL_SOURCES[part.tool]
        )
    with _only_one(part.folder.name, part.name, report):
        if part.folder.exists():  # somebody else built it while we waited
            return
        with tempfile.TemporaryDirectory(prefix=f".{part.folder.name}-", dir=cache_dir()) as scratch:
            work, done = Path(scratch) / "work", Path(scratch) / "done"
            shutil.copytree(_RECIPES / part.recipe, work)
            for step in part.steps:
                _run(part.name, step, report, folder=work, env=dict(part.env))
            done.mkdir()
            kept = work / part.keep
            kept.rename(done / kept.name)
            done.rename(part.folder)  # one step: a folder of this name is always whole


def _install(part: PackagedPart, report: Report) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        where(part)  # its error says how to install it
        return
    with _only_one("apt", part.name, report), _no_services_started():
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        apt_get = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300")
        _run(part.name, (*apt_get, "update"), report, env=env)
        _run(part.name, (*apt_get, "install", "--no-install-recommends", *part.packages), report, env=env)


@contextlib.contextmanager
def _only_one(key: str, name: str, report: Report) -> Iterator[None]:
    """Hold a lock file in the cache, so that two processes do not build the same."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f"{key}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(name, "waiting for another process that gets it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_services_started() -> Iterator[None]:
    """Keep Debian from starting what it installs as a service: exit code 101 of this script forbids it."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _run(
    name: str, command: Sequence[str], report: Report, *, folder: Path | None = None, env: dict[str, str] | None = None
) -> None:
    """Run one command to its end, report each line, and keep all of them in a log in the cache."""
    log = cache_dir() / f"{name}.log"
    report(name, "$ " + " ".join(command))
    said: list[str] = []
    with (
        log.open("a") as kept,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        bound = threading.Timer(_STEP_TIMEOUT_S, process.kill)
        bound.start()
        try:
            for line in process.stdout or ():
                kept.write(line)
                if text := line.strip():
                    said.append(text)
                    report(name, text)
        finally:
            bound.cancel()
    if process.returncode:
        last = "; ".join(said[-_ERROR_LINES:]) or "it said nothing"
        why = f"`{command[0]}` ended with exit code {process.returncode} ({last})"
        raise PartMissingError(name, why, f"Read {log}; if the network is at fault, try `make parts` again.")


def _lane(part: Part) -> str:
    """Parts of one lane are got one after the other: they share a tool, its caches and its locks."""
    return part.tool if isinstance(part, BuiltPart) else "apt-get"


def get_all(names: Sequence[str], report: Report = ignore) -> dict[str, PartMissingError]:
    """Get all parts that are missing, one tool beside the other.

    Returns: the parts that could not be had, and why.
    """
    lanes: dict[str, list[Part]] = defaultdict(list)
    for name in names:
        lanes[_lane(PARTS[name])].append(PARTS[name])
    missing: dict[str, PartMissingError] = {}

    def work(lane: list[Part]) -> None:
        for part in lane:
            try:
                fetch(part, report)
                report(part.name, "ready")
            except PartMissingError as error:
                missing[part.name] = error
                report(part.name, f"missing: {error.why}")

    with ThreadPoolExecutor(max_workers=max(1, len(lanes))) as pool:
        for outcome in [pool.submit(work, lane) for lane in lanes.values()]:
            outcome.result()
    return missing


def _table(names: Sequence[str], absent: Sequence[str], missing: dict[str, PartMissingError]) -> Table:
    table = Table(title="real parts")
    for column in ("part", "version", "where", "state"):
        table.add_column(column, overflow="fold")
    for name in names:
        if name in missing:
            state = f"[bold red]MISSING[/]: {missing[name].why}. {missing[name].way_out}"
        else:
            state = "got now" if name in absent else "was there"
        table.add_row(name, PARTS[name].version, str(find(name) or "-"), state)
    return table


def main(arguments: Sequence[str]) -> int:
    """Get the parts named on the command line, or those that the tests use, and print a table of them.

    Returns: exit code: 0 when all are there, 3 when some cannot be had.
    """
    parser = argparse.ArgumentParser(prog="python -m shipper.devstack.fetch", description=main.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}")
    names: Sequence[str] = parser.parse_args(arguments).parts or DEFAULT_PARTS
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(PARTS)}")

    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    absent = [name for name in names if find(name) is None]
    with report_to(console, absent) as report:
        missing = get_all(absent, report)
    console.print(_table(names, absent, missing))
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
