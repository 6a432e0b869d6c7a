"""The settings: frozen, typed, documented. `config.load` fills them; `config.toml` explains every key to an operator.

The names are an interface (dashboards, deployments and people's files use them). A description here is the text that
error messages and `config.toml` share. Units are the last word of a name.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct


class Secret(str):
    """A string that does not show itself in a repr, a log line or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


# The upper bounds refuse slips of the pen, and what the C libraries below could not take.
Positive = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
NotNegative = Annotated[int, Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=1_000_000_000)]
Records = Annotated[int, Meta(ge=1, le=1_000_000)]
"""What librdkafka's consume() hands over at once, at most."""
Processes = Annotated[int, Meta(ge=0, le=1_024)]
Threads = Annotated[int, Meta(ge=1, le=256)]
Share = Annotated[float, Meta(ge=0, le=1)]
Paths = str | list[str]
"""A field's path in the record (`user.id`: key `id` of the object `user`), or several: the first present one wins."""


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section of the configuration."""


class Kafka(Section, frozen=True, kw_only=True):
    """Where the records come from."""

    bootstrap_servers: list[str] = msgspec.field(default_factory=lambda: ["localhost:9092"])
    topics: list[str] = msgspec.field(default_factory=lambda: ["logs"])
    group_id: str = "shipper"
    assignment: Literal["pinned", "group"] = "pinned"
    start: Literal["earliest", "latest"] = "earliest"
    node_index: NotNegative = 0
    node_count: Positive = 1
    batch_records_max: Records = 10_000
    batch_wait_s: Annotated[float, Meta(gt=0, le=30)] = 0.25
    """Less than the watchdog's patience, and what a drain may have to wait for."""
    client: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)


class Limits(Section, frozen=True, kw_only=True):
    """Loki's own limits, as its `limits_config` has them: what exceeds them is found before the push."""

    line_bytes_max: Positive = 262_144
    label_count_max: Positive = 15
    label_name_bytes_max: Positive = 1_024
    label_value_bytes_max: Annotated[int, Meta(ge=len("unknown"))] = 2_048
    structured_metadata_count_max: Positive = 128
    structured_metadata_bytes_max: Positive = 65_536
    entry_age_max_s: Seconds = 604_800.0
    entry_ahead_max_s: Seconds = 600.0
    entry_behind_max_s: Seconds = 3_600.0


class Loki(Section, frozen=True, kw_only=True):
    """Where the entries go."""

    url: str = "http://localhost:3100"
    tenant: str = ""
    timeout_s: Seconds = 10.0
    request_bytes_max: Positive = 3_145_728
    in_flight_max: Threads = 4
    retry_wait_min_s: Seconds = 0.25
    retry_wait_max_s: Seconds = 30.0
    username: str = ""
    password: Secret = Secret("")
    password_file: str = ""
    bearer_token: Secret = Secret("")
    bearer_token_file: str = ""
    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    limits: Limits = msgspec.field(default_factory=Limits)


class Labels(Struct, frozen=True, kw_only=True):
    """Label name → where its value comes from. `fields` is `[labels]` itself, `static` is `[labels.static]`."""

    fields: dict[str, Paths] = msgspec.field(default_factory=lambda: {"service": "service", "level": "level"})
    static: dict[str, str] = msgspec.field(default_factory=dict)


class LabelValues(Section, frozen=True, kw_only=True):
    """Which values a label from a field may have: what is none of them is demoted to structured metadata."""

    budget: Positive = 100
    demote_matching: str = r"[0-9]{6}|[0-9a-fA-F]{16}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-"
    allowed: dict[str, list[str]] = msgspec.field(default_factory=dict)


class Timestamp(Section, frozen=True, kw_only=True):
    """Which field says when it happened, and in which of the known forms."""

    field: Paths = "timestamp"
    formats: list[Literal["rfc3339", "epoch"]] = msgspec.field(default_factory=lambda: ["rfc3339", "epoch"])


class Malformed(Section, frozen=True, kw_only=True):
    """What to do with a record that is no JSON object in UTF-8."""

    policy: Literal["ship", "dead_letter"] = "ship"


class Filter(Section, frozen=True, kw_only=True):
    """Drops, or thins out, the records that match. Exactly one of any_of, matches and below_level is given."""

    name: str
    field: str = ""
    any_of: list[str] | None = None
    matches: str | None = None
    below_level: Literal["trace", "debug", "info", "warn", "error", "fatal"] | None = None
    action: Literal["drop", "sample"] = "drop"
    share: Share = 0.1


class Redact(Section, frozen=True, kw_only=True):
    """Replaces what a pattern finds, in the line, in label values and in structured metadata."""

    name: str
    pattern: str
    replacement: str = "[redacted]"


class DeadLetter(Section, frozen=True, kw_only=True):
    """Where the records go that Loki can never take."""

    topic: str = "logs.dlq"


class Workers(Section, frozen=True, kw_only=True):
    """The processes that ship."""

    count: Processes = 0
    memory_bytes_max: Positive = 67_108_864
    drain_timeout_s: Seconds = 30.0
    native: bool = True


class Status(Section, frozen=True, kw_only=True):
    """Where the supervisor answers /status, /metrics, /healthz, /readyz and the live page."""

    listen: str = "127.0.0.1:9600"


class Canary(Section, frozen=True, kw_only=True):
    """A record of shipper's own through the whole path, read back from Loki."""

    every_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class ApiTopics(Section, frozen=True, kw_only=True):
    """The compacted topics that the log API keeps its state in."""

    levels: str = "log-levels"
    queries: str = "log-queries"
    tokens: str = "log-tokens"


class ApiOidc(Section, frozen=True, kw_only=True):
    """Whose JWTs the log API takes, and what their claims mean. Without an issuer it takes none."""

    issuer: str = ""
    audience: str = ""
    jwks_url: str = ""
    algorithms: list[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
    ] = msgspec.field(default_factory=lambda: ["RS256"])
    name_claim: str = "sub"
    role_claim: str = "roles"
    roles: dict[str, Literal["service", "viewer", "operator", "admin"]] = msgspec.field(default_factory=dict)
    services_claim: str = ""
    environments_claim: str = ""
    tenant_claim: str = ""


class Api(Section, frozen=True, kw_only=True):
    """The log API, `shipper api`: where it listens, how it reads, and how much one call may ask for."""

    listen: str = "127.0.0.1:4005"
    timeout_s: Seconds = 30.0
    range_s: Seconds = 3_600.0
    range_max_s: Seconds = 7_776_000.0
    lines_max: Annotated[int, Meta(ge=1, le=5_000)] = 2_000
    page_entries: Annotated[int, Meta(ge=10, le=100_000)] = 5_000
    streams_max: Annotated[int, Meta(ge=1, le=10_000)] = 64
    tail_poll_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    tail_lateness_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    tail_heartbeat_s: Annotated[float, Meta(ge=0.1, le=600)] = 15.0
    tail_lines_max: Annotated[int, Meta(ge=10, le=100_000)] = 2_000
    shippers: list[str] = msgspec.field(default_factory=lambda: ["http://127.0.0.1:9600"])
    public: list[Literal["/readyz", "/metrics", "/docs"]] = msgspec.field(default_factory=list)
    requests_per_minute: Positive = 600
    failures_per_minute: Positive = 60
    body_bytes_max: Annotated[int, Meta(ge=1_024, le=16_777_216)] = 65_536
    body_timeout_s: Seconds = 10.0
    tls_cert_file: str = ""
    tls_key_file: str = ""
    trusted_proxies: list[str] = msgspec.field(default_factory=list)
    topics: ApiTopics = msgspec.field(default_factory=ApiTopics)
    oidc: ApiOidc = msgspec.field(default_factory=ApiOidc)


def _structured_metadata() -> dict[str, Paths]:
    return {
        "request_id": ["requestId", "correlationId", "traceId", "traceparent"],
        "user_id": "userId",
        "trace_id": "traceId",
    }


class Settings(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    kafka: Kafka = msgspec.field(default_factory=Kafka)
    loki: Loki = msgspec.field(default_factory=Loki)
    labels: Labels = msgspec.field(default_factory=Labels)
    label_values: LabelValues = msgspec.field(default_factory=LabelValues)
    structured_metadata: dict[str, Paths] = msgspec.field(default_factory=_structured_metadata)
    timestamp: Timestamp = msgspec.field(default_factory=Timestamp)
    malformed: Malformed = msgspec.field(default_factory=Malformed)
    filters: list[Filter] = msgspec.field(default_factory=list)
    redact: list[Redact] = msgspec.field(default_factory=list)
    dead_letter: DeadLetter = msgspec.field(default_factory=DeadLetter)
    workers: Workers = msgspec.field(default_factory=Workers)
    status: Status = msgspec.field(default_factory=Status)
    canary: Canary = msgspec.field(default_factory=Canary)
    api: Api = msgspec.field(default_factory=Api)
