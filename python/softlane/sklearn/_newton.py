"""Newton's method with conjugate gradients, for objectives that are convex and smooth."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from softlane.sklearn._objective import Objective

_Floats: TypeAlias = NDArray[np.float64]

# Eisenstat and Walker, "Choosing the forcing terms in an inexact Newton method" (1996), choice 2.
_GAMMA, _ALPHA, _LOOSEST = 0.9, 1.618, 0.5
_MOST_PRODUCTS = 250
_MOST_TRIALS = 30
# So much less than at the start, the gradient wants more digits than float32 has.
_FINE = 1e-3


def minimise(
    objective: Objective, start: _Floats, tol: float, max_iter: int
) -> tuple[_Floats, int, float]:
    """Return the minimum, the number of steps, and the largest entry of the gradient there.

    Steps end where the gradient's largest entry is at most ``tol``, where there have been
    ``max_iter`` of them, or where rounding errors let none go down.
    """
    gradient = objective.put(start, objective.x.dtype)
    first = size = np.abs(gradient).max()
    precondition = _Preconditioner(objective)
    eta = _LOOSEST
    steps = 0
    while size > tol and steps < max_iter:
        if size < _FINE * first and objective.dtype != np.float64:
            gradient = objective.put(objective.point, np.dtype(np.float64))
        step = _direction(objective, gradient, precondition.at_point(), eta, 0.25 * tol)
        length = _line_search(objective, step, np.vdot(gradient, step).item())
        if length == 0.0:
            break
        gradient = objective.advance(length)
        steps += 1
        size, before = np.abs(gradient).max(), size
        eta = min(_LOOSEST, _GAMMA * (size / before) ** _ALPHA)
    return objective.point, steps, float(size)


def _direction(
    objective: Objective,
    gradient: _Floats,
    precondition: Callable[[_Floats], _Floats],
    eta: float,
    enough: float,
) -> _Floats:
    """Return Newton's step, nearly: by conjugate gradients until so much of the gradient is left.

    Or until no entry of it would be more than ``enough``.
    """
    residual = -objective.to_standard(gradient)
    solution = np.zeros_like(residual)
    better = precondition(residual)
    direction, inner = better, np.vdot(residual, better).item()
    goal = eta**2 * inner
    for _ in range(_MOST_PRODUCTS):
        product = objective.times_hessian(direction)
        curvature = np.vdot(direction, product).item()
        if not curvature > 0.0:  # nothing but rounding errors are left
            break
        length = inner / curvature
        solution += length * direction
        residual = residual - length * product
        better = precondition(residual)
        inner, before = np.vdot(residual, better).item(), inner
        if inner <= goal or np.abs(objective.from_standard(residual)).max() <= enough:
            break
        direction = better + (inner / before) * direction
    return objective.step_of(solution)


def _line_search(objective: Objective, step: _Floats, slope: float) -> float:
    """Return how many steps to go: where the slope has gone, or at least half of it; or 0.

    Slopes alone decide. Values would be differences of nearly equal numbers near the minimum.
    """
    if not slope < 0.0:
        return 0.0
    objective.aim(step)
    length = 1.0
    for _ in range(_MOST_TRIALS):
        there = objective.slope(length)
        if there <= -0.5 * slope:
            return length
        # The zero of the secant; NaN, of a step beyond all numbers, becomes the smaller bound.
        share = slope / (slope - there)
        length *= min(max(0.1, share), 0.9)
    return 0.0


class _Preconditioner:
    """The inverse of the Hessian, if all rows had the mean Hessian of a row.

    That is then a Kronecker product, of the spread over the outputs and the Gram matrix of the
    features, and the penalty; inverted by the eigenvectors of both. Where there are too many
    features for that, the diagonal stands for the Gram matrix.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.vectors: _Floats | None = None
        self.values = objective.scale**2
        n, d, k = objective.rows, objective.features, objective.outputs
        # What the eigenvectors cost, in products with the Hessian; those of few outputs are slow.
        if d + 10 * d * d / n <= 40 * max(k, 8):
            gram = objective.gram()
            if np.isfinite(gram).all():
                self.values, self.vectors = scipy.linalg.eigh(gram, driver="evd")
                self.values = np.maximum(self.values, 0.0)

    def at_point(self) -> Callable[[_Floats], _Floats]:
        """Return the inverse at the point where the objective is."""
        objective, vectors = self.objective, self.vectors
        spread, outputs = np.linalg.eigh(objective.spread())
        spread = np.maximum(spread, 0.0)
        inverse = 1.0 / (np.outer(self.values, spread) + objective.penalty)
        # Adding a number to all intercepts changes nothing: no step has any of that.
        moves = spread > 1e-14 * spread[-1]
        of_intercept = np.where(moves, 1.0 / np.where(moves, spread, 1.0), 0.0)
        scale, features = objective.scale[:, None], objective.features

        def apply(residual: _Floats) -> _Floats:
            result = residual @ outputs
            part = result[:features] * scale
            if vectors is None:
                part *= inverse
            else:
                part = vectors @ (inverse * (vectors.T @ part))
            result[:features] = part * scale
            result[features:] *= of_intercept
            return result @ outputs.T

        return apply
