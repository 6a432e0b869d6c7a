"""Kafka's errors as sentences with a way out, and the settings that every client begins with."""

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from shipper.errors import ConfigError
from shipper.kafka.connection import Complaints, common_settings, create_client, explain
from shipper.settings import Kafka, Secret


@pytest.mark.parametrize(
    ("code", "text", "sentence"),
    [
        (
            KafkaError._TRANSPORT,
            "Connect to a:1 failed: Connection refused (after 0ms in state CONNECT)",
            "start Kafka",
        ),
        (KafkaError._RESOLVE, "Failed to resolve 'a:1'", "the host of a:1 is unknown"),
        (KafkaError._AUTHENTICATION, "SASL authentication error", "refused the login"),
        (KafkaError._SSL, "SSL handshake failed: certificate verify failed", "TLS with Kafka at a:1 failed"),
        (KafkaError._TRANSPORT, "SSL handshake failed: connecting to a PLAINTEXT broker listener?", "hung up"),
        (KafkaError._TRANSPORT, "Disconnected while requesting ApiVersion: might be caused by", "hung up"),
        (KafkaError._TIMED_OUT, "timed out", "did not answer in time"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "Unknown topic or partition", "`shipper topics create`"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "Topic authorization failed", "kafka-acls"),
        (KafkaError.INVALID_REPLICATION_FACTOR, "only 1 broker", "--replication-factor"),
        (KafkaError.INVALID_CONFIG, "{odd} text", "Kafka at a:1 answered INVALID_CONFIG: {odd} text"),
    ],
)
def test_errors_are_one_sentence_with_address_cause_and_way_out(code: int, text: str, sentence: str) -> None:
    said = explain(KafkaError(code, text), ["a:1"])
    assert sentence in said
    assert "a:1" in said
    assert text.split(" (after", maxsplit=1)[0] in said
    assert "\n" not in said
    assert "in state" not in said


def test_the_most_telling_complaint_is_the_cause_of_a_vague_failure() -> None:
    complaints = Complaints()
    vague = KafkaError(KafkaError._TRANSPORT, "Failed to get metadata")
    assert complaints.cause_of(vague).str() == "Failed to get metadata"
    for code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
        complaints(KafkaError(code, "said"))
    assert complaints.are_final
    assert complaints.cause_of(vague).name() == "_AUTHENTICATION"
    precise = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no")
    assert complaints.cause_of(precise) is precise


def test_client_settings_win_and_are_text_as_librdkafka_takes_it() -> None:
    kafka = Kafka(
        bootstrap_servers=["a:1", "b:2"],
        client={"client.id": "mine", "socket.keepalive.enable": True, "sasl.password": Secret("geheim")},
    )
    settings = common_settings(kafka)
    assert settings["bootstrap.servers"] == "a:1,b:2"
    assert settings["client.id"] == "mine"
    assert settings["socket.keepalive.enable"] == "true"
    assert settings["sasl.password"] == "geheim"
    assert type(settings["sasl.password"]) is str


def test_an_unknown_librdkafka_setting_is_a_mistake_in_the_configuration() -> None:
    kafka = Kafka(client={"sockets.timeout": 3})
    with pytest.raises(ConfigError, match=r'\[kafka.client\].*No such configuration property: "sockets.timeout"'):
        create_client(AdminClient, common_settings(kafka))
