"""Reads the configuration: built-in defaults, then the file, then the environment, then `--set`; the later wins.

    [kafka]                                  # config.toml
    group_id = "shipper"
    SHIPPER_KAFKA__GROUP_ID=shipper          # the environment
    --set kafka.group_id=shipper             # the command line

`settings` has the names, `config.toml` explains them. Everything wrong is collected and said at once (`problems`).
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shipper.config import access, contents, layers, secrets, servers, shape
from shipper.config.problems import Problems
from shipper.errors import ConfigError
from shipper.settings import Settings

DEFAULT_FILE = Path("config.toml")
_TOML_PLACE = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")


def find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """Return the file that `load` reads: the given one, else `$SHIPPER_CONFIG`, else ./config.toml if it is there."""
    if path is not None:
        return path
    if env.get("SHIPPER_CONFIG"):
        return Path(env["SHIPPER_CONFIG"])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(path: Path | None, *, env: Mapping[str, str], overrides: Sequence[str] = ()) -> Settings:
    """Return the settings in effect.

    Args:
        path: the file; None looks for one as `find` says, and does without if there is none.
        env: the environment: `SHIPPER_SECTION__KEY` wins over the file, `${env:NAME}` in any string is replaced.
        overrides: `section.key=value` each, as `--set` gives them; they win over all else.

    Raises: ConfigError that names every mistake with its place (file and line, variable, or `--set`), its key and the
        way out.
    """
    problems = Problems()
    tree: dict[str, Any] = {}
    file = find(path, env)
    if file is not None:
        text = _read(file)
        tree = layers.from_file(_parse(file, text))
        problems.places.scan(text, str(file))
    layers.add_environment(tree, env, problems)
    layers.add_overrides(tree, overrides, problems)
    tree = layers.expand(tree, env, problems)
    problems.raise_any()
    settings = shape.settings(tree, problems)
    problems.raise_any()
    settings = secrets.read(settings, problems)
    problems.raise_any()
    servers.check(settings, problems)
    access.check(settings, problems)
    contents.check(settings, problems)
    problems.raise_any()
    return settings


def _read(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror}; name another file with --config or $SHIPPER_CONFIG"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: no valid UTF-8; save the file in UTF-8, which is what TOML wants") from error


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _TOML_PLACE.fullmatch(str(error))
        if found is None:
            raise ConfigError(f"{file}: no valid TOML: {error}") from error
        line = found["line"] or text.count("\n") + 1
        column = found["column"] or len(text.rsplit("\n", 1)[-1]) + 1
        raise ConfigError(
            f"{file}:{line}:{column}: no valid TOML: {found['what']}; texts want quotes, and each key may stand once"
        ) from error
