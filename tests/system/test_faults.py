"""The fault campaign, short: a trial of every kind (the long one: ``python -m tests.faults``)."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..faults.campaign import SCENARIOS
from ..faults.trials import Scenario
from ..faults.world import World
from .bad_luck import obstacle

pytestmark = pytest.mark.system

MOST = 5
"""Trials until one has hit something: a kill can come too late."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if why := obstacle():
        pytest.skip(why)
    if Path(sys.prefix).is_relative_to("/tmp"):
        pytest.skip("this Python lies below /tmp, and the campaign gives every doit a /tmp of its own")
    made = World()
    yield made
    made.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_everything_recovers(world: World, scenario: Scenario) -> None:
    """Every run draws its own seed; what fails is repeated by the command that the failure shows."""
    if why := scenario.obstacle():
        pytest.skip(why)
    seed = random.SystemRandom().randrange(10**6)
    for index in range(MOST):
        try:
            if scenario.trial(world, random.Random(f"{seed}/{scenario.name}/{index}")) is not None:
                return
        except Exception as error:
            world.give_up()
            again = f"python -m tests.faults --seed {seed} --only {scenario.name} --trial {index}"
            pytest.fail(f"{error}\nto repeat: {again}")
    pytest.fail(f"in {MOST} trials nothing was hit (seed {seed})")
