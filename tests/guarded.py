"""Access to a Kafka that wants a login and has rules; `guarded` of the integration tests is one."""

from pathlib import Path

from confluent_kafka.admin import AclBinding, AdminClient  # type: ignore[attr-defined] # documented there, but in no __all__


def login(password_file: Path, password: str) -> list[str]:
    password_file.write_text(password)
    return [
        "kafka.client.security.protocol=SASL_PLAINTEXT",
        "kafka.client.sasl.mechanism=PLAIN",
        "kafka.client.sasl.username=alice",
        f"kafka.client.sasl.password_file={password_file}",
    ]


def permit(bootstrap: str, *rules: tuple[str, str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_acls(
        [AclBinding(kind, name, "LITERAL", "User:alice", "*", may, "ALLOW") for kind, name, may in rules]
    )
    for future in made.values():
        future.result(20)
