"""The lock files: one version of everything, and no registry's address."""

import re
from pathlib import Path

LOCKS = sorted((Path(__file__).parents[2] / "locks").glob("*.txt"))


def versions(lock: Path) -> set[str]:
    return set(re.findall(r"^[\w.\[\]-]+==[^ ]+", lock.read_text(), re.MULTILINE))


def test_what_is_tested_is_what_is_built_and_shipped() -> None:
    tested = versions(LOCKS[0].with_name("dev.txt"))
    assert {lock.name: versions(lock) - tested for lock in LOCKS} == {
        name: set() for name in ("build.txt", "demo.txt", "dev.txt", "runtime.txt")
    }


def test_no_lock_file_names_a_registry() -> None:
    assert [lock.name for lock in LOCKS if "://" in lock.read_text() or "--index-url" in lock.read_text()] == []
