"""A seed that fails must fail again: the same steps, in another process too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.seed import Simulation

_TESTS = Path(__file__).parent.parent
_SEEDS = range(12)
_TELL = f"""
import sys
sys.path.insert(0, {str(_TESTS)!r})
from simulation.seed import Simulation
for seed in range({_SEEDS.stop}):
    simulation = Simulation(seed)
    simulation.run()
    print(simulation.story())
"""


def _told(seed: int) -> str:
    simulation = Simulation(seed)
    simulation.run()
    return simulation.story()


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_tells_the_same_story_in_every_process(hash_seed: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _TELL],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert told == "".join(f"{_told(seed)}\n" for seed in _SEEDS)


def test_different_seeds_tell_different_stories() -> None:
    assert len({_told(seed) for seed in _SEEDS}) == len(_SEEDS)
