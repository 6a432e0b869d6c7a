"""The configuration: every layer, every mistake with its place, and `config.toml` as the explanation of all keys."""

import pickle
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from shipper import config
from shipper.config.shape import known_keys
from shipper.errors import ConfigError
from shipper.settings import Filter, Redact, Settings

EXPLAINED = Path(__file__).parents[2] / "config.toml"
Complaint = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "shipper.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def complaint(file: Callable[[str], Path]) -> Complaint:
    """Return what `load` says of a file, an environment and overrides, all of which have a mistake."""

    def complain(text: str, *overrides: str, **env: str) -> str:
        with pytest.raises(ConfigError) as caught:
            config.load(file(text), env=env, overrides=overrides)
        return str(caught.value)

    return complain


def test_config_toml_says_the_built_in_defaults() -> None:
    assert config.load(EXPLAINED, env={}) == Settings()


def test_config_toml_explains_every_key() -> None:
    text = EXPLAINED.read_text()
    keys = [key.rpartition(".")[2] for key in known_keys(Settings, "")]
    rules = [*Filter.__struct_fields__, *Redact.__struct_fields__]
    missing = [key for key in (*keys, *rules) if f"{key} = " not in text and f"{key}]" not in text]
    assert missing == []


def test_config_toml_keeps_its_examples_valid(file: Callable[[str], Path]) -> None:
    """What is commented out there works when the comment sign is taken away, but for alternatives of one rule."""
    example = re.compile(r'# (?=\[\[|"?[\w.]+"? = )(?!(matches|below_level|action|share) = )')
    text = "\n".join(example.sub("", line, count=1) for line in EXPLAINED.read_text().splitlines())
    text = text.replace('"sasl.password_file" = "/run/secrets/kafka"', "")
    settings = config.load(file(text), env={})
    assert settings.filters[0].any_of == ["/healthz", "/readyz"]
    assert settings.redact[0].name == "card numbers"
    assert settings.labels.static == {"env": "production"}
    assert settings.kafka.client["security.protocol"] == "SASL_SSL"


def test_no_file_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load(None, env={}) == Settings()


def test_file_is_argument_then_variable_then_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("config.toml", "variable.toml", "argument.toml"):
        Path(name).write_text(f'[kafka]\ngroup_id = "{name}"')
    variable = {"SHIPPER_CONFIG": "variable.toml"}
    assert config.load(None, env={}).kafka.group_id == "config.toml"
    assert config.load(None, env=variable).kafka.group_id == "variable.toml"
    assert config.load(Path("argument.toml"), env=variable).kafka.group_id == "argument.toml"


def test_environment_wins_over_file_and_set_over_both(file: Callable[[str], Path]) -> None:
    path = file('[kafka]\ngroup_id = "file"\nstart = "latest"\nassignment = "group"')
    env = {"SHIPPER_KAFKA__GROUP_ID": "env", "SHIPPER_KAFKA__START": "earliest"}
    kafka = config.load(path, env=env, overrides=["kafka.group_id=set"]).kafka
    assert (kafka.group_id, kafka.start, kafka.assignment) == ("set", "earliest", "group")


def test_text_from_outside_toml_takes_the_type_of_its_target() -> None:
    env = {
        "SHIPPER_KAFKA__BOOTSTRAP_SERVERS": "a:1, b:2",
        "SHIPPER_KAFKA__GROUP_ID": "42",
        "SHIPPER_KAFKA__BATCH_RECORDS_MAX": "1_000",
        "SHIPPER_LOKI__TIMEOUT_S": "3",
        "SHIPPER_LOKI__LIMITS__LINE_BYTES_MAX": "1000",
        "SHIPPER_LABELS__ROOM": "room,raum",
        "SHIPPER_LABELS__STATIC__ENV": "1",
    }
    overrides = ['kafka.topics=["x", "y"]', "timestamp.field=time", 'filters=[{name="n", field="f", any_of=["1"]}]']
    settings = config.load(EXPLAINED, env=env, overrides=overrides)
    assert settings.kafka.bootstrap_servers == ["a:1", "b:2"]
    assert (settings.kafka.group_id, settings.kafka.batch_records_max) == ("42", 1000)
    assert (settings.loki.timeout_s, settings.loki.limits.line_bytes_max) == (3.0, 1000)
    assert settings.labels.fields == {"service": "service", "level": "level", "room": ["room", "raum"]}
    assert settings.labels.static == {"env": "1"}
    assert (settings.kafka.topics, settings.timestamp.field) == (["x", "y"], "time")
    assert settings.filters == [Filter(name="n", field="f", any_of=["1"])]


def test_one_more_label_from_outside_adds_to_the_defaults_and_a_table_in_the_file_replaces_them(
    file: Callable[[str], Path],
) -> None:
    added = config.load(file(""), env={"SHIPPER_STRUCTURED_METADATA__ROOM": "room"})
    assert set(added.structured_metadata) == {"request_id", "user_id", "trace_id", "room"}
    replaced = config.load(file('[labels]\nservice = "app"\n[structured_metadata]\n'), env={})
    assert (replaced.labels.fields, replaced.structured_metadata) == ({"service": "app"}, {})
    assert config.load(file('[labels.static]\nenv = "x"'), env={}).labels.fields == Settings().labels.fields


@pytest.mark.parametrize("text", ['"sasl.username" = "me"', 'sasl.username = "me"', 'sasl = { username = "me" }'])
def test_librdkafka_keys_may_be_quoted_or_not(text: str, file: Callable[[str], Path]) -> None:
    assert config.load(file(f"[kafka.client]\n{text}"), env={}).kafka.client == {"sasl.username": "me"}


def test_librdkafka_keys_come_from_the_environment_and_set_too(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("geheim\n")
    env = {
        "SHIPPER_KAFKA__CLIENT__SASL_PASSWORD_FILE": str(tmp_path / "pw"),
        "SHIPPER_KAFKA__CLIENT__SECURITY_PROTOCOL": "SASL_SSL",
        "SHIPPER_KAFKA__CLIENT__LOG_LEVEL": "3",
    }
    client = config.load(EXPLAINED, env=env, overrides=["kafka.client.socket.timeout.ms=1000"]).kafka.client
    assert client == {
        "sasl.password": "geheim",
        "security.protocol": "SASL_SSL",
        "log_level": "3",
        "socket.timeout.ms": "1000",
    }


def test_variables_without_a_double_underscore_are_no_settings() -> None:
    env = {"SHIPPER_PARTS_DIR": "/x", "SHIPPER_REQUIRE_REAL": "1", "SHIPPER_LOG": "text", "SHIPPER_PORT": "tcp://x"}
    assert config.load(EXPLAINED, env=env) == Settings()


def test_references_are_replaced_in_any_text_and_typed_by_their_target(file: Callable[[str], Path]) -> None:
    path = file(
        '[kafka]\nnode_index = "${env:ORDINAL}"\nnode_count = 3\ntopics = ["logs-${env:ENV}"]\n'
        '[loki]\nusername = "me"\npassword = "${env:PW}"'
    )
    settings = config.load(path, env={"ORDINAL": "2", "ENV": "test", "PW": "1234"})
    assert (settings.kafka.node_index, settings.kafka.topics, settings.loki.password) == (2, ["logs-test"], "1234")


def test_secrets_are_read_from_files_without_the_last_newline_and_never_shown(
    tmp_path: Path, file: Callable[[str], Path]
) -> None:
    (tmp_path / "pw").write_text(" geheim \n")
    path = file(f'[loki]\nusername = "me"\npassword_file = "{tmp_path}/pw"\n[kafka.client]\nsasl.password = "geheim"')
    settings = config.load(path, env={})
    assert settings.loki.password == " geheim "
    assert "geheim" not in repr(settings)
    assert "geheim" not in repr(pickle.loads(pickle.dumps(settings)))  # noqa: S301 - our own, as a worker gets it


def test_all_unknown_keys_are_told_at_once_with_file_line_and_nearest_known(complaint: Complaint) -> None:
    said = complaint(
        '[kafka]\nbootstrap_server = ["x"]\n[kafak]\nx = 1\n[loki]\nline_bytes_max = 1\n[[redact]]\nnam = ""'
    )
    assert (
        "shipper.toml:2: kafka.bootstrap_server: unknown key; the nearest known one is kafka.bootstrap_servers" in said
    )
    assert "shipper.toml:3: kafak: unknown section; the nearest known one is kafka" in said
    assert (
        "shipper.toml:6: loki.line_bytes_max: unknown key; the nearest known one is loki.limits.line_bytes_max" in said
    )
    assert "shipper.toml:8: redact[0].nam: unknown key; the nearest known one is redact[0].name" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[kafka]\nnode_index = "3"', 'wants a whole number of at least 0 and at most 1000000, not the text "3"'),
        ("[kafka]\nnode_index = 1.5", "wants a whole number of at least 0 and at most 1000000, not 1.5"),
        ("[kafka]\nnode_index = true", "not true"),
        ("[kafka]\nnode_count = 0", "wants a whole number of at least 1"),
        ('[kafka]\ntopics = "logs"', 'wants a list in brackets, each of it a text in quotes, not the text "logs"'),
        ("[kafka]\nclient = 3", "is a section, written [kafka.client], not 3"),
        ("[kafka]\ngroup_id = 1979-05-27", 'wants a text in quotes, not "1979-05-27"'),
        ('[kafka]\nassignment = "pin"', 'wants one of "group", "pinned", not the text "pin"'),
        ("[loki]\ntimeout_s = nan", "not nan"),
        ("[loki]\nin_flight_max = 99999999999999999999", "not 99999999999999999999"),
        ("[labels]\nservice = 3", "wants a text in quotes or a list"),
        ('[labels]\nstatic = "x"', "is a section, written [labels.static]"),
        ("[[filters]]\nname = 1", "wants a text in quotes, not 1"),
        ("[filters]\nname = 1", "is a list of tables, each written [[filters]], not a table"),
    ],
)
def test_a_wrong_type_is_told_with_key_given_and_wanted(text: str, sentence: str, complaint: Complaint) -> None:
    said = complaint(text)
    key = text.replace("[", "").replace("]", "").replace("\n", " = ").split(" = ")
    line = 2 if "is a" not in said or "client" in said or "static" in said else 1
    assert said.startswith(said.split(".toml")[0] + f".toml:{line}: {key[0]}")
    assert sentence in said


def test_a_wrong_type_never_shows_a_secret(complaint: Complaint) -> None:
    assert "1234" not in complaint("[loki]\npassword = 1234")


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("[kafka]\ngroup_id = x", ":2:12: ", "no valid TOML: Invalid value"),
        ("[kafka]\ntopics = [", ":2:11: ", "no valid TOML"),
        ('[kafka]\nstart = "latest"\nstart = "latest"', ":3:", "Cannot overwrite a value"),
        ("x = " + "[" * 5000, ": ", "no valid TOML"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_column(
    text: str, place: str, sentence: str, complaint: Complaint
) -> None:
    said = complaint(text)
    assert f"shipper.toml{place}" in said
    assert sentence in said


def test_a_file_that_is_missing_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read: No such file.*--config"):
        config.load(tmp_path / "nowhere.toml", env={})
    (tmp_path / "binary").write_bytes(b"# fine\n\xff")
    with pytest.raises(ConfigError, match=r"binary:2: no valid UTF-8"):
        config.load(tmp_path / "binary", env={})
    (tmp_path / "bom.toml").write_bytes(b'\xef\xbb\xbf[kafka]\ngroup_id = "bom"')
    assert config.load(tmp_path / "bom.toml", env={}).kafka.group_id == "bom"


def test_mistakes_outside_the_file_name_variable_or_option(complaint: Complaint) -> None:
    env = {"SHIPPER_KAFKA__TOPIC": "a", "SHIPPER_A__B": "1", "SHIPPER_KAFKA__NODE_COUNT": "two"}
    said = complaint("", "loki.timeout_s=soon", "loki.tenand=x", **env)
    assert "environment variable SHIPPER_KAFKA__TOPIC: kafka.topic: unknown key; the nearest known one is" in said
    assert "environment variable SHIPPER_A__B: a: unknown section; known are kafka, loki" in said
    assert "environment variable SHIPPER_KAFKA__NODE_COUNT: kafka.node_count: wants a whole number" in said
    assert "--set: loki.timeout_s: wants a number" in said
    assert "--set: loki.tenand: unknown key; the nearest known one is loki.tenant" in said


@pytest.mark.parametrize("override", ["kafka.node_index", "kafka=3", "=3", ".x=3", "kafka.=3"])
def test_set_without_section_key_and_value_is_refused(override: str, complaint: Complaint) -> None:
    assert "wants the form section.key=value" in complaint("", override)


@pytest.mark.parametrize("key", ["loki.password", "loki.bearer_token", "kafka.client.sasl.password"])
def test_secrets_are_refused_on_the_command_line(key: str, complaint: Complaint) -> None:
    said = complaint("", f"{key}=geheim")
    assert f"{key}_file=PATH" in said
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("[kafka]\nnode_index = 2\nnode_count = 2", ["kafka.node_index = 2", "kafka.node_count = 2", "toml:3)"]),
        ("[kafka]\nnode_index = 1", ["kafka.node_index = 1", "kafka.node_count = 1 (built-in default)"]),
        ('[dead_letter]\ntopic = "logs"', ['dead_letter.topic = "logs"', 'kafka.topics = ["logs"]']),
        (
            "[loki]\nrequest_bytes_max = 300_000",
            ["loki.limits.line_bytes_max = 262144", "loki.request_bytes_max = 300000"],
        ),
        ("[loki]\nin_flight_max = 100", ["loki.in_flight_max = 100", "workers.memory_bytes_max = 67108864"]),
        ("[loki]\nretry_wait_min_s = 40", ["loki.retry_wait_min_s = 40.0", "loki.retry_wait_max_s = 30.0"]),
        (
            '[loki]\npassword = "geheim"\npassword_file = "/x"',
            ['loki.password = "***"', 'loki.password_file = "/x"'],
        ),
        (
            '[loki]\nusername = "me"\npassword = "geheim"\nbearer_token = "geheim"',
            ['loki.username = "me"', 'loki.bearer_token = "***"'],
        ),
        (
            '[kafka.client]\nsasl.password = "geheim"\n"sasl.password_file" = "/x"',
            ['kafka.client.sasl.password = "***"', 'kafka.client.sasl.password_file = "/x"'],
        ),
        ('[labels.static]\nservice = "x"', ['labels.service = "service"', 'labels.static.service = "x"']),
        ("[loki.limits]\nlabel_count_max = 1", ['labels = ["level","service"]', "label_count_max = 1"]),
        (
            '[labels.static]\nenv = "ääää"\n[loki.limits]\nlabel_value_bytes_max = 7',
            ['labels.static.env = "ääää"', "label_value_bytes_max = 7", "8 bytes"],
        ),
        ("[loki.limits]\nlabel_name_bytes_max = 6", ['labels.service = "service"', "label_name_bytes_max = 6"]),
        (
            "[loki.limits]\nstructured_metadata_count_max = 2",
            ['structured_metadata = ["request_id","trace_id","user_id"]', "structured_metadata_count_max = 2"],
        ),
        (
            '[structured_metadata]\nservice = "svc"',
            ['structured_metadata.service = "svc"', 'labels.service = "service"'],
        ),
        ('[labels]\nuser = "user"\nid = "user.id"', ['labels.user = "user"', 'labels.id = "user.id"', "toml:3)"]),
        (
            '[timestamp]\nfield = "meta.time"\n[structured_metadata]\nm = ["x", "meta"]',
            ['structured_metadata.m = "meta"', 'timestamp.field = "meta.time"'],
        ),
        (
            '[[filters]]\nname = "x"\nfield = "service.name"\nmatches = "y"',
            ['labels.service = "service"', 'filters[0].field = "service.name"'],
        ),
        (
            '[[filters]]\nname = "x"\nfield = "y"\nmatches = "y"\nshare = 0.5',
            ["filters[0].share = 0.5", 'filters[0].action = "drop" (built-in default)'],
        ),
        (
            'filters = [{name = "x", field = "y", matches = "y", share = 0.5}]',
            ["toml:1: filters[0].share = 0.5", 'filters[0].action = "drop" (built-in default)'],
        ),
    ],
)
def test_two_settings_that_contradict_are_both_quoted(text: str, quoted: list[str], complaint: Complaint) -> None:
    said = complaint(text)
    assert [part for part in quoted if part not in said] == []
    assert "contradict each other" in said
    assert "geheim" not in said
    assert "shipper.toml:" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[kafka]\ntopics = []", "kafka.topics: is empty"),
        ('[label_values.allowed]\nzone = ["a"]', "label_values.allowed.zone: is no label that comes from a field"),
        ("[label_values.allowed]\nlevel = []", "label_values.allowed.level: is an empty list"),
        ('[structured_metadata]\nlevel_demoted = "x"', "is where a demoted value of the label level goes"),
        ('[kafka]\ntopics = ["a", "a"]', 'kafka.topics: names "a" twice'),
        ('[kafka]\ntopics = ["a b"]', '"a b" is no name of a topic'),
        ('[dead_letter]\ntopic = ""', '"" is no name of a topic'),
        ("[kafka]\nbootstrap_servers = []", "is empty"),
        ('[kafka]\nbootstrap_servers = ["a:b"]', "wants host:port"),
        ('[kafka]\nbootstrap_servers = ["a:70000"]', "wants host:port"),
        ('[kafka]\ngroup_id = ""', "kafka.group_id: is empty"),
        ('[kafka.client]\ngroup.id = "x"', "give kafka.group_id"),
        ('[kafka.client]\n"bootstrap.servers" = "x"', "give kafka.bootstrap_servers"),
        ('[kafka.client]\nauto.offset.reset = "x"', "give kafka.start"),
        ("[kafka.client]\nenable.auto.commit = true", "shipper commits by itself"),
        ("[kafka.client]\nenable.auto.offset.store = true", "shipper commits by itself"),
        ("[kafka.client]\nenable.partition.eof = false", "shipper relies on it"),
        ('[kafka.client]\npartition.assignment.strategy = "range"', "give kafka.assignment"),
        ('[kafka.client]\n"group.instance.id" = "x"', "it follows from"),
        ('[kafka.client]\nerror_cb = "x"', "cannot be given in a file"),
        ('[kafka.client]\n"sasl.password_file" = "/nowhere/pw"', 'the file "/nowhere/pw" cannot be read'),
        ('[loki]\nurl = "localhost:3100"', "wants the form"),
        ('[loki]\nurl = "ftp://localhost"', "wants the form"),
        ('[loki]\nurl = "http://localhost:99999"', "wants http:// or https://"),
        ('[loki]\nurl = "http://[::1"', "wants http:// or https://"),
        ('[loki]\nurl = "http://localhost:3100/loki/api/v1/push"', "wants the address before /loki/api/"),
        ('[loki]\nurl = "http://me:geheim@localhost"', "holds a login"),
        ('[loki]\ntenant = "a|b"', '"a|b" is no tenant'),
        ('[loki]\nusername = "me"', "is a name without a password"),
        ('[loki]\npassword = "geheim"', "loki.password: is a password without a name"),
        ('[loki]\npassword_file = "/dev/null"', 'the file "/dev/null" is empty'),
        ('[loki]\nca_file = "/nowhere"', 'there is no file "/nowhere"'),
        ('[loki]\nclient_key_file = "/dev/null"', "is a key without a certificate"),
        ('[labels]\n"9a" = "x"', '"9a" is no name for Loki'),
        ('[labels]\n"__a" = "x"', '"__a" is no name for Loki'),
        ('[labels]\n"a-b" = "x"', '"a-b" is no name for Loki'),
        ('[labels.static]\nenv = ""', "is empty, and Loki drops empty labels"),
        ('[labels]\na = "b..c"', '"b..c" is no path'),
        ("[labels]\na = []", '"" is no path'),
        ('[structured_metadata]\n"a.b" = "x"', '"a.b" is no name for Loki'),
        ('[structured_metadata]\nshipper_error = "x"', "shipper says why a record is malformed"),
        ("[timestamp]\nformats = []", "timestamp.formats: is empty"),
        ('[[filters]]\nname = "x"\nfield = "y"', "wants exactly one of any_of, matches and below_level; given: none"),
        (
            '[[filters]]\nname = "x"\nfield = "y"\nmatches = "a"\nbelow_level = "info"',
            'given: matches = "a" and below_level = "info"',
        ),
        ('[[filters]]\nname = "x"\nmatches = "a"', '"x" wants field'),
        ('[[filters]]\nname = "x"\nbelow_level = "info"\n[labels]\na = "b"', "there is no label level"),
        ('[[filters]]\nname = "x"\nfield = "y"\nmatches = ""', "filters[0].matches: is an empty pattern"),
        ('[[filters]]\nname = "x"\nfield = "y"\nany_of = []', "filters[0].any_of: is an empty list"),
        ('[[filters]]\nname = "empty"\nfield = "y"\nmatches = "a"', '"empty" is the built-in rule'),
        ('[[filters]]\nname = ""\nfield = "y"\nmatches = "a"', "filters[0].name: is empty"),
        ('[[filters]]\nfield = "y"\nmatches = "a"', "filters[0]: name is missing"),
        ('[[redact]]\nname = "x"\npattern = ""', "redact[0].pattern: is an empty pattern"),
        ('[[redact]]\nname = "x"\npattern = "a"\n[[redact]]\nname = "x"\npattern = "b"', "redact[1].name: "),
        ('[status]\nlisten = "9600"', "wants host:port"),
        ('[status]\nlisten = "localhost:99999"', "wants host:port"),
        ('[loki]\ntenant = "${env:NOWHERE}"', "loki.tenant: names the environment variable NOWHERE, which is not set"),
    ],
)
def test_what_kafka_loki_or_the_pipeline_cannot_take_is_refused(text: str, sentence: str, complaint: Complaint) -> None:
    said = complaint(text)
    assert sentence in said
    assert "geheim" not in said
    assert "shipper.toml:" in said


@pytest.mark.parametrize(
    "text",
    [
        '[[filters]]\nname = "x"\nbelow_level = "info"',
        '[kafka]\nbootstrap_servers = ["PLAINTEXT://a:1", "[::1]:9092", "b"]',
        '[kafka]\nassignment = "group"\nnode_index = 7',
        '[loki]\nurl = "https://logs.example.com/prefix"',
        '[status]\nlisten = "[::1]:0"',
        '[labels]\na = "user.id"\nb = "user.name"\nc = "users"',
        '[labels]\na = "user"\nb = ["user", "x"]',
        '[[filters]]\nname = "x"\nfield = "y"\nmatches = "y"\naction = "sample"\nshare = 0.5',
    ],
)
def test_what_is_right_is_accepted(text: str, file: Callable[[str], Path]) -> None:
    tomllib.loads(text)
    config.load(file(text), env={})


def test_a_batch_may_not_wait_for_longer_than_a_worker_may_be_silent(complaint: Complaint) -> None:
    assert "kafka.batch_wait_s" in complaint("[kafka]\nbatch_wait_s = 31")
