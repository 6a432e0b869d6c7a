"""Breaks the engine on purpose, one promise at a time: the simulation has to see it."""

import pytest

from simulation.mutations import MUTATIONS, Mutation
from simulation.seed import Simulation

SEEDS_MAX = 1500
"""Most are seen within 50 seeds; what needs a rare meeting of faults takes some hundreds."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("apply", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_broken_engine_is_seen(apply: Mutation) -> None:
    with pytest.MonkeyPatch.context() as patch:
        apply(patch)
        assert any(map(_is_seen, range(SEEDS_MAX))), f"{SEEDS_MAX} seeds did not see it"


def _is_seen(seed: int) -> bool:
    try:
        Simulation(seed).run()
    except Exception:  # noqa: BLE001 - a broken promise, or the mistake that a worker dies of
        return True
    return False
