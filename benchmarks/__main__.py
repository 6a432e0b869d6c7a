"""`python -m benchmarks`: measures a worker end to end, against real Kafka and a sink that reads bodies.

Processes are spawned from here, and spawning imports the program's main module again, unless it has this name: so what
is measured has nothing in memory that a worker would not have.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import end_to_end
from benchmarks.measured import NotMeasuredError
from shipper.devstack.kafka import KafkaServer
from shipper.devstack.nginx import NginxSink
from shipper.errors import ShipperError


def main() -> int:
    """Start the servers, fill a topic, measure, print, write the results; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="in the topic (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each that count (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting other than default")
    parser.add_argument("--results", type=Path, help="write them to this JSON file")
    options = parser.parse_args()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="shipper-bench-") as folder,
            KafkaServer(Path(folder, "kafka")) as kafka,
            NginxSink(Path(folder, "nginx")) as sink,
        ):
            print(f"writing {options.records:,} records", flush=True)
            topic = end_to_end.fill_topic(kafka.bootstrap, options.records)
            pairs = end_to_end.run_pairs(topic, sink.url, options.pairs, options.set)
            print(end_to_end.table(end_to_end.summarise(topic, pairs)))
            if options.results:
                end_to_end.write_results(options.results, topic, pairs, options.set)
    except (ShipperError, NotMeasuredError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
