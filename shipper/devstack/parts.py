"""The real servers and programs that tests and benchmarks need: which they are, and where they lie on this machine.

What is fetched or built lies outside the checkout, in one folder per part and version, so that a second clone finds it:
`$SHIPPER_PARTS_DIR`, else `$XDG_CACHE_HOME/shipper/parts`, else `~/.cache/shipper/parts`. What the operating system
packages is taken from the PATH.

`python -m shipper.devstack.fetch [PART…]` gets what is missing and prints what there is.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from shipper.errors import CannotStartError

_JAVA_VERSION_MIN = 17
_NODE_VERSION_MIN = (20, 19)
_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin"  # Debian puts nginx there, where a user's PATH may not reach


class PartMissingError(CannotStartError):
    """A part is not on this machine.

    Attributes:
        part: its name.
        why: one sentence, without a full stop.
        way_out: what to do about it, often a command.
    """

    def __init__(self, part: str, why: str, way_out: str) -> None:
        super().__init__(f"{part} is missing: {why}. {way_out}")
        self.part, self.why, self.way_out = part, why, way_out


@dataclass(frozen=True)
class BuiltPart:
    """A part that a tool fetches or builds into the cache.

    Attributes:
        name: as on the command line.
        version: of the server, part of the folder's name.
        recipe: folder beneath `recipes/` whose files the steps need.
        steps: command lines, run in a copy of the recipe; the first word is the tool that must be on the PATH.
        keep: what of that copy is kept, relative to it.
        program: its program in the cache folder, which is what `find` returns; None to return the folder.
        env: variables for the steps.
    """

    name: str
    version: str
    recipe: str
    steps: tuple[tuple[str, ...], ...]
    keep: str
    program: str | None
    env: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies once it is built."""
        return cache_dir() / f"{self.name}-{self.version}"

    @property
    def tool(self) -> str:
        """The program that builds it."""
        return self.steps[0][0]


@dataclass(frozen=True)
class PackagedPart:
    """A part that Debian packages.

    Attributes:
        name: as on the command line.
        programs: names under which its program may be found on the PATH, the best first.
        packages: Debian packages, for `apt-get install`.
    """

    name: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]
    version: ClassVar[str] = "from the PATH"


Part = BuiltPart | PackagedPart

_LOKI_VERSION = "3.7.8"
# The newest whose module has its web pages in it; later ones need Node and npm to build them.
_ALERTMANAGER_VERSION = "0.31.1"
# -v names each package when it is compiled: four minutes without a word look like a hang.
_GO_BUILD = ("go", "build", "-v", "-mod=readonly", "-trimpath", "-o", "bin/")
_LOKI_BUILD = (*_GO_BUILD, f"-ldflags=-s -w -X github.com/grafana/loki/v3/pkg/util/build.Version={_LOKI_VERSION}")
_ALERTMANAGER_BUILD = (
    *_GO_BUILD,
    f"-ldflags=-s -w -X github.com/prometheus/common/version.Version={_ALERTMANAGER_VERSION}",
    "github.com/prometheus/alertmanager/cmd/alertmanager",
    "github.com/prometheus/alertmanager/cmd/amtool",
)

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        BuiltPart(
            "kafka",
            "4.1.0",
            recipe="kafka",
            steps=(("mvn", "-B", "-ntp", "dependency:copy-dependencies", "-DoutputDirectory=lib"),),
            keep="lib",
            program=None,
        ),
        BuiltPart(
            "loki",
            _LOKI_VERSION,
            recipe="loki",
            steps=((*_LOKI_BUILD, "github.com/grafana/loki/v3/cmd/loki"),),
            keep="bin/loki",
            program="loki",
            env=(("CGO_ENABLED", "0"),),
        ),
        BuiltPart(
            "logcli",
            _LOKI_VERSION,
            recipe="loki",
            steps=((*_LOKI_BUILD, "github.com/grafana/loki/v3/cmd/logcli"),),
            keep="bin/logcli",
            program="logcli",
            env=(("CGO_ENABLED", "0"),),
        ),
        BuiltPart(
            "alertmanager",
            _ALERTMANAGER_VERSION,
            recipe="alertmanager",
            steps=(_ALERTMANAGER_BUILD,),
            keep="bin",  # amtool lies beside it
            program="bin/alertmanager",
            env=(("CGO_ENABLED", "0"),),
        ),
        PackagedPart("prometheus", ("prometheus",), ("prometheus",)),
        PackagedPart("nginx", ("nginx",), ("nginx-light",)),
        # Without a font a screenshot shows boxes.
        PackagedPart("chromium", ("chromium", "chromium-browser", "google-chrome"), ("chromium", "fonts-dejavu-core")),
        PackagedPart("node", ("node",), ("nodejs", "npm")),
    )
}
DEFAULT_PARTS = ("loki", "alertmanager", "kafka", "prometheus", "nginx", "chromium", "node")
"""What tests and benchmarks use; logcli is for people."""


def cache_dir() -> Path:
    """Return the folder in which built parts lie; it need not exist."""
    if chosen := os.environ.get("SHIPPER_PARTS_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shipper" / "parts"


def where(part: Part) -> Path:
    """Return where a part lies: its program, or its folder when it has none. Never builds.

    Raises: PartMissingError, also when Kafka is there and the Java that it needs is not, and when Node is too old.
    """
    if isinstance(part, PackagedPart):
        found = _where_on_path(part)
        if part.name == "node":
            _check_node(found)
        return found
    whole = part.folder / part.program if part.program else part.folder
    if not whole.exists():
        command = f"{sys.executable} -m shipper.devstack.fetch {part.name}"
        raise PartMissingError(part.name, f"{whole} is not there", f"Run `make parts`, or `{command}`.")
    if part.name == "kafka":
        java()
    return whole


def locate(name: str) -> Path:
    """Return where the part of this name lies: the folder that holds `lib/` for kafka, the program for all others.

    Raises: PartMissingError, as `where` does.
    """
    return _grafana() if name == "grafana" else where(PARTS[name])


def find(name: str) -> Path | None:
    """Return where a part lies, or None when it is not on this machine. Never builds."""
    try:
        return locate(name)
    except PartMissingError:
        return None


def java() -> Path:
    """Return a Java that runs Kafka's server.

    Raises: PartMissingError when there is none, or an old one only.
    """
    home = os.environ.get("JAVA_HOME")
    found = (shutil.which("java", path=f"{home}/bin") if home else None) or shutil.which("java")
    way_out = (
        f"Install a Java of version {_JAVA_VERSION_MIN} or newer (Debian: `apt-get install openjdk-17-jre-headless`)."
    )
    if found is None:
        raise PartMissingError("kafka", "its server needs Java, and there is no `java` on the PATH", way_out)
    version = _java_version(found)
    if version < _JAVA_VERSION_MIN:
        why = f"its server needs Java {_JAVA_VERSION_MIN}, and {found} is version {version or 'unknown'}"
        raise PartMissingError("kafka", why, way_out)
    return Path(found)


def _grafana() -> Path:
    """Return the program of a Grafana that somebody has put on the PATH: it cannot be fetched as the others can."""
    way_out = "Put `grafana` on the PATH, its folder around it (or named in GF_PATHS_HOME), or set GRAFANA_URL."
    found = shutil.which("grafana")
    if found is None:
        raise PartMissingError("grafana", "there is no `grafana` on the PATH, and no GRAFANA_URL", way_out)
    if not (grafana_home(Path(found)) / "conf" / "defaults.ini").exists():
        raise PartMissingError("grafana", f"{found} has no conf/defaults.ini in {grafana_home(Path(found))}", way_out)
    return Path(found)


def grafana_home(program: Path) -> Path:
    """Return the folder of what a Grafana needs to run: as GF_PATHS_HOME says, of the archive, or of a package."""
    if named := os.environ.get("GF_PATHS_HOME"):
        return Path(named)
    archive = program.resolve().parents[1]
    return archive if (archive / "conf").exists() else Path("/usr/share/grafana")


@functools.cache
def _java_version(program: str) -> int:
    """Return the major version of a Java, 0 when it does not say."""
    command = [program, "-version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else 0


def _check_node(program: Path) -> None:
    wanted = ".".join(map(str, _NODE_VERSION_MIN))
    way_out = f"Put a Node of version {wanted} or newer on the PATH, with its npm."
    if shutil.which("npm") is None:
        raise PartMissingError("node", "there is no `npm` on the PATH", way_out)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    match = re.match(r"v(\d+)\.(\d+)", done.stdout)
    if match is None or (int(match[1]), int(match[2])) < _NODE_VERSION_MIN:
        why = f"clients/node needs Node {wanted}, and {program} is {done.stdout.strip() or 'of an unknown version'}"
        raise PartMissingError("node", why, way_out)


def _where_on_path(part: PackagedPart) -> Path:
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_FOLDERS}"
    for program in part.programs:
        if found := shutil.which(program, path=path):
            return Path(found)
    install = f"apt-get install --no-install-recommends {' '.join(part.packages)}"
    way_out = f"On Debian, as root: `{install}`; elsewhere put it on the PATH."
    raise PartMissingError(part.name, f"there is no `{part.programs[0]}` on the PATH", way_out)
