"""What the labeller remembers from batch to batch changes nothing, and stays small."""

import polars as pl
import pytest

from shipper.settings import LabelValues
from shipper.transform import label
from shipper.transform.label import Labeller


def labeller() -> Labeller:
    return Labeller(["service", "level"], {"env": "test"}, 2048, (), LabelValues(demote_matching="[0-9]{5}"))


def frame(number: int) -> pl.DataFrame:
    """Three rows of two combinations, of which one comes with every number."""
    services = [f"service {number}", "chat", "chat"]
    return pl.DataFrame({"service": services, "level": ["WARN", None, None]}, schema_overrides={"level": pl.String})


def test_what_is_remembered_of_labels_changes_nothing_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "_KNOWN_BYTES_MAX", 50 * 512)
    remembering = labeller()
    for number in [*range(9_900, 10_100), *range(9_900, 10_100)]:
        known, fresh = remembering.group(frame(number), 3), labeller().group(frame(number), 3)
        assert (known.labels, known.stream_of_row.tolist()) == (fresh.labels, fresh.stream_of_row.tolist())
        assert {name: texts.to_list() for name, texts in known.demoted.items()} == {
            name: texts.to_list() for name, texts in fresh.demoted.items()
        }
        assert known.values == fresh.values
        assert len(remembering._known) <= 52
