"""Softmax regression's objective: its slope along a line, its gradient, its Hessian's products."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softlane import _core

_Array: TypeAlias = NDArray[Any]
_Floats: TypeAlias = NDArray[np.float64]

# Numbers in a block of rows: of float32 they stay in a second-level cache.
_BLOCK = 1 << 18
# A problem of so few numbers gains nothing from float32.
_FEW = 1 << 16
# Of intercepts: where probabilities are all 0 or 1 they have none, and steps no end. So much of
# their gradient, that steps end near enough to come back, and not more than is there near a minimum
# that is nearly so: a curvature that is not there makes steps too short.
_CURVATURE_OF_GRADIENT, _LEAST_CURVATURE = 1e-9, 1e-14

# The least that C times the weights may be: the penalty is multiplied by coefficients.
_TINY = 1e-300


class Objective:
    """The mean loss of weighted rows, and half of ``penalty`` times the squared coefficients.

    A point is an array (features + 1, outputs): a row of coefficients a feature, and last the
    intercepts, which stay as they are if they are not fitted. There is an output for each class,
    or a single one for two classes. The logits at the point are kept: along a line they change
    linearly, so that a slope there needs no product with the rows.

    Products with the Hessian are about rows that are centred, scaled, and of float32 unless they
    are few. In these variables intercepts and coefficients are nearly independent, and nothing
    overflows. All they do is to choose a direction, for which single precision is plenty.
    """

    def __init__(
        self,
        x: _Array,
        labels: NDArray[np.intp],
        sample_weight: _Floats | None,
        classes: int,
        c: float,
        *,
        fit_intercept: bool,
    ) -> None:
        self.x, self.labels, self.fit_intercept = x, labels, fit_intercept
        self.rows, self.features = x.shape
        self.outputs = 1 if classes == 2 else classes
        total = float(self.rows if sample_weight is None else sample_weight.sum())
        strength = c * total
        if strength <= _TINY:
            raise ValueError(
                f"C={c} times the sum of the weights of samples, {strength}, is too small"
            )
        self.penalty = 1.0 / strength
        # On average 1, that their roots be numbers of float32.
        self.weights = None if sample_weight is None else sample_weight * (self.rows / total)
        self.size = max(256, _BLOCK // (self.features + self.outputs))
        self._standardise()
        self.point = np.zeros((self.features + 1, self.outputs))
        self.step = np.zeros_like(self.point)
        self.probabilities = np.empty((self.rows, self.outputs), self.standard.dtype)
        self.least_curvature = _LEAST_CURVATURE
        self._compute_in(x.dtype)

    def _compute_in(self, dtype: np.dtype[Any]) -> None:
        self.dtype, shape = dtype, (self.rows, self.outputs)
        self.logits, self.slopes = np.empty(shape, dtype), np.zeros(shape, dtype)
        self.residuals = np.empty(shape, dtype)

    def _standardise(self) -> None:
        """Make the rows that the Hessian is about, times the roots of their weights."""
        weights = np.ones(self.rows) if self.weights is None else self.weights
        self.centre, squares = np.zeros(self.features), np.zeros(self.features)
        if self.fit_intercept:
            for rows in self._blocks():
                self.centre += weights[rows] @ self.x[rows]
            self.centre /= self.rows
        for rows in self._blocks():
            squares += weights[rows] @ (self.x[rows] - self.centre) ** 2
        scale = np.sqrt(squares / self.rows)
        # Of a constant feature rounding errors are left, which are not worth magnifying.
        scale = np.maximum(scale, 1e-7 * np.abs(self.centre))
        self.scale = np.where(scale > 0.0, scale, 1.0)
        shape = self.rows, self.features + self.fit_intercept
        self.standard = np.empty(shape, np.float64 if self.x.size <= _FEW else np.float32)
        for rows in self._blocks():
            roots = np.sqrt(weights[rows])[:, None]
            block = self.standard[rows]
            block[:, : self.features] = (self.x[rows] - self.centre) / self.scale * roots
            block[:, self.features :] = roots

    def _blocks(self) -> Iterator[slice]:
        return (slice(i, i + self.size) for i in range(0, self.rows, self.size))

    @property
    def magnitude(self) -> float:
        """The root mean square of the largest feature, the intercept's 1 among them."""
        return float(max(np.hypot(self.centre, self.scale).max(), self.fit_intercept))

    # ---------------------------------------------------------------------------------- on a line

    def start_at(self, point: _Floats, dtype: np.dtype[Any]) -> _Floats:
        """Go to a point and compute in this dtype from now on; return the gradient there."""
        self._compute_in(dtype)
        self.point, self.step = point.copy(), np.zeros_like(point)
        self._linear(point, self.logits)
        self.slope(0.0)
        return self.advance(0.0)

    def aim(self, step: _Floats) -> None:
        """Choose the line through the point along a step."""
        self.step = step
        self._linear(step, self.slopes)

    def _linear(self, point: _Floats, out: _Array) -> None:
        narrow = point.astype(self.dtype, copy=False)
        for rows in self._blocks():
            np.matmul(self._x(rows), narrow[:-1], out=out[rows])
            out[rows] += narrow[-1]

    def _x(self, rows: slice) -> _Array:
        return self.x[rows].astype(self.dtype, copy=False)

    def slope(self, length: float) -> float:
        """Return the derivative along the line, so many steps from the point."""
        total = 0.0
        for rows in self._blocks():
            residuals, slopes = self.residuals[rows], self.slopes[rows]
            np.multiply(slopes, self.dtype.type(length), out=residuals)
            residuals += self.logits[rows]
            self._subtract_labels(residuals, self.labels[rows])
            along = np.einsum("ij,ij->i", residuals, slopes)
            weights = None if self.weights is None else self.weights[rows]
            total += along.sum(dtype=np.float64) if weights is None else weights @ along
        coefficients = self.point[:-1] + length * self.step[:-1]
        return float(total / self.rows + self.penalty * np.vdot(coefficients, self.step[:-1]))

    def _subtract_labels(self, logits: _Array, labels: NDArray[np.intp]) -> None:
        """Turn logits into their probabilities less those of the labels."""
        if self.outputs > 1:
            _core.cross_entropy_value_and_grad(logits, labels, reduction="sum", out=logits)
        else:
            targets = labels[:, None].astype(logits.dtype)
            _core.binary_cross_entropy_value_and_grad(logits, targets, reduction="sum", out=logits)

    def advance(self, length: float) -> _Floats:
        """Go to where `slope` was asked for last, so many steps; return the gradient there."""
        self.point += length * self.step
        gradient = np.zeros_like(self.point)
        for rows in self._blocks():
            self.logits[rows] += self.dtype.type(length) * self.slopes[rows]
            residuals = self.residuals[rows]
            self._remember(rows, residuals)
            if self.weights is not None:
                residuals *= self.weights[rows, None].astype(self.dtype)
            gradient[:-1] += self._x(rows).T @ residuals
            if self.fit_intercept:
                gradient[-1] += residuals.sum(axis=0, dtype=np.float64)
        gradient /= self.rows
        gradient[:-1] += self.penalty * self.point[:-1]
        of_intercepts = float(np.abs(gradient[-1]).max())
        self.least_curvature = max(_CURVATURE_OF_GRADIENT * of_intercepts, _LEAST_CURVATURE)
        return gradient

    # -------------------------------------------------------------------------------- the Hessian

    def _remember(self, rows: slice, residuals: _Array) -> None:
        """Keep what the Hessian needs: probabilities, or the product of those of two classes."""
        kept = self.probabilities[rows]
        if self.outputs > 1:
            kept[...] = residuals
            kept[np.arange(kept.shape[0]), self.labels[rows]] += 1.0
        else:
            np.abs(residuals, out=kept, casting="same_kind")
            kept *= 1.0 - kept

    def times_hessian(self, v: _Floats) -> _Floats:
        """Return the product with the Hessian, in the variables of the standardised rows."""
        narrow, product = v.astype(self.standard.dtype), np.zeros_like(v)
        for rows in self._blocks():
            x, p = self.standard[rows], self.probabilities[rows]
            change = x @ narrow
            if self.outputs > 1:
                _core.softmax_jvp(p, change, out=change)
            else:
                change *= p
            product += x.T @ change
        product /= self.rows
        product[: self.features] += (self.penalty / self.scale**2)[:, None] * v[: self.features]
        product[self.features :] += self.least_curvature * v[self.features :]
        return product

    def spread(self) -> _Floats:
        """Return the mean Hessian of the rows' losses with respect to their logits."""
        p = weighted = self.probabilities
        if self.weights is not None:
            weighted = p * self.weights[:, None].astype(p.dtype)
        if self.outputs == 1:
            return np.array([[weighted.sum(dtype=np.float64) / self.rows]])
        # The diagonal is made of the rest: each row adds up to zero whatever has been rounded.
        spread: _Floats = -(weighted.T @ p).astype(np.float64) / self.rows
        np.fill_diagonal(spread, 0.0)
        np.fill_diagonal(spread, -spread.sum(axis=1))
        return spread

    def gram(self) -> _Floats:
        """Return the mean of ``x xᵀ`` over the rows, weighted and centred but not scaled."""
        x = self.standard[:, : self.features]
        gram: _Floats = (x.T @ x).astype(np.float64) / self.rows
        gram *= self.scale[:, None] * self.scale
        return gram

    def to_standard(self, gradient: _Floats) -> _Floats:
        """Return a gradient in the variables of the standardised rows."""
        coefficients: _Floats = gradient[:-1] - self.centre[:, None] * gradient[-1]
        coefficients /= self.scale[:, None]
        return np.vstack([coefficients, gradient[-1:]]) if self.fit_intercept else coefficients

    def from_standard(self, gradient: _Floats) -> _Floats:
        """Return a gradient in the variables of the rows as they are; without intercepts' part."""
        coefficients: _Floats = gradient[: self.features] * self.scale[:, None]
        if not self.fit_intercept:
            return coefficients
        coefficients += self.centre[:, None] * gradient[-1]
        return np.vstack([coefficients, gradient[-1:]])

    def step_of(self, v: _Floats) -> _Floats:
        """Return a step in the variables of the standardised rows as a step between points."""
        step = np.zeros_like(self.point)
        step[:-1] = v[: self.features] / self.scale[:, None]
        if self.fit_intercept:
            step[-1] = v[-1] - self.centre @ step[:-1]
        return step
