"""The dead letter topic is missing, too small, closed: nothing passes it, it is said, and mended it goes on.

Broken on purpose, and seen red: a letter that is refused counts as sent, and is forgotten.
"""

import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType  # type: ignore[attr-defined] # in no __all__

from chaos.cluster import change, committed, create_topic, forbidden, metric, reasons, set_topic
from chaos.load import Load, healthy
from oracle import DeadLettered
from shipper.devstack.kafka import KafkaServer, make_topic
from shipper.devstack.loki import LokiServer
from shipping import Running, Shipping, read_topic

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.loki]

PARTITIONS = 4
LOOKS = 4


def test_nothing_passes_a_dead_letter_topic_that_does_not_take_a_letter(
    own_kafka: KafkaServer, loki: LokiServer, tmp_path: Path
) -> None:
    servers, letters = own_kafka.bootstrap, f"letters-{uuid.uuid4().hex[:8]}"
    shipping = Shipping(
        tmp_path,
        bootstrap=servers,
        loki_url=loki.url,
        topic=make_topic(servers, PARTITIONS),
        dead_letters=letters,
    )
    # The line that is too long repeats itself, and compressed it would pass.
    change(shipping, "[kafka]", '[kafka]\nclient = { "compression.type" = "none" }')
    with shipping.run() as running:
        with Load(servers, shipping.topic, rate=500):
            assert_stands_still(running, "does not exist")
            create_topic(servers, letters, config={"max.message.bytes": "100000"})
            # Letters of what is too old are taken, those of what is too long are not.
            assert_stands_still(running, "too large")
            set_topic(servers, letters, "max.message.bytes", "2097152")
            wait_until_mended(running)
            with forbidden(servers, ResourceType.TOPIC, letters, AclOperation.WRITE):
                assert_stands_still(running, "does not permit")
            wait_until_mended(running)
        healthy(running)
    assert shipping.judge()["dead_lettered"] > 0


def assert_stands_still(running: Running, sentence: str) -> None:
    """See that the alarm is raised and holds, and that no offset passes a record whose letter is not confirmed."""
    running.until(lambda: sentence in reasons(running) or None)
    for _ in range(LOOKS):
        assert sentence in reasons(running)
        assert running.status()["state"] == "degraded"
        assert metric(running, "shipper_kafka_state", state="retrying") > 0
        assert_nothing_passed(running.shipping)
    running.until(lambda: any(sentence in line["message"] for line in running.lines()) or None)


def assert_nothing_passed(shipping: Shipping) -> None:
    offsets = committed(shipping)  # first: a letter that comes between the two looks is one more, not one less
    try:
        buried = {(partition, offset) for partition, offset, _ in shipping.letters()}
    except KeyError:
        buried = set()
    passed = [
        (record.partition(), record.offset())
        for record in read_topic(shipping.bootstrap, shipping.topic)
        if record.offset() < offsets[record.partition()]
        and isinstance(shipping._expect(record), DeadLettered)
        and (record.partition(), record.offset()) not in buried
    ]
    assert not passed, f"committed beyond {passed}, whose letters are not confirmed"


def wait_until_mended(running: Running) -> None:
    running.until(lambda: "letter" not in reasons(running) or None)
    before = running.status()["totals"]["dead_lettered"]
    running.wait_for(lambda status: status["totals"]["dead_lettered"] > before)
