"""The gaps below each row's largest logit, and their mean and variance, in one pass."""

import math

import numpy as np

from softlane import _core
from softlane.calibration._rows import Floats, Rows


class Gaps:
    """The gaps g = max(z) - z of each row of logits z, in their distribution softmax(z * beta)."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.passes = 0
        self._top = np.empty(rows.count, rows.dtype)

    def moments(self, beta: float) -> tuple[float, float]:
        """Return the means over the rows of the mean gap and of the variance of the gaps."""
        rows = self.rows
        mean, variance = np.empty(rows.count), np.empty(rows.count)
        shape = (min(rows.block_rows, rows.count), rows.classes)
        gap_memory, p_memory = np.empty(shape, rows.dtype), np.empty(shape, rows.dtype)
        for part, block in rows.blocks():
            if self.passes == 0:
                self._top[part] = block.max(axis=1)
                rows.check(part, np.where(np.isfinite(self._top[part]), 0.0, math.nan))
            gap, p = gap_memory[: len(block)], p_memory[: len(block)]
            # From gaps, not logits: what all logits of a row have in common costs no digits.
            np.subtract(self._top[part, None], block, out=gap)
            if beta > 0.0:
                _core.softmin(gap, temperature=1.0 / beta, out=p)
            else:
                p[...] = gap < math.inf
                p /= p.sum(axis=1, keepdims=True)
            of_row = np.vecdot(p, gap)
            if np.isnan(of_row).any():
                gap[gap == math.inf] = 0.0  # excluded classes, of probability 0
                of_row = np.vecdot(p, gap)
            mean[part] = of_row
            np.multiply(p, gap, out=p)
            variance[part] = np.vecdot(p, gap)
        self.passes += 1
        variance -= mean * mean
        return rows.mean(mean), rows.mean(variance)

    def of_labels(self) -> Floats:
        """Return the gap of each row's label, infinite where it is excluded; after a pass."""
        rows = self.rows
        at_label = rows.logits[np.arange(rows.count), rows.labels].astype(np.float64)
        return self._top.astype(np.float64) - at_label
