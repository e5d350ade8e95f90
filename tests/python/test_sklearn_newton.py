"""The parts of Newton's method: line search, preconditioner, and how much work there is."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from softlane.sklearn import SoftmaxClassifier, _newton
from softlane.sklearn._objective import Objective


class Slopes:
    """An objective of one variable: its slopes, and how many have been asked for."""

    def __init__(self, slope: Callable[[float], float]) -> None:
        self.of, self.last, self.count = slope, math.nan, 0

    def aim(self, step: Any) -> None:
        """Take any step for the one there is."""

    def slope(self, length: float) -> float:
        """Return the slope."""
        self.last, self.count = length, self.count + 1
        return self.of(length)


@pytest.mark.parametrize(
    "slope",
    [
        lambda t: t - 1.0,
        lambda t: t - 1e-6,
        lambda t: t - 1e4,
        lambda t: math.expm1(20.0 * (t - 0.3)),
        lambda t: math.tanh(1e3 * (t - 0.7)),
        lambda t: t - 0.2 if t < 0.5 else math.nan,
        lambda t: t - 3.0 if t < 3.5 else math.inf,
    ],
)
def test_line_search_ends_where_the_slope_is_nearly_gone(slope: Callable[[float], float]) -> None:
    line: Any = Slopes(slope)
    length = _newton._line_search(line, np.zeros(1), slope(0.0))
    assert abs(slope(length)) <= 0.05 * abs(slope(0.0))
    assert line.last == length  # what the objective goes on from
    assert line.count <= 25


def test_line_search_takes_newtons_step_where_that_is_right() -> None:
    line: Any = Slopes(lambda t: t - 1.0)
    assert _newton._line_search(line, np.zeros(1), -1.0) == 1.0
    assert line.count == 1


def test_line_search_keeps_what_goes_down_if_no_slope_is_small() -> None:
    # A corner, at which no slope is small.
    line: Any = Slopes(lambda t: -1.0 if t < 0.3 else 2.0)
    length = _newton._line_search(line, np.zeros(1), -1.0)
    assert 0.29 < length < 0.3
    assert line.last == length


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_line_search_goes_nowhere_but_down(slope: float) -> None:
    assert _newton._line_search(Slopes(lambda t: slope), np.zeros(1), slope) == 0.0  # type: ignore[arg-type]


def test_line_search_gives_up_where_the_slope_was_a_rounding_error() -> None:
    line: Any = Slopes(lambda t: 1.0)
    assert _newton._line_search(line, np.zeros(1), -1e-17) == 0.0


PROBLEMS = list(itertools.product([2, 4], [True, False], [True, False]))


@pytest.mark.parametrize(("classes", "fit_intercept", "weighted"), PROBLEMS)
def test_preconditioner_is_the_inverse_where_all_rows_have_the_same_probabilities(
    classes: int, fit_intercept: bool, weighted: bool
) -> None:
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((90, 6)) @ rng.standard_normal((6, 6))) * [1, 10, 0.1, 1, 1, 5] + 2.0
    y = rng.permutation(np.arange(90) % classes)
    weight = rng.exponential(size=90) if weighted else None
    objective = Objective(x, y, weight, classes, 3.0, fit_intercept=fit_intercept)
    start = np.zeros_like(objective.point)
    start[-1] = np.linspace(0.0, fit_intercept, objective.outputs)
    objective.start_at(start, np.dtype(np.float64))
    inverse = _newton._Preconditioner(objective).at_point()
    v = rng.standard_normal((6 + fit_intercept, objective.outputs))
    if classes > 2:
        v -= v.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(inverse(objective.times_hessian(v)), v, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("vectors", "most"), [(True, 45), (False, 70)])
def test_how_many_products_digits_need(
    vectors: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"product": 0, "slope": 0}

    def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return method(*arguments)

        return call

    monkeypatch.setattr(Objective, "times_hessian", counting("product", Objective.times_hessian))
    monkeypatch.setattr(Objective, "slope", counting("slope", Objective.slope))
    if not vectors:
        monkeypatch.setattr(Objective, "gram", lambda _: np.full((1, 1), np.inf))
    x, y = load_digits(return_X_y=True)
    model = SoftmaxClassifier().fit(x / 16.0, y)
    # Without a preconditioner there are some five hundred.
    assert counts["product"] <= most
    assert counts["slope"] <= 20
    assert model.n_iter_ <= 6
