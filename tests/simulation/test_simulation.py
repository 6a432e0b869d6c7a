"""Thousands of seeds: a worker's loop against a simulated Kafka, Loki, clock and death. No promise may break.

    make simulate SEEDS=20000              runs so many
    make simulate SEED=1702                replays one: the same steps, the same story

What is real: `Worker`, `Source` with `Partitions` and `Reader`, `DeadLetters`, `Flights`, `OffsetTracker`, `Report` and
the counters' `Row`, `prepare()`, `Lanes`, `Schedule`, `narrowing.Push`, `verdict.judge`, and the stand-in's checks and
store. What is simulated: the consumer and the producer of confluent_kafka (`consumer.py` answers to the real one's
contract, test_contract.py), push threads, the network, time. A seed decides (`plan.py`) the settings, the records, and
what goes wrong: answers of Loki's, commits that are lost or whose answer is lost or late, letters refused, broken
producers, brokers away, rebalances, retention, partitions made anew, workers that stand still, are cut off, or die.

After every turn of a worker, and at every commit, it is checked that
- what is committed lies before no record that is neither in Loki, nor buried, nor filtered, by a judge that knows what
  must become of each record from `oracle.py`, and nothing from the engine,
- a worker commits only partitions that it was given and has not been told to give up,
- consumed = delivered + filtered + dead-lettered + in flight,
- two pushes never write to one stream at once,
- what a worker holds is bounded in bytes.
Faults cease, and within 90 s of virtual time every record must be in Loki once, or buried, or filtered; nothing else
may be there, what retention took unread must have been told, every lag must be 0, and the counters must say so.

The simulation was seen to catch each of these mistakes, one at a time; `test_mutations.py` makes them again. The number
is the first seed that caught it when it was written:

       0  commits one too far
       6  commits past a gap
      47  commits what was taken when a partition is revoked
     106  commits what was lost
       6  lets an old batch settle a partition that came back
     318  believes the late answer to a commit of an old holding
      15  takes a refused commit for taken
      84  keeps what it held of a partition that began anew
       1  never commits
       0  ends before it has caught up
       0  acknowledges before loki has answered
      19  settles a partition with its neighbour
       0  pushes to a stream twice at once
       0  acknowledges a 5xx
       3  acknowledges a 429
      11  acknowledges a timeout
       1  acknowledges a broken connection
       8  acknowledges a 401
      29  acknowledges every 2xx
      22  drops what failed three times
       0  drops a whole request for one guilty entry
      29  buries what a proxy refuses
       6  sends one half only
       0  makes other bytes of what is read again
       6  takes a sent letter for confirmed
      24  takes a refused letter for confirmed
      16  goes on with a producer that broke
       0  passes over what loki refuses
      75  begins behind what was deleted without a word
       0  begins at the end
      47  saves no starts
      25  ships what was taken away while it polled
       0  stays paused
      15  forgets a partition that broke off
       0  takes more than it has room for
       0  counts a letter as delivered too
       0  does not count what is filtered
      21  forgets what a dead worker had in flight
"""

import os
import sys
import traceback

import pytest

from simulation.seed import Simulation
from simulation.world import BrokenPromiseError

SEEDS_PER_TEST = 100
STORY_LINES_MAX = 100
_SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))
_ONLY = os.environ.get("SIMULATION_SEED")


def _run(seed: int) -> None:
    """Run one seed; a promise that breaks, and a mistake that ends a worker, are told with their story."""
    simulation = Simulation(seed)
    try:
        simulation.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the story is needed
        said = f"seed {seed}: {error}" if isinstance(error, BrokenPromiseError) else traceback.format_exc()
        story = simulation.story(STORY_LINES_MAX if _ONLY is None else None)
        pytest.fail(f"{said}\n\n{story}\n\n{said}\nReplay it: make simulate SEED={seed}", pytrace=False)
    if _ONLY is not None:
        sys.stdout.write(f"\n{simulation.story()}\n")


def _chunks() -> list[object]:
    """Cut the seeds into tests; the first is among the fast ones."""
    if _ONLY is not None:
        return [pytest.param(range(int(_ONLY), int(_ONLY) + 1), id=_ONLY)]
    chunks = [range(first, min(first + SEEDS_PER_TEST, _SEEDS)) for first in range(0, _SEEDS, SEEDS_PER_TEST)]
    return [
        pytest.param(chunk, id=f"{chunk.start}-{chunk.stop - 1}", marks=[pytest.mark.slow] if place > 0 else [])
        for place, chunk in enumerate(chunks)
    ]


@pytest.mark.parametrize("seeds", _chunks())
def test_no_promise_breaks_whatever_goes_wrong_and_whenever(seeds: range) -> None:
    for seed in seeds:
        _run(seed)
