"""Newton's method for the inverse temperature: a few passes over the logits.

The loss is least where the mean gap D(beta) under the probabilities is that of the labels, M. D
falls with beta as sums of powers and exponentials do: log D is close to linear in log beta, or in
beta. So log D = log M is solved; the derivative of log D by beta is -Var/D.
"""

import math
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from softlane.calibration._moments import Gaps

_MOST_PASSES = 100
# A step leaves an error of the size of its square times the step before it, relative to beta.
_TOLERANCE = 1e-11
# Slopes of points closer than this tell nothing of how the slope changes.
_APART = 1e-3
# Where a search around a given point may end.
_NEAR = 4.0


class UndeterminedError(ValueError):
    """No temperature is best; the message says why."""


@dataclass(frozen=True)
class _Point:
    beta: float
    excess: float  # log(D / M): positive below the solution
    slope: float  # Var / D


class Newton:
    """The search for beta, and what it learned on the way."""

    def __init__(self, gaps: Gaps, before: "Newton | None" = None) -> None:
        self.gaps = gaps
        self.beta = math.nan  # the solution
        # d log(slope) / d log(beta)
        self.bend: float | None = None if before is None else before.bend
        self.target = math.nan
        self.low = _Point(0.0, math.nan, math.nan)
        self.high = _Point(math.inf, -math.inf, math.nan)
        self.last: _Point | None = None

    def from_zero(self) -> None:
        """Find the solution, or raise `UndeterminedError`."""
        uniform, variance = self._moments(0.0)
        if uniform == 0.0:
            raise UndeterminedError(
                "no temperature is best: the logits of every row are equal, "
                "and so are its probabilities at any temperature"
            )
        if self.target == 0.0:
            raise UndeterminedError(
                "no temperature is best: every label has the largest logit of its row, so that "
                "the loss falls all the way as the temperature goes to 0"
            )
        rounding = 1e-12 if self.gaps.dtype.itemsize == 8 else 1e-6
        if uniform - self.target <= rounding * uniform:
            raise UndeterminedError(
                "no temperature is best: on average labels have no larger logits than the other "
                "classes, so that the loss falls all the way as the temperature grows"
            )
        smallest = np.finfo(self.gaps.dtype)
        ratio = uniform / self.target
        if variance < smallest.tiny / smallest.eps or ratio == math.inf:
            self._raise_out_of_range()
        excess = math.log(ratio)
        self.low = _Point(0.0, excess, variance / uniform)
        if not self._search(excess * uniform / variance, 0.0, math.inf):
            raise UndeterminedError(f"no temperature was found in {self.gaps.passes} passes")

    def near(self, beta: float) -> bool:
        """Find the solution if it is close to a point; tell whether it is."""
        return self._search(beta, beta / _NEAR, beta * _NEAR)

    def _moments(self, beta: float) -> tuple[float, float]:
        """Return the mean gap and the mean variance; see that they are numbers."""
        mean, variance = self.gaps.moments(beta)
        self.target = self.gaps.of_labels
        row = self.gaps.rows.first_excluded() if math.isinf(self.target) else None
        if row is not None:
            raise UndeterminedError(
                f"no temperature is best: row {row} has the label {self.gaps.rows.labels[row]}, "
                "which its logit of -inf excludes"
            )
        if not math.isfinite(self.target + mean + variance):
            self._raise_out_of_range()
        return mean, variance

    def _raise_out_of_range(self) -> NoReturn:
        raise UndeterminedError(
            "no temperature was found: the squares of the differences between logits are "
            f"beyond the range of {self.gaps.dtype}"
        )

    def _search(self, beta: float, least: float, most: float) -> bool:
        for _ in range(_MOST_PASSES):
            mean, variance = self._moments(beta)
            ratio = mean / self.target
            if ratio > 0.0 and variance > 0.0:
                point = _Point(beta, math.log(ratio), variance / mean)
            else:
                point = _Point(beta, -math.inf, math.nan)
            if point.excess > 0.0:
                self.low = point
            else:
                self.high = point
            step = point.excess / (point.slope * beta)
            if abs(step) < _TOLERANCE:
                self.beta = beta * (1.0 + step)
                return True
            found = self._next(point, step)
            if not least <= found <= most:
                return False
            moved = abs(found / beta - 1.0)
            before = 1.0 if self.last is None else abs(1.0 - self.last.beta / beta)
            if moved * moved * min(before, 1.0) < _TOLERANCE:
                self.beta = found
                return True
            self.last = None if math.isnan(point.slope) else point
            beta = found
        return False

    def _next(self, point: _Point, step: float) -> float:
        """Return where to look next, given Newton's step relative to beta."""
        found = math.nan
        if not math.isnan(point.slope):
            self._learn_bend(point)
            if self.bend is not None:
                # Halley's step, that of a slope which bends.
                found = point.beta * (
                    1.0 + step / min(max(1.0 + 0.5 * step * self.bend, 0.25), 4.0)
                )
            elif self.low.beta == 0.0 or math.isinf(self.high.excess):
                found = _between_laws(point.beta, step)
        if not self.low.beta < found < self.high.beta:
            found = _inside(self.low, self.high)
        return found

    def _learn_bend(self, point: _Point) -> None:
        """Take from the last two points how the slope changes; forget what is from far away."""
        if self.last is None:
            return
        apart = 1.0 - self.last.beta / point.beta
        if abs(apart) >= 0.5:
            self.bend = None
        elif abs(apart) > _APART or self.bend is None:
            self.bend = (1.0 - self.last.slope / point.slope) / apart


def _between_laws(beta: float, step: float) -> float:
    """Return a point between Newton's for log D linear in beta, and for linear in log beta."""
    # Far above the solution slopes may be so flat that the second would go almost to 0.
    exponential, power = beta * (1.0 + step), beta * math.exp(min(max(step, -3.0), 100.0))
    if exponential > 0.0 and power < 4.0 * exponential:
        return math.sqrt(exponential * power)
    return exponential if step > 0.0 else power


def _inside(low: _Point, high: _Point) -> float:
    """Return a point between two: where a cubic with their values and slopes is zero."""
    if math.isinf(high.beta):
        return 8.0 * low.beta
    if low.beta == 0.0:
        part = 0.05 if math.isinf(high.excess) else low.excess / (low.excess - high.excess)
        return high.beta * min(max(part, 0.05), 0.95)
    width = math.log(high.beta / low.beta)
    if math.isinf(high.excess):
        return low.beta * math.exp(0.5 * width)
    ends = low.excess, high.excess
    slopes = -low.slope * low.beta * width, -high.slope * high.beta * width
    left, right = 0.0, 1.0
    for _ in range(30):
        t = 0.5 * (left + right)
        rest = 1.0 - t
        of_ends = (1.0 + 2.0 * t) * rest * rest * ends[0] + t * t * (3.0 - 2.0 * t) * ends[1]
        if of_ends + t * rest * (rest * slopes[0] - t * slopes[1]) > 0.0:
            left = t
        else:
            right = t
    return low.beta * math.exp(width * min(max(left, 0.02), 0.98))
