"""`python -m benchmarks.prepared NATIVE ROUNDS`: prepares a batch so many times, and nothing else.

For tools that count a process's instructions: what a round costs is the difference of two such processes.
"""

import sys

from confluent_kafka import Message

from shipper.devstack.generate import generate
from shipper.pipeline import Rules, prepare
from shipper.records import RecordBatch
from shipper.settings import Settings, Workers

RECORDS = 10_000
_NOW_MS = 1_790_000_000_000


def main(native: bool, rounds: int) -> None:  # noqa: FBT001 - as the command line has it
    """Prepare a batch of realistic records, the same ones in every process."""
    rules = Rules.compile(Settings(workers=Workers(native=native)))
    chunks = generate(RECORDS, seed=1, first_ms=_NOW_MS - 600_000, last_ms=_NOW_MS)
    messages = [
        Message(topic="logs", partition=0, offset=offset, value=value, timestamp=(1, _NOW_MS))
        for offset, value in enumerate(value for chunk in chunks for value in chunk.values)
    ]
    for _ in range(rounds):
        prepare(RecordBatch("logs", messages), rules, now_ns=_NOW_MS * 1_000_000)  # type: ignore[arg-type]  # confluent_kafka has no types


if __name__ == "__main__":
    main(sys.argv[1] == "native", int(sys.argv[2]))
