"""What tests do to a Kafka while records are shipped out of it, and what they ask it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # documented there, but in no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from chaos.load import Load, healthy
from shipping import WAIT_S, Running, Shipping

SETTINGS = {
    # A member is missed after as little as a second, where the least is six by default.
    "group.min.session.timeout.ms": "1000",
    # Everybody may do everything until a test forbids it.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
"""Of a broker that tests break."""


def change(shipping: Shipping, old: str, new: str) -> None:
    """Replace a text of the configuration."""
    text = shipping.config.read_text()
    assert old in text
    shipping.config.write_text(text.replace(old, new, 1))


def admin(bootstrap: str) -> AdminClient:
    """Return a client that must outlive its requests."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create_topic(bootstrap: str, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
    client = admin(bootstrap)
    client.create_topics([NewTopic(name, partitions, 1, config=dict(config or {}))])[name].result(WAIT_S)


def set_topic(bootstrap: str, name: str, key: str, value: str) -> None:
    """Change one setting of a topic."""
    client = admin(bootstrap)
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(WAIT_S)


@contextlib.contextmanager
def forbidden(bootstrap: str, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """Forbid an operation on one thing to everybody, until the end."""
    client = admin(bootstrap)
    everybody = ("User:ANONYMOUS", "*")
    # What has a rule is closed but for its rules: so everything else is permitted by name.
    allow = AclBinding(kind, name, ResourcePatternType.LITERAL, *everybody, AclOperation.ALL, AclPermissionType.ALLOW)
    deny = AclBinding(kind, name, ResourcePatternType.LITERAL, *everybody, operation, AclPermissionType.DENY)
    for answer in client.create_acls([allow, deny]).values():
        answer.result(WAIT_S)
    try:
        yield
    finally:
        for removed in client.delete_acls([_filter(one) for one in (deny, allow)]).values():
            removed.result(WAIT_S)


def _filter(binding: AclBinding) -> Any:  # noqa: ANN401 - confluent_kafka ships no types
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def committed(shipping: Shipping) -> dict[int, int]:
    """Ask Kafka for the group's offsets: partition → next offset, 0 where nothing was committed."""
    consumer = Consumer({"bootstrap.servers": shipping.bootstrap, "group.id": shipping.label})
    partitions = consumer.list_topics(shipping.topic, timeout=20).topics[shipping.topic].partitions
    answer = consumer.committed([TopicPartition(shipping.topic, number) for number in partitions], timeout=20)
    consumer.close()
    return {at.partition: max(at.offset, 0) for at in answer}


def leaders(shipping: Shipping) -> list[int]:
    """Ask Kafka who leads the partitions of the log topic."""
    partitions = admin(shipping.bootstrap).list_topics(shipping.topic, timeout=20).topics[shipping.topic].partitions
    return [partition.leader for partition in partitions.values()]


def flows(running: Running, records: int = 500) -> None:
    """Wait until so many more records are delivered than now."""
    before = running.status()["totals"]["delivered"]
    running.wait_for(lambda status: status["totals"]["delivered"] >= before + records)


@contextlib.contextmanager
def loaded(running: Running, rate: int = 1_000) -> Iterator[Load]:
    """Write records meanwhile; then wait until all of them are settled, and the shipper is healthy by itself."""
    with Load(running.shipping.bootstrap, running.shipping.topic, rate=rate) as load:
        flows(running)
        yield load
        flows(running)
    healthy(running)
    running.wait_for(lambda status: all(partition["lag_records"] == 0 for partition in status["partitions"]))


def reasons(running: Running) -> str:
    """Ask /readyz why shipper is not ready; empty when it is."""
    try:
        with urlopen(f"{running.url}/readyz", timeout=10):  # noqa: S310 - http, ours
            return ""
    except HTTPError as refused:
        return " ".join(json.load(refused)["reasons"])


def metric(running: Running, name: str, **labels: str) -> float:
    """Read a metric's samples that have these labels, and add them up."""
    with urlopen(f"{running.url}/metrics", timeout=10) as answer:  # noqa: S310 - http, ours
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
