"""Fixtures over the tables of `cases.py`, and the settings every test shares."""

from typing import Any

import hypothesis
import numpy as np
import pytest

import softlane
from cases import DTYPES, FUNCTIONS, MASKING, Function

# The same examples in every run: a failure is then a change of the code, not of the dice.
hypothesis.settings.register_profile(
    "softlane", deadline=None, derandomize=True, database=None, max_examples=200
)
hypothesis.settings.load_profile("softlane")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")


@pytest.fixture(params=FUNCTIONS, ids=lambda f: f.name)
def function(request: pytest.FixtureRequest) -> Function:
    """Each function in turn."""
    chosen: Function = request.param
    return chosen


@pytest.fixture(params=[f for f in FUNCTIONS if not f.reduces], ids=lambda f: f.name)
def elementwise(request: pytest.FixtureRequest) -> Function:
    """Each function whose result has the shape of its input, in turn."""
    chosen: Function = request.param
    return chosen


@pytest.fixture(params=[f for f in FUNCTIONS if f.takes_temperature], ids=lambda f: f.name)
def tempered(request: pytest.FixtureRequest) -> Function:
    """Each function with a temperature, in turn."""
    chosen: Function = request.param
    return chosen


@pytest.fixture(params=MASKING, ids=lambda f: f.name)
def masking(request: pytest.FixtureRequest) -> Function:
    """Each function with a mask, in turn."""
    chosen: Function = request.param
    return chosen


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    """Each floating dtype in turn."""
    chosen: np.dtype[Any] = request.param
    return chosen


@pytest.fixture(autouse=True)
def _threads_as_found() -> Any:
    """Leave the number of threads to the next test as this one found it."""
    before = softlane.get_num_threads()
    yield
    softlane.set_num_threads(before)
