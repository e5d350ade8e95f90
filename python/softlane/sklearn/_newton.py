"""Newton's method by conjugate gradients, with a search along each step."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from softlane.sklearn._objective import Objective

_Floats: TypeAlias = NDArray[np.float64]

# What part of the gradient a step may leave: Eisenstat and Walker, "Choosing the forcing terms in
# an inexact Newton method" (1996), choice 2.
_GAMMA, _ALPHA, _LOOSEST = 0.9, 1.618, 0.2
_MOST_PRODUCTS = 250
# What part of the slope may be left at the end of a step, which costs little to find.
_FLAT = 0.05
_MOST_TRIALS = 40
# Where the gradient of standardised features is smaller, float32 has too few digits for it.
_FINE = 1e-4


def minimise(
    objective: Objective, start: _Floats, tol: float, max_iter: int
) -> tuple[_Floats, int, float]:
    """Return the minimum, the number of steps to it, and the gradient's largest entry there.

    That is at most ``tol``, unless there have been ``max_iter`` steps, or rounding errors are
    larger than what is left to do.
    """
    fine = _FINE * objective.magnitude
    gradient = objective.start_at(start, objective.x.dtype)
    precondition = _Preconditioner(objective)
    steps, before, stuck = 0, 0.0, False
    while True:
        size = float(np.abs(gradient).max())
        # Too small for the digits of float32, too large for its range, or nothing but its rounding.
        if objective.dtype != np.float64 and (stuck or not fine <= size < math.inf):
            gradient, stuck = objective.start_at(objective.point, np.dtype(np.float64)), False
            size = float(np.abs(gradient).max())
        if stuck or size <= tol or steps == max_iter:
            break
        eta = min(_LOOSEST, _GAMMA * (size / before) ** _ALPHA) if steps else _LOOSEST
        step = _direction(objective, gradient, precondition.at_point(), eta, 0.25 * tol)
        length = _line_search(objective, step, float(np.vdot(gradient, step)))
        stuck = length == 0.0
        if not stuck:
            gradient, before = objective.advance(length), size
            steps += 1
    return objective.point, steps, size


def _direction(
    objective: Objective,
    gradient: _Floats,
    precondition: Callable[[_Floats], _Floats],
    eta: float,
    enough: float,
) -> _Floats:
    """Return Newton's step, nearly: a part ``eta`` of the quadratic model's gradient may be left.

    Or more, if no entry of that is larger than ``enough``.
    """
    residual = -objective.to_standard(gradient)
    solution = np.zeros_like(residual)
    direction = better = precondition(residual)
    inner = np.vdot(residual, better)
    goal = eta * eta * inner
    for _ in range(_MOST_PRODUCTS):
        product = objective.times_hessian(direction)
        curvature = np.vdot(direction, product)
        if not curvature > 0.0:  # nothing but rounding errors is left
            break
        solution += inner / curvature * direction
        residual -= inner / curvature * product
        better = precondition(residual)
        inner, last = np.vdot(residual, better), inner
        if inner <= goal or np.abs(objective.from_standard(residual)).max() <= enough:
            break
        direction = better + inner / last * direction
    return objective.step_of(solution)


def _line_search(objective: Objective, step: _Floats, slope: float) -> float:
    """Return how many steps to go until the slope is nearly gone; 0 if it does not go down.

    Slopes alone decide: near the minimum, values are all the same but for rounding errors.
    """
    if not slope < 0.0:
        return 0.0
    objective.aim(step)
    low, high, length = 0.0, math.inf, 1.0
    slope_low, slope_high = slope, math.nan
    for _ in range(_MOST_TRIALS):
        there = objective.slope(length)
        if abs(there) <= _FLAT * -slope:
            return length
        if there < 0.0:
            low, slope_low = length, there
        else:  # too far, as is what overflows to NaN
            high, slope_high = length, there
        if high == math.inf:
            length *= 2.0
        else:
            # The zero of the secant, or a tenth of the way if that is none.
            share = max(0.1, slope_low / (slope_low - slope_high))
            length = low + min(share, 0.9) * (high - low)
    if low > 0.0:
        objective.slope(low)
    return low


class _Preconditioner:
    """What the inverse of the Hessian would be if the Hessian of each row's loss were their mean.

    The Hessian is then a Kronecker product, of that mean and the Gram matrix of the features, plus
    the penalty; the eigenvectors of both invert it. Where there are too many features for that,
    the diagonal of the Gram matrix stands for all of it.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.values = objective.scale**2
        self.vectors: _Floats | None = None
        rows, features = objective.rows, objective.features
        # The eigenvectors take at most as long as ten products with the Hessian, which they spare.
        # Of few outputs, products take as long as of eight: memory bounds them, not arithmetic.
        if features + 20 * features**2 / rows <= 40 * max(8, objective.outputs):
            gram = objective.gram()
            if np.isfinite(gram).all():
                values, self.vectors = scipy.linalg.eigh(gram, driver="evd")
                self.values = np.maximum(values, 0.0)

    def at_point(self) -> Callable[[_Floats], _Floats]:
        """Return the inverse at the point where the objective is."""
        vectors, scale = self.vectors, self.objective.scale[:, None]
        features = self.objective.features
        spread, outputs = np.linalg.eigh(self.objective.spread())
        spread = np.maximum(spread, self.objective.least_curvature)
        of_coefficients = 1.0 / (np.outer(self.values, spread) + self.objective.penalty)
        neutral = spread.size > 1

        def inverse(residual: _Floats) -> _Floats:
            turned = residual @ outputs
            part = turned[:features] * scale
            if vectors is None:
                part *= of_coefficients
            else:
                part = vectors @ (of_coefficients * (vectors.T @ part))
            turned[:features] = part * scale
            turned[features:] /= spread
            result = np.asarray(turned @ outputs.T)
            if neutral:  # what is the same for all outputs changes no probability
                result -= result.mean(axis=1, keepdims=True)
            return result

        return inverse
