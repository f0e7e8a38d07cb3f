"""What tests of the gateway's API share."""

from collections.abc import Iterator

import pytest

from model_service.gateway.budget import FLOOR
from tests.gateway_world import GatewayWorld


@pytest.fixture
def world(world: GatewayWorld) -> Iterator[GatewayWorld]:
    """A running gateway that repeats calls however many tests before had theirs repeated."""
    budget = world.service.calling.budget
    budget.floor = 1_000_000
    yield world
    budget.floor = FLOOR
