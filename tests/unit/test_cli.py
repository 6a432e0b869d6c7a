"""The command line: examples, exit codes, clear errors, and a quick start."""

import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from shipper import __version__
from shipper.cli import main
from shipper.devstack.server import free_port

COMMANDS = ("run", "check", "topics create", "produce", "demo", "verify", "dlq list", "dlq show", "dlq redrive")
ROOT = str(Path(__file__).parents[2])


class Told(NamedTuple):
    code: int | str | None
    out: str
    err: str


Shipper = Callable[..., Told]


@pytest.fixture
def shipper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shipper:
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **env: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["shipper", *arguments])
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Told(ended.value.code, out, err)

    return run


def spawn(*arguments: str, cwd: Path, **env: str) -> Told:
    """Run a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ROOT, "LC_ALL": "C.UTF-8", **env},
    )
    return Told(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_ends_with_examples(command: str, shipper: Shipper) -> None:
    told = shipper(*command.split(), "--help")
    assert told.code == 0
    lines = [line.strip() for line in told.out.splitlines() if line.strip()]
    examples = lines[lines.index("Examples:") + 1 :]
    assert examples
    assert all("shipper" in example for example in examples)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--since", "yesterday"], 2, "--since 'yesterday' is no time: give RFC 3339"),
        (["--from-offset", "3"], 2, "want --partition"),
        (["--topic", "other"], 2, "--topic other is none of kafka.topics: logs"),
        pytest.param(
            ["--set", f"loki.url=http://127.0.0.1:{free_port()}"],
            3,
            "gave no answer that can be used",
            marks=pytest.mark.slow,  # it is asked again for some seconds
        ),
    ],
)
def test_what_keeps_verify_from_working_is_one_sentence_with_its_exit_code(
    arguments: list[str], code: int, says: str, shipper: Shipper
) -> None:
    told = shipper("verify", *arguments)
    assert told.code == code
    assert told.out == ""
    assert says in told.err
    assert "Traceback" not in told.err


def test_help_lists_the_commands_and_needs_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, shipper.cli\n"
        "sys.argv = ['shipper', '--help']\n"
        "try: shipper.cli.main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'polars', 'confluent_kafka', 'numpy', 'requests', 'starlette'} & sys.modules.keys()))"
    )
    told = spawn("-c", code, cwd=tmp_path)
    assert "loaded: []" in told.out
    assert all(command.split()[0] in told.out for command in COMMANDS)


def test_version_is_printed(shipper: Shipper) -> None:
    assert shipper("--version") == (0, f"shipper {__version__}\n", "")


@pytest.mark.parametrize("command", ["run", "topics create", "produce"])
def test_a_mistake_in_the_configuration_is_told_on_stderr_and_ends_with_2(command: str, shipper: Shipper) -> None:
    Path("config.toml").write_text("[kafka]\ntopik = 3")
    said = "shipper: config.toml:2: kafka.topik: unknown key; the nearest known one is kafka.topics\n"
    assert shipper(*command.split()) == (2, "", said)


@pytest.mark.parametrize(
    "command",
    [
        "topics create",
        pytest.param("run", marks=pytest.mark.slow),
        pytest.param("produce", marks=pytest.mark.slow),
    ],
)
def test_kafka_out_of_reach_is_told_with_its_address_and_ends_with_3(command: str, tmp_path: Path) -> None:
    server = f"127.0.0.1:{free_port()}"
    told = spawn("-m", "shipper", *command.split(), cwd=tmp_path, SHIPPER_KAFKA__BOOTSTRAP_SERVERS=server)
    assert told.code == 3
    assert f"no Kafka broker can be reached at {server}" in told.err
    assert "Traceback" not in told.err


def test_an_unknown_option_or_a_value_out_of_range_ends_with_2(shipper: Shipper) -> None:
    assert shipper("run", "--frobnicate").code == 2
    assert shipper("produce", "--malformed", "1.5").code == 2


def test_a_redrive_that_nobody_can_be_asked_about_ends_with_2_and_the_way_out(
    shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())
    told = shipper("dlq", "redrive")
    assert (told.code, told.out) == (2, "")
    assert "give --yes to put the records back, or --dry-run to look only" in told.err


def test_check_offline_says_which_file_is_right(shipper: Shipper) -> None:
    Path("my.toml").write_text('[kafka]\ntopics = ["app"]')
    told = shipper("check", "--offline", "--config", "my.toml")
    assert told.code == 0
    assert told.out.startswith("✓ configuration      my.toml; app to http://localhost:3100")
    assert shipper("check", "--offline").out.startswith("✓ configuration      built-in defaults")


def test_check_offline_finds_mistakes_and_bad_patterns(shipper: Shipper) -> None:
    Path("config.toml").write_text("[kafka]\ntopik = 3\n[loki]\nurl = 3")
    told = shipper("check", "--offline")
    assert told.code == 2
    assert [line.split(": ")[0] for line in told.out.splitlines()] == [
        "✗ configuration      config.toml:2",
        "✗ configuration      config.toml:4",
    ]
    Path("config.toml").write_text('[[redact]]\nname = "x"\npattern = "("')
    told = shipper("check", "--offline")
    assert told.code == 2
    assert "is no regular expression" in told.out


def test_check_goes_on_to_loki_when_kafka_is_away_and_ends_with_3(shipper: Shipper) -> None:
    kafka, loki = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    told = shipper("check", SHIPPER_KAFKA__BOOTSTRAP_SERVERS=kafka, SHIPPER_LOKI__URL=loki)
    assert told.code == 3
    assert f"✗ Kafka              no Kafka broker can be reached at {kafka}" in told.out
    assert f"✗ Loki               nothing can be reached at {loki} (Connection refused): start Loki" in told.out


def test_ctrl_c_while_libraries_are_loaded_ends_it_quietly_with_130(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("print('loading', flush=True)\nimport signal\nsignal.pause()\n")
    # As in a terminal, also where the tests themselves run in the background of a shell, which ignores Ctrl-C.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom shipper.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    ) as loading:
        try:
            assert loading.stdout is not None
            assert loading.stdout.readline() == b"loading\n"
            loading.send_signal(signal.SIGINT)
            _, err = loading.communicate(timeout=30)
        finally:
            loading.kill()
    assert (loading.returncode, err) == (130, b"")


def test_check_prints_plain_words_where_the_terminal_has_no_marks(tmp_path: Path) -> None:
    told = spawn("-m", "shipper", "check", "--offline", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert told.out.startswith("ok configuration")
