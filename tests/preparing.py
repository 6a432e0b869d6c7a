"""Settings under which tests prepare records, and the two ways to: in Python, and with the stages in Rust.

The latter are skipped where `make native` has not been run.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import msgspec
import pytest

from hostile import HOSTILE, NOW_MS, NOW_NS
from hostile_fields import LEVELS, TEXTS, TIMESTAMPS
from messages import StoredMessage
from shipper import native
from shipper.devstack.generate import generate
from shipper.pipeline import Rules, prepare
from shipper.records import Prepared, RecordBatch
from shipper.settings import Filter, Labels, LabelValues, Limits, Loki, Malformed, Redact, Settings, Timestamp, Workers

needs_native = pytest.mark.skipif(
    not native.is_used(wanted=True), reason=f"SHIPPER-NATIVE IS NOT BUILT: make native ({native.describe(wanted=True)})"
)

Way = Literal["python", "native"]
DEFAULT: Way = "native" if native.is_used(wanted=True) else "python"
"""The way that a shipper with the default configuration takes here."""

ANY_AGE = Limits(entry_age_max_s=1e10, entry_ahead_max_s=1e10)
SETTINGS = {
    "defaults": Settings(),
    "any age": Settings(loki=Loki(limits=ANY_AGE)),
    "nested": Settings(
        loki=Loki(limits=ANY_AGE),
        labels=Labels(
            fields={"service_name": ["app.name", "service"], "detected_level": ["level", "app.level"]},
            static={"env": 'te"st\\'},
        ),
        structured_metadata={
            "user": ["user.id", "userId"],
            "request_id": ["ids.requestId", "requestId", "ids.traceparent"],
            "app": "app.a",
        },
        timestamp=Timestamp(field=["time", "app.time"], formats=["rfc3339"]),
    ),
    "filters and redaction": Settings(
        loki=Loki(limits=ANY_AGE),
        filters=[
            Filter(name="health", field="message", any_of=["/health", "7", "true"]),
            Filter(name="pattern", field="userId", matches="^[a-c]+$|水"),
            Filter(name="chatter", below_level="info", action="sample", share=0.5),
            Filter(name="nested", field="app.level", below_level="warn"),
            Filter(name="thin", field="service", matches="service", action="sample", share=0.75),
        ],
        redact=[
            Redact(name="digits", pattern=r"([0-9])[0-9]{2}", replacement="${1}**"),
            Redact(name="letters", pattern="[xz]+", replacement=""),
            Redact(name="mail", pattern=r"(?P<who>[a-z]+)@[a-z]+", replacement="$who@[$$]"),
            Redact(name="service", pattern="auth-service", replacement="日本"),
        ],
    ),
    "dead letters": Settings(malformed=Malformed(policy="dead_letter"), timestamp=Timestamp(formats=["epoch"])),
    "many labels": Settings(
        loki=Loki(limits=Limits(entry_age_max_s=1e10, entry_ahead_max_s=1e10, label_value_bytes_max=7)),
        labels=Labels(
            fields={
                "service": "service",
                "level": "level",
                "user": "userId",
                "note": "message",
                "b": "app",
                "a": "time",
            },
            static={"zone": "ö"},
        ),
        structured_metadata={},
    ),
    "closed labels": Settings(
        loki=Loki(limits=ANY_AGE),
        labels=Labels(fields={"service": "service", "level": "level", "user": "userId"}),
        label_values=LabelValues(
            demote_matching="[0-9]|^.{7,}$",
            allowed={"service": ["auth-service", "7", "true"], "level": ["info", "warn"]},
        ),
        redact=[Redact(name="digits", pattern=r"([0-9])[0-9]{2}", replacement="${1}**")],
    ),
    "no fields": Settings(
        loki=Loki(limits=ANY_AGE), labels=Labels(fields={}, static={"env": "test"}), structured_metadata={}
    ),
    "tight limits": Settings(
        loki=Loki(
            request_bytes_max=1_000,
            limits=Limits(
                line_bytes_max=200,
                structured_metadata_bytes_max=40,
                structured_metadata_count_max=4,
                label_value_bytes_max=9,
            ),
        )
    ),
}

both_ways = pytest.mark.parametrize("way", ["python", pytest.param("native", marks=needs_native)])


def rules_of(name: str, way: Way) -> Rules:
    """Compile settings for one of the two ways."""
    return Rules.compile(msgspec.structs.replace(SETTINGS[name], workers=Workers(native=way == "native")))


compiled = cache(rules_of)


def prepared(records: Sequence[StoredMessage], name: str, *, way: Way = DEFAULT) -> Prepared:
    return prepare(RecordBatch("logs", records), compiled(name, way), now_ns=NOW_NS)


def everything_known() -> list[bytes | None]:
    """Every hostile value, every form of timestamp, level and text, and realistic records."""
    values = [hostile.value for hostile in HOSTILE.values()]
    values += [f'{{"timestamp":{text},"time":{text},"service":"auth-service"}}'.encode() for text in TIMESTAMPS]
    values += [f'{{"level":{text},"app":{{"level":{text}}}}}'.encode() for text in LEVELS]
    values += [f'{{"service":{text},"userId":{text},"app":{{"name":{text},"a":{text}}}}}'.encode() for text in TEXTS]
    (chunk,) = generate(300, seed=5, first_ms=NOW_MS - 60_000, last_ms=NOW_MS, malformed=0.05, poisonous=3)
    return [*values, *chunk.values]
