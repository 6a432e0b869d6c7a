"""The command line. Each command loads the settings, calls one function, and ends with that function's exit code.

Exit codes: 0 done, 1 something went wrong on the way, 2 the configuration or the command line is wrong, 3 something
outside is not as it must be, 130 Ctrl-C (`shipper run` drains instead, once it runs).
"""

# ruff: noqa: PLC0415 - a command imports what it needs itself, so that `shipper --help` is quick

import os
import sys
from functools import partial
from typing import Annotated, Literal, Optional

import typer
from rich.console import Console
from rich.text import Text

from shipper import __version__
from shipper.cli import api_app, dlq_app
from shipper.cli.options import ConfigOption, SetOption, examples, new_console
from shipper.errors import ShipperError

app = typer.Typer(
    name="shipper",
    help="Ships a Kafka topic of service logs into Grafana Loki, fast, and keeps account of every record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The topics on Kafka.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dlq_app.app, name="dlq")
app.add_typer(api_app.app, name="api")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        sys.stdout.write(f"shipper {__version__}\n")
        raise typer.Exit


@app.callback(epilog=examples("shipper check", "shipper run --config /etc/shipper/config.toml", "shipper demo"))
def shipper(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Ships a Kafka topic of service logs into Grafana Loki, fast, and keeps account of every record."""


@app.command(
    epilog=examples(
        "shipper run",
        "shipper run --config /etc/shipper/config.toml --set workers.count=2",
        "SHIPPER_LOKI__URL=http://loki:3100 shipper run",
        "shipper run --until-caught-up   (a job that ends)",
    )
)
def run(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Ship what is there now, then end with exit code 0.")
    ] = False,
) -> None:
    """Ship records, until SIGTERM drains. SIGHUP loads the configuration again. The log is JSON on stderr."""
    from shipper.config import load
    from shipper.process import supervisor

    read = partial(load, config, env=os.environ, overrides=overrides or ())
    raise typer.Exit(supervisor.run(read(), until_caught_up=until_caught_up, reload=read))


@app.command(
    epilog=examples(
        "shipper check", "shipper check --offline   (before a deployment)", "shipper check --config new.toml"
    )
)
def check(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Check the configuration alone.")] = False,
) -> None:
    """Check the configuration, then Kafka and Loki, a line each. Exit code 2: configuration, 3: Kafka or Loki."""
    from shipper.cli import check as checks

    raise typer.Exit(checks.run(config, overrides or (), offline=offline, console=new_console()))


@topics_app.command(
    epilog=examples("shipper topics create", "shipper topics create --partitions 12 --replication-factor 3")
)
def create(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    partitions: Annotated[
        int, typer.Option(min=1, help="Of each topic but the log API's: so many workers share it.")
    ] = 8,
    replication_factor: Annotated[
        Optional[int],  # noqa: UP045 - as above
        typer.Option(min=1, max=32767, help="Copies of each record; else three, or as many as there are brokers."),
    ] = None,
) -> None:
    """Create the log topics, the dead letter topic and the log API's where they are missing; say how others differ."""
    from shipper.cli import topics
    from shipper.config import load

    settings = load(config, env=os.environ, overrides=overrides or ())
    topics.create(settings, partitions=partitions, replication_factor=replication_factor, console=new_console())


@app.command(
    epilog=examples(
        "shipper produce --records 1000000",
        "shipper produce --records 60000 --rate 1000   (a minute of traffic)",
        "shipper produce --malformed 0.05 --seed 7",
    )
)
def produce(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    records: Annotated[int, typer.Option(min=1, help="How many.")] = 100_000,
    rate: Annotated[float, typer.Option(min=0, help="Records per second; 0: as fast as it goes.")] = 0,
    malformed: Annotated[float, typer.Option(min=0, max=1, help="Share of records that are no good JSON.")] = 0.01,
    seed: Annotated[int, typer.Option(help="The same seed makes the same records.")] = 1,
) -> None:
    """Write realistic logs of five services to the first log topic, to try things with."""
    from shipper.config import load
    from shipper.devstack import produce as producing

    settings = load(config, env=os.environ, overrides=overrides or ())
    code = producing.run(
        settings, records=records, rate=rate or None, malformed=malformed, seed=seed, console=new_console()
    )
    raise typer.Exit(code)


@app.command(
    epilog=examples("shipper demo", "shipper demo --records 50000 --keep", "shipper demo --kafka --loki   (real ones)")
)
def demo(
    *,
    records: Annotated[int, typer.Option(min=1, help="How many to ship.")] = 500_000,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything up, with the address of the live page.")
    ] = False,
    kafka: Annotated[bool, typer.Option("--kafka", help="Real Apache Kafka instead of the embedded broker.")] = False,
    loki: Annotated[bool, typer.Option("--loki", help="Real Grafana Loki instead of the embedded stand-in.")] = False,
) -> None:
    """Show it all at once: start Kafka and Loki, produce, ship, read back, and account for every record."""
    from shipper.devstack import demo as demonstration

    raise typer.Exit(demonstration.run(records=records, keep=keep, kafka=kafka, loki=loki, console=new_console()))


@app.command(
    epilog=examples(
        "shipper verify",
        "shipper verify --since 2h --until 1h   (by Kafka's timestamps)",
        "shipper verify --since 2026-11-24T06:00:00Z --format json",
        "shipper verify --partition 3 --from-offset 1000 --to-offset 2000",
    )
)
def verify(
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    topic: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(help="One of kafka.topics; else all of them."),
    ] = None,
    since: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(metavar="TIME", help="From the first record of this time on: RFC 3339, or 15m, 1h, 2d ago."),
    ] = None,
    until: Annotated[
        Optional[str],  # noqa: UP045 - as above
        typer.Option(metavar="TIME", help="Up to the first record of this time, without it."),
    ] = None,
    partition: Annotated[
        Optional[int],  # noqa: UP045 - as above
        typer.Option(min=0, help="This partition alone."),
    ] = None,
    from_offset: Annotated[
        Optional[int],  # noqa: UP045 - as above
        typer.Option(min=0, help="From this offset on; wants --partition."),
    ] = None,
    to_offset: Annotated[
        Optional[int],  # noqa: UP045 - as above
        typer.Option(min=0, help="Up to this offset, without it; wants --partition."),
    ] = None,
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people, or for programs.")] = "table",
) -> None:
    """Prove that Loki holds what Kafka held: work out again what it must hold, read it back, compare entry by entry.

    Exit code 0: nothing is missing or unexpected, 1: something is, 2: configuration, 3: Kafka or Loki.
    """
    from shipper.cli import verify as verifying
    from shipper.config import load

    code = verifying.run(
        load(config, env=os.environ, overrides=overrides or ()),
        topic=topic,
        partition=partition,
        offsets=(from_offset, to_offset),
        times=(since, until),
        as_json=form == "json",
        console=new_console(),
    )
    raise typer.Exit(code)


@app.command(
    epilog=examples(
        "shipper capacity --records-per-s 20k --bytes 350",
        "shipper capacity --records-per-s 10M --bytes 320 --streams 500 --retention 90d",
        "shipper capacity --records-per-s 1M --bytes 1.5k --outage 2h --catch-up 1h --format json",
    )
)
def capacity(
    *,
    records_per_s: Annotated[str, typer.Option("--records-per-s", metavar="N", help="On the average: 500, 20k, 10M.")],
    record_bytes: Annotated[str, typer.Option("--bytes", metavar="N", help="Of a record: 320, 1.5k.")],
    peak: Annotated[float, typer.Option(min=1, help="The busiest minutes, as a multiple of the average.")] = 3.0,
    streams: Annotated[int, typer.Option(min=1, help="Label sets that write at the same time.")] = 25,
    outage: Annotated[str, typer.Option(metavar="TIME", help="The longest time that Loki may be away.")] = "30m",
    catch_up: Annotated[str, typer.Option(metavar="TIME", help="In which that backlog is to be shipped.")] = "1h",
    utilisation: Annotated[float, typer.Option(min=0.1, max=1, help="Share of a core to plan with.")] = 0.6,
    kafka_retention: Annotated[str, typer.Option(metavar="TIME", help="How long Kafka keeps records.")] = "3d",
    retention: Annotated[str, typer.Option(metavar="TIME", help="How long Loki keeps entries.")] = "90d",
    kafka_copies: Annotated[int, typer.Option(min=1, help="The topic's replication factor.")] = 3,
    loki_copies: Annotated[int, typer.Option(min=1, help="The replication factor of Loki's ingesters.")] = 3,
    host_cores: Annotated[int, typer.Option(min=2, help="Cores of a host that runs workers.")] = 8,
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="For people, or for programs.")] = "table",
) -> None:
    """Say how many workers, partitions, hosts, ingesters and bytes a load needs. Asks nobody: it is a model."""
    from shipper.cli import capacity as planning
    from shipper.cli.moment import duration_s
    from shipper.tools.capacity import Load

    load = Load(
        records_per_s=planning.number("--records-per-s", records_per_s),
        record_bytes=planning.number("--bytes", record_bytes),
        peak=peak,
        streams=streams,
        outage_s=duration_s("--outage", outage),
        catch_up_s=duration_s("--catch-up", catch_up),
        utilisation=utilisation,
        kafka_days=duration_s("--kafka-retention", kafka_retention) / 86_400,
        loki_days=duration_s("--retention", retention) / 86_400,
        kafka_copies=kafka_copies,
        loki_copies=loki_copies,
        host_cores=host_cores,
    )
    raise typer.Exit(planning.run(load, as_json=form == "json", console=new_console()))


def run_app() -> None:
    """Run the command line. A mistake of the user's is told in red on stderr, without a traceback."""
    try:
        app()
    except ShipperError as error:
        Console(stderr=True, highlight=False).print(Text(f"shipper: {error}", style="red"), soft_wrap=True)
        sys.exit(error.exit_code)
