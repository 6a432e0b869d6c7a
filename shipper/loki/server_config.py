"""What Loki says of its own configuration (`/config`): YAML, as Loki writes it, with every key. Pure.

Only what holds for every tenant is there: limits that are set for one tenant (`overrides`) cannot be seen.
"""

import re


def split_sections(text: str) -> dict[str, str]:
    """Return the text of each section by its name; none of something that is no such configuration."""
    return dict(re.findall(r"^(\w+):((?: .*)?(?:\n(?:[ -].*)?)*)", text, re.MULTILINE))


def plain_values(section: str) -> dict[str, str]:
    """Return the keys of a section that have plain values."""
    return dict(re.findall(r"^  (\w+): (\S+)$", section, re.MULTILINE))


def parse_limit(text: str) -> float:
    """Return a limit of Loki's as a plain number: `256KB` in bytes, `1h30m` in seconds, `15` as it is; 0 if unknown."""
    if size := re.fullmatch(r"([\d.]+)([KMGT]?)B", text):
        return float(size[1]) * 1024.0 ** "_KMGT".index(size[2] or "_")
    if re.fullmatch(r"(\d+(ms|[smhdwy]))+", text):
        seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
        return float(sum(int(part[1]) * seconds[part[2]] for part in re.finditer(r"(\d+)(ms|[smhdwy])", text)))
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
