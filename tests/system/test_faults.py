"""The fault campaign, short: a few trials of every kind (the long one: ``python -m tests.faults``)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ..faults.campaign import SCENARIOS
from ..faults.trials import Scenario
from ..faults.world import World
from .bad_luck import obstacle

pytestmark = pytest.mark.system

TRIALS = 3
"""Of each kind of kill; one of everything else."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if why := obstacle():
        pytest.skip(why)
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_everything_recovers(world: World, scenario: Scenario) -> None:
    """Every run draws its own seed; what fails is repeated by the command that the failure shows."""
    if why := scenario.obstacle():
        pytest.skip(why)
    seed = random.SystemRandom().randrange(10**6)
    for index in range(TRIALS if scenario.name.startswith("kill-") else 1):
        try:
            scenario.trial(world, random.Random(f"{seed}/{scenario.name}/{index}"))
        except Exception as error:
            world.give_up()
            pytest.fail(f"{error}\nto repeat: python -m tests.faults --seed {seed} --only {scenario.name} --trial {index}")
