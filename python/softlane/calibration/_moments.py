"""The gaps below each row's largest logit: their mean and variance, in one pass."""

import math

import numpy as np

from softlane import _core
from softlane.calibration._rows import Array, Mean, Rows

_FEW = 1 << 20


class Gaps:
    """The gaps g = max(z) - z of each row of logits z, in their distribution softmax(z * beta).

    Attributes
    ----------
    of_labels : float
        The mean gap of the labels, infinite where a label is excluded; after a pass.
    passes : int
        How often the logits were read.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.passes = 0
        self.of_labels = math.nan
        # Over many logits the rounding of float32 averages out; few cost no time in float64.
        self.dtype = rows.dtype if rows.logits.size > _FEW else np.dtype(np.float64)
        self._top = np.empty(rows.count, self.dtype)

    def moments(self, beta: float) -> tuple[float, float]:
        """Return the means over the rows of the mean gap and of the variance of the gaps."""
        rows = self.rows
        mean, variance, of_labels = Mean(rows), Mean(rows), Mean(rows)
        gap_memory, p_memory = rows.memory(self.dtype), rows.memory(self.dtype)
        for part, block in rows.blocks():
            gap, p = gap_memory[: len(block)], p_memory[: len(block)]
            if self.passes == 0:
                of_labels.add(part, self._begin(part, block))
            # From gaps, not logits: what all logits of a row have in common costs no digits.
            np.subtract(self._top[part, None], block, out=gap)
            if beta > 0.0:
                _core.softmin(gap, temperature=1.0 / beta, out=p)
            else:
                p[...] = gap < math.inf
                p /= p.sum(axis=1, keepdims=True)
            first = np.vecdot(p, gap)
            if np.isnan(first).any():
                gap[gap == math.inf] = 0.0  # excluded classes, of probability 0
                first = np.vecdot(p, gap)
            np.multiply(p, gap, out=p)
            second = np.vecdot(p, gap)
            first = first.astype(np.float64, copy=False)
            mean.add(part, first)
            variance.add(part, second - first * first)
        if self.passes == 0:
            self.of_labels = of_labels.value()
        self.passes += 1
        return mean.value(), variance.value()

    def _begin(self, part: slice, block: Array) -> Array:
        """Take the largest logits; return the gaps of the labels."""
        top = self.rows.largest(part, block)
        self._top[part] = top
        at_label = block[np.arange(len(block)), self.rows.labels[part]]
        gaps: Array = np.subtract(top, at_label, dtype=np.float64)
        return gaps
