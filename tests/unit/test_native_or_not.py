"""Whether the stages in Rust are used: where they are built, of this version, not refused; else all runs without."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from preparing import needs_native
from shipper import native
from shipper.loki import encode
from shipper.native import stages
from shipper.pipeline import Rules
from shipper.settings import Settings, Workers
from shipper.transform.decode import Decoder


def is_native(settings: Settings) -> bool:
    rules = Rules.compile(settings)
    assert (type(rules.decoder) is Decoder) == (rules.join is encode.join_entries)
    return isinstance(rules.decoder, stages.NativeDecoder)


@needs_native
def test_what_is_built_is_used_by_default_and_can_be_refused() -> None:
    assert is_native(Settings())
    assert native.describe(wanted=True) == native.VERSION
    assert not is_native(Settings(workers=Workers(native=False)))
    assert native.describe(wanted=False) == "no: workers.native is false"


@pytest.mark.parametrize(
    ("library", "says"),
    [
        (None, "no: not installed"),
        (SimpleNamespace(__version__="0.0.9"), f"no: 0.0.9 is installed, and this shipper works with {native.VERSION}"),
    ],
    ids=["none", "of another version"],
)
def test_what_is_not_built_or_of_another_version_is_not_used(
    library: object, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "LIBRARY", library)
    assert not is_native(Settings())
    assert native.describe(wanted=True) == says


@needs_native
def test_a_mistake_in_rust_is_an_exception_like_any_other() -> None:
    rows, no_times = np.arange(1), np.zeros(0, np.int64)
    with pytest.raises(RuntimeError, match="shipper-native panicked: index out of bounds"):
        stages.join_entries([b"{}"], rows, no_times, rows, pl.DataFrame(), rows)


def test_the_crate_has_the_version_that_this_shipper_works_with() -> None:
    cargo = Path(__file__).parents[2] / "native" / "Cargo.toml"
    assert tomllib.loads(cargo.read_text(encoding="utf-8"))["package"]["version"] == native.VERSION
