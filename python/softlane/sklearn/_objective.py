"""Softmax regression's objective along a line, its gradient, and products with its Hessian."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softlane import _core

_Array: TypeAlias = NDArray[Any]
_Floats: TypeAlias = NDArray[np.float64]

# Numbers in a block of rows: of float32 they stay in a second-level cache.
_BLOCK = 1 << 18


class Objective:
    """The mean loss of weighted rows, and half of ``penalty`` times the squared coefficients.

    A point is an array (features + 1, outputs): a row of coefficients a feature, then the
    intercepts, which stay 0 if they are not fitted. There is an output for each class, or one
    alone for two classes. The logits of the point are kept, and change linearly along a line.

    Products with the Hessian are about rows that are centred, scaled, and in float32: in these
    variables intercepts are nearly independent of coefficients, and no product overflows. They
    only choose a direction, for which single precision is plenty, and cost less than half.
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
        self.x, self.labels, self.sample_weight = x, labels, sample_weight
        self.rows, self.features = x.shape
        self.outputs = 1 if classes == 2 else classes
        self.fit_intercept = fit_intercept
        self.total = self.rows if sample_weight is None else float(sample_weight.sum())
        self.penalty = 1.0 / (c * self.total)
        self.size = max(256, _BLOCK // (self.features + self.outputs))
        self._standardise()
        self.dtype: np.dtype[Any] = x.dtype
        self.point = np.zeros((self.features + 1, self.outputs))
        self.step = np.zeros_like(self.point)
        self._make_room()
        self.probabilities = np.empty((self.rows, self.outputs), np.float32)

    def _make_room(self) -> None:
        shape = self.rows, self.outputs
        self.logits, self.slopes = np.empty(shape, self.dtype), np.empty(shape, self.dtype)
        self.residuals = np.empty(shape, self.dtype)

    def _standardise(self) -> None:
        """Make the rows that the Hessian is about, times the root of their weights."""
        weights = np.ones(self.rows) if self.sample_weight is None else self.sample_weight
        self.centre, squares = np.zeros(self.features), np.zeros(self.features)
        if self.fit_intercept:
            for rows in self._blocks():
                self.centre += weights[rows] @ self.x[rows]
            self.centre /= self.total
        for rows in self._blocks():
            squares += weights[rows] @ (self.x[rows] - self.centre) ** 2
        self.scale = np.sqrt(squares / self.total)
        # Of a constant feature rounding errors are left: they are not worth magnifying.
        self.scale = np.maximum(self.scale, 1e-7 * np.abs(self.centre))
        self.scale[self.scale == 0.0] = 1.0
        self.standard = np.empty((self.rows, self.features + self.fit_intercept), np.float32)
        for rows in self._blocks():
            root = np.sqrt(weights[rows])[:, None]
            block = self.standard[rows]
            block[:, : self.features] = (self.x[rows] - self.centre) / self.scale * root
            block[:, self.features :] = root

    def _blocks(self) -> Iterator[slice]:
        return (slice(i, i + self.size) for i in range(0, self.rows, self.size))

    # ---------------------------------------------------------------------------------- on a line

    def put(self, point: _Floats, dtype: np.dtype[Any]) -> _Floats:
        """Go to a point, to compute in this dtype from now on; return the gradient there."""
        if dtype != self.dtype:
            self.dtype = dtype
            self._make_room()
        self.point = point.copy()
        for rows in self._blocks():
            self._linear(rows, self.point, self.logits)
        self.slopes[...] = 0.0
        self.step = np.zeros_like(point)
        self.slope(0.0)
        return self.advance(0.0)

    def aim(self, step: _Floats) -> None:
        """Choose the line through the point along a step."""
        self.step = step
        for rows in self._blocks():
            self._linear(rows, step, self.slopes)

    def _linear(self, rows: slice, point: _Floats, out: _Array) -> None:
        x, point = self.x[rows].astype(self.dtype, copy=False), point.astype(self.dtype)
        np.matmul(x, point[:-1], out=out[rows])
        out[rows] += point[-1]

    def slope(self, length: float) -> float:
        """Return the derivative along the line at so many steps."""
        total = 0.0
        for rows in self._blocks():
            residuals = self.residuals[rows]
            np.multiply(self.slopes[rows], self.dtype.type(length), out=residuals)
            residuals += self.logits[rows]
            self._to_residuals(residuals, self.labels[rows])
            along = np.einsum("ij,ij->i", residuals, self.slopes[rows])
            if self.sample_weight is None:
                total += along.sum(dtype=np.float64)
            else:
                total += self.sample_weight[rows] @ along
        coefficients = self.point[:-1] + length * self.step[:-1]
        return total / self.total + self.penalty * np.vdot(coefficients, self.step[:-1]).item()

    def _to_residuals(self, logits: _Array, labels: NDArray[np.intp]) -> None:
        """Turn logits into probabilities less those of the labels."""
        if self.outputs > 1:
            _core.cross_entropy_value_and_grad(logits, labels, reduction="sum", out=logits)
        else:
            targets = labels[:, None].astype(logits.dtype)
            _core.binary_cross_entropy_value_and_grad(
                logits, targets, reduction="sum", out=logits
            )

    def advance(self, length: float) -> _Floats:
        """Go along the line to where `slope` was asked for last; return the gradient there."""
        self.point += length * self.step
        gradient = np.zeros_like(self.point)
        for rows in self._blocks():
            self.logits[rows] += self.dtype.type(length) * self.slopes[rows]
            residuals = self.residuals[rows]
            self._remember(rows, residuals)
            if self.sample_weight is not None:
                residuals *= self.sample_weight[rows, None].astype(self.dtype)
            gradient[:-1] += self.x[rows].astype(self.dtype, copy=False).T @ residuals
            if self.fit_intercept:
                gradient[-1] += residuals.sum(axis=0, dtype=np.float64)
        gradient /= self.total
        gradient[:-1] += self.penalty * self.point[:-1]
        return gradient

    # -------------------------------------------------------------------------------- the Hessian

    def _remember(self, rows: slice, residuals: _Array) -> None:
        """Keep what the Hessian needs: probabilities, or those of two classes multiplied."""
        kept = self.probabilities[rows]
        if self.outputs > 1:
            kept[...] = residuals
            kept[np.arange(kept.shape[0]), self.labels[rows]] += 1.0
        else:
            np.abs(residuals, out=kept, casting="same_kind")
            kept *= 1.0 - kept

    def times_hessian(self, v: _Floats) -> _Floats:
        """Return the product with the Hessian, in the variables of the standardised rows."""
        narrow, product = v.astype(np.float32), np.zeros_like(v)
        for rows in self._blocks():
            x, p = self.standard[rows], self.probabilities[rows]
            change = x @ narrow
            if self.outputs > 1:
                _core.softmax_jvp(p, change, out=change)
            else:
                change *= p
            product += x.T @ change
        product /= self.total
        product[: self.features] += (self.penalty / self.scale**2)[:, None] * v[: self.features]
        return product

    def spread(self) -> _Floats:
        """Return the mean Hessian of the loss of a row with respect to its logits."""
        p = self.probabilities
        weighted = p
        if self.sample_weight is not None:
            weighted = p * self.sample_weight[:, None].astype(np.float32)
        if self.outputs == 1:
            return np.array([[weighted.sum(dtype=np.float64) / self.total]])
        # The diagonal from the rest, that rows add up to zero whatever was rounded.
        spread = -(weighted.T @ p).astype(np.float64) / self.total
        np.fill_diagonal(spread, 0.0)
        np.fill_diagonal(spread, -spread.sum(axis=1))
        return spread

    def gram(self) -> _Floats:
        """Return the weighted mean of ``x xᵀ`` over centred rows that are not scaled."""
        x = self.standard[:, : self.features]
        gram = (x.T @ x).astype(np.float64) / self.total
        gram *= self.scale[:, None] * self.scale
        return gram

    def to_standard(self, gradient: _Floats) -> _Floats:
        """Return a gradient in the variables of the standardised rows."""
        coefficients = (gradient[:-1] - self.centre[:, None] * gradient[-1]) / self.scale[:, None]
        return np.vstack([coefficients, gradient[-1:]]) if self.fit_intercept else coefficients

    def from_standard(self, gradient: _Floats) -> _Floats:
        """Return a gradient in the variables of the rows as they are."""
        intercepts = gradient[self.features :] if self.fit_intercept else np.zeros((1, 1))
        coefficients = gradient[: self.features] * self.scale[:, None]
        coefficients += self.centre[:, None] * intercepts
        return np.vstack([coefficients, np.broadcast_to(intercepts, (1, self.outputs))])

    def step_of(self, v: _Floats) -> _Floats:
        """Return a step in the standardised variables as a step between points."""
        step = np.zeros_like(self.point)
        step[:-1] = v[: self.features] / self.scale[:, None]
        if self.fit_intercept:
            step[-1] = v[-1] - self.centre @ step[:-1]
        return step
