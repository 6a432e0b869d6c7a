"""Settings about the servers that contradict each other, or that Kafka or Loki cannot take."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from shipper.config.problems import Problems, show, twice
from shipper.settings import Kafka, Loki, Settings

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:[A-Z_]+://)?(?:\[[0-9a-fA-F:.%]+\]|[^\s:/,\[\]]+)(?::(?P<port>\d{1,5}))?")
_LISTEN = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:/,\[\]]*):(?P<port>\d{1,5})")
_HTTP = re.compile(r"https?://[^\s/@?#]+(?:/[^\s@?#]*)?")
_TENANT = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9!\-_.*'()]{0,150}")
_PORT_MAX = 65_535
# Protobuf's tags and lengths around an entry: about 40 bytes, and 8 for each pair of structured metadata.
_ENTRY_OVERHEAD_BYTES = 64
_ESCAPED_BYTES = 6  # what a byte of a label value can become where it must be escaped
_PAIR_OVERHEAD_BYTES = 8

_OURS = {
    "bootstrap.servers": "give kafka.bootstrap_servers",
    "metadata.broker.list": "give kafka.bootstrap_servers",
    "group.id": "give kafka.group_id",
    "group.instance.id": "it follows from kafka.group_id and kafka.node_index",
    "partition.assignment.strategy": "give kafka.assignment",
    "auto.offset.reset": "give kafka.start",
    "enable.auto.commit": "shipper commits by itself, after delivery",
    "enable.auto.offset.store": "shipper commits by itself, after delivery",
    "enable.partition.eof": "shipper relies on it",
    "queued.max.messages.kbytes": "it follows from workers.memory_bytes_max",
    "logger": "it cannot be given in a file",
}
"""librdkafka's settings that would break a promise of shipper's, and what to do instead."""


def check(settings: Settings, problems: Problems) -> None:
    """Note what is wrong with [kafka], [loki], [dead_letter], [workers], [status] and [api], whose types are right."""
    _kafka(settings.kafka, problems)
    _topics(settings, problems)
    _loki(settings.loki, problems)
    _credentials(settings.loki, problems)
    _sizes(settings, problems)
    _listen("status.listen", settings.status.listen, "127.0.0.1:9600", problems)
    _api(settings, problems)


def _listen(key: str, given: str, example: str, problems: Problems) -> None:
    listen = _LISTEN.fullmatch(given)
    if listen is None or int(listen["port"]) > _PORT_MAX:
        problems.add(key, f'wants host:port, such as "{example}", not {show(given)}')


def _api(settings: Settings, problems: Problems) -> None:
    api = settings.api
    _listen("api.listen", api.listen, "127.0.0.1:4005", problems)
    for url in api.shippers:
        if not _HTTP.fullmatch(url):
            problems.add("api.shippers", f'wants the form "http://host:9600", not {show(url)}')
    if api.range_s > api.range_max_s:
        problems.contradict(
            ("api.range_s", api.range_s),
            ("api.range_max_s", api.range_max_s),
            "a call that says nothing must be allowed",
        )
    if api.lines_max + 2 > api.page_entries:
        problems.contradict(
            ("api.lines_max", api.lines_max),
            ("api.page_entries", api.page_entries),
            "a page must hold the lines of one call, and two more",
        )


def topic_name(key: str, topic: str, problems: Problems) -> None:
    """Note it if this can be no topic's name."""
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        problems.add(key, f"{show(topic)} is no name of a topic: up to 249 letters, digits, dots, dashes, _")


def _kafka(kafka: Kafka, problems: Problems) -> None:
    # In a group, Kafka deals: there the index only keeps the hosts' names apart.
    if kafka.assignment == "pinned" and kafka.node_index >= kafka.node_count:
        problems.contradict(
            ("kafka.node_index", kafka.node_index),
            ("kafka.node_count", kafka.node_count),
            f"nodes count from 0, so node_index is at most {kafka.node_count - 1}",
        )
    if not kafka.bootstrap_servers:
        problems.add("kafka.bootstrap_servers", "is empty; at least one must be given")
    for server in kafka.bootstrap_servers:
        found = _SERVER.fullmatch(server)
        if found is None or int(found["port"] or 0) > _PORT_MAX:
            problems.add("kafka.bootstrap_servers", f'wants host:port, such as "kafka-1:9092", not {show(server)}')
    if not kafka.group_id:
        problems.add("kafka.group_id", "is empty; offsets are committed under this name")
    for key in kafka.client:
        if key in _OURS or key.endswith("_cb"):
            problems.add(f"kafka.client.{key}", f"must be left to shipper: {_OURS.get(key, _OURS['logger'])}")


def _topics(settings: Settings, problems: Problems) -> None:
    topics, dead_letter = settings.kafka.topics, settings.dead_letter.topic
    if not topics:
        problems.add("kafka.topics", "is empty; at least one must be given")
    for topic in twice(topics):
        problems.add("kafka.topics", f"names {show(topic)} twice")
    for key, topic in (*(("kafka.topics", topic) for topic in topics), ("dead_letter.topic", dead_letter)):
        topic_name(key, topic, problems)
    if dead_letter in topics:
        problems.contradict(
            ("dead_letter.topic", dead_letter),
            ("kafka.topics", topics),
            "dead letters would be read and refused for ever; give them a topic of their own",
        )


def _loki(loki: Loki, problems: Problems) -> None:
    try:
        url = urlsplit(loki.url)
        whole = url.scheme in {"http", "https"} and url.hostname and (url.port or 1)
    except ValueError:
        problems.add(
            "loki.url", f"wants http:// or https://, a host and a port, not {show(loki.url.rpartition('@')[2])}"
        )
        return
    if "@" in url.netloc:
        problems.add("loki.url", "holds a login, which logs would show; give loki.username and loki.password_file")
    elif not whole or url.query or url.fragment:
        problems.add("loki.url", f'wants the form "http://host:3100" or "https://host/prefix", not {show(loki.url)}')
    elif "/loki/api/" in url.path:
        problems.add("loki.url", f"wants the address before /loki/api/…, which shipper adds, not {show(loki.url)}")
    if not _TENANT.fullmatch(loki.tenant):
        problems.add("loki.tenant", f"{show(loki.tenant)} is no tenant: up to 150 letters, digits and !-_.*'()")
    if loki.retry_wait_min_s > loki.retry_wait_max_s:
        problems.contradict(
            ("loki.retry_wait_min_s", loki.retry_wait_min_s),
            ("loki.retry_wait_max_s", loki.retry_wait_max_s),
            "the wait grows from the one to the other",
        )
    for name in ("ca_file", "client_cert_file", "client_key_file"):
        file = getattr(loki, name)
        if file and not Path(file).exists():
            problems.add(f"loki.{name}", f"there is no file {show(file)}")
    if loki.client_key_file and not loki.client_cert_file:
        problems.add("loki.client_key_file", "is a key without a certificate; give loki.client_cert_file too")


def _credentials(loki: Loki, problems: Problems) -> None:
    if loki.username and not loki.password:
        problems.add("loki.username", "is a name without a password; give loki.password_file too")
    if loki.password and not loki.username:
        problems.add(_given(loki, "password"), "is a password without a name; give loki.username too")
    if loki.bearer_token and (loki.username or loki.password):
        basic = "loki.username" if loki.username else _given(loki, "password")
        bearer = _given(loki, "bearer_token")
        problems.contradict(
            (basic, getattr(loki, basic.removeprefix("loki."))),
            (bearer, getattr(loki, bearer.removeprefix("loki."))),
            "a request has one Authorization header; give a login or a token",
        )


def _given(loki: Loki, name: str) -> str:
    return f"loki.{name}_file" if getattr(loki, f"{name}_file") else f"loki.{name}"


def _sizes(settings: Settings, problems: Problems) -> None:
    loki, limits = settings.loki, settings.loki.limits
    names = [*settings.labels.fields, *settings.labels.static]
    labels = sum(len(name) + _ESCAPED_BYTES * limits.label_value_bytes_max + _PAIR_OVERHEAD_BYTES for name in names)
    pairs = min(len(settings.structured_metadata) + 1, limits.structured_metadata_count_max) * _PAIR_OVERHEAD_BYTES
    around = limits.structured_metadata_bytes_max + labels + pairs + _ENTRY_OVERHEAD_BYTES
    if limits.line_bytes_max + around > loki.request_bytes_max:
        problems.contradict(
            ("loki.limits.line_bytes_max", limits.line_bytes_max),
            ("loki.request_bytes_max", loki.request_bytes_max),
            f"a longest line with its structured metadata and labels ({around} bytes) must fit into one request",
        )
    if loki.in_flight_max * loki.request_bytes_max > settings.workers.memory_bytes_max:
        key = "in_flight_max" if problems.places.exact("loki.in_flight_max") else "request_bytes_max"
        problems.contradict(
            (f"loki.{key}", getattr(loki, key)),
            ("workers.memory_bytes_max", settings.workers.memory_bytes_max),
            f"{loki.in_flight_max} requests of {loki.request_bytes_max} bytes must fit into a worker's memory",
        )
