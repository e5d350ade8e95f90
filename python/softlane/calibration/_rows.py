"""Logits with their labels and weights: the arguments checked, and the rows in blocks."""

import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softlane import _core
from softlane._linear_problem import near_one
from softlane._state import computed_in, result_dtype

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Real: TypeAlias = SupportsFloat | SupportsIndex

# So many logits, and two more arrays of their size, stay in the cache of one core.
_BLOCK_ENTRIES = 1 << 16
# The binary exponent from which on weights are brought nearer to 1.
_FAR = 500
# What rounding leaves of a sum of 1 in float16, float32 and float64, and some.
_SUM_TOLERANCE = {2: 1e-2, 4: 1e-4, 8: 1e-6}


class Rows:
    """Logits of shape (n, classes), a label a row, and a weight a row or None."""

    def __init__(
        self,
        logits: ArrayLike,
        labels: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        surely_logits: bool = False,
    ) -> None:
        self.logits = _core._array("logits", logits)
        if self.logits.ndim != 2 or 0 in self.logits.shape:
            wanted = "(n, classes) with at least one row and one class"
            raise ValueError(f"logits has shape {self.logits.shape}, expected {wanted}")
        self.count, self.classes = self.logits.shape
        self.dtype = computed_in(result_dtype(self.logits.dtype))
        _core.softmax(self.logits[0])  # refuses a dtype that is not supported
        self.labels = self._checked_labels(labels)
        self.weight = None if weight is None else self._checked_weight(weight)
        self._weigh()
        if not surely_logits:
            self._warn_of_probabilities()

    def every(self, stride: int) -> "Rows":
        """Return every so many-th row, unchecked."""
        part = copy.copy(self)
        part.logits, part.labels = self.logits[::stride], self.labels[::stride]
        part.weight = None if self.weight is None else self.weight[::stride]
        part.count = len(part.labels)
        part._weigh()
        return part

    def _weigh(self) -> None:
        """Prepare the weights of a mean, of which only the ratios count: the largest near 1."""
        self.ratios, self.mass = self.weight, float(self.count)
        if self.weight is None:
            return
        near = near_one(self.weight, _FAR)
        self.ratios, self.mass = near, float(near.sum())

    def _checked_labels(self, given: ArrayLike) -> Array:
        labels = _core._array("labels", given)
        if labels.shape != (self.count,):
            wanted = f"({self.count},), one label a row of logits"
            raise ValueError(f"labels has shape {labels.shape}, expected {wanted}")
        if labels.dtype.kind not in "iu":
            raise TypeError(f"labels has dtype {labels.dtype}, expected integers: the classes")
        wrong = np.flatnonzero((labels < 0) | (labels >= self.classes))
        if wrong.size > 0:
            raise IndexError(
                f"labels must be from 0 to {self.classes - 1}, "
                f"got {labels[wrong[0]]} at ({wrong[0]},)"
            )
        return labels

    def _checked_weight(self, given: ArrayLike) -> Floats:
        weight = _core._array("weight", given)
        if weight.shape != (self.count,):
            wanted = f"({self.count},), one weight a row of logits"
            raise ValueError(f"weight has shape {weight.shape}, expected {wanted}")
        weight = weight.astype(np.float64, copy=False)
        wrong = np.flatnonzero(~((weight >= 0.0) & (weight < math.inf)))
        if wrong.size > 0:
            got = f"{weight[wrong[0]]} at ({wrong[0]},)"
            raise ValueError(f"weight must be finite and at least 0, got {got}")
        with np.errstate(over="ignore"):
            total = weight.sum()
        if not 0.0 < total < math.inf:
            raise ValueError(f"weight must have a sum that is finite and above 0, got {total}")
        return weight

    def _warn_of_probabilities(self) -> None:
        """Warn where all rows are probabilities; of true logits the first rows tell."""
        if self.classes == 1:
            return
        start, size = 0, 8
        while start < self.count:
            block = self.logits[start : start + size].astype(np.float64)
            inside = (block >= 0.0) & (block <= 1.0)
            tolerance = _SUM_TOLERANCE.get(self.logits.dtype.itemsize, 0.0)
            if not inside.all() or (abs(block.sum(axis=1) - 1.0) > tolerance).any():
                return
            start, size = start + size, self.block_rows
        warnings.warn(
            "every row of logits lies in [0, 1] and sums to 1: these look like probabilities; "
            "pass the logits, or np.log(probabilities)",
            UserWarning,
            stacklevel=4,  # whoever called the public function
        )

    @property
    def block_rows(self) -> int:
        """How many rows a block has."""
        return max(1, _BLOCK_ENTRIES // int(self.classes))

    def memory(self, dtype: np.dtype[Any] | None = None) -> Array:
        """Return memory for a block; of the dtype that is computed in, by default."""
        return np.empty((min(self.block_rows, self.count), self.classes), dtype or self.dtype)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the logits in blocks of rows, in the dtype that is computed in."""
        for start in range(0, self.count, self.block_rows):
            rows = slice(start, min(start + self.block_rows, self.count))
            yield rows, self.logits[rows].astype(self.dtype, copy=False)

    def probabilities(self, temperature: float) -> Iterator[tuple[slice, Array]]:
        """Yield the softmax of the logits in blocks of rows, in memory that is used again."""
        memory = self.memory()
        for rows, block in self.blocks():
            p = _core.softmax(block, temperature=temperature, out=memory[: len(block)])
            self.check(rows, p[:, 0])
            yield rows, p

    def refuse_unsound(self) -> None:
        """Raise where no distribution follows from the logits of a row."""
        for rows, block in self.blocks():
            self.largest(rows, block)

    def largest(self, rows: slice, block: Array) -> Array:
        """Return the largest logit of each row of a block; raise where it is not finite."""
        top: Array = block.max(axis=1)
        self.check(rows, np.where(np.isfinite(top), 0.0, math.nan))
        return top

    def first_excluded(self) -> int | None:
        """Return the first row that counts and whose label is excluded, if there is one."""
        for rows, block in self.blocks():
            excluded = block[np.arange(len(block)), self.labels[rows]] == -math.inf
            if self.weight is not None:
                excluded &= self.weight[rows] > 0.0
            if excluded.any():
                return int(rows.start + excluded.argmax())
        return None

    def check(self, rows: slice, values: Array) -> None:
        """Raise where a value of a row is NaN: no distribution follows from its logits."""
        wrong = np.flatnonzero(np.isnan(values))
        if wrong.size == 0:
            return
        row = rows.start + int(wrong[0])
        logits = self.logits[row].astype(np.float64)
        what = "NaN" if np.isnan(logits).any() else "inf" if (logits > 0).any() else "-inf alone"
        wanted = "finite numbers, and -inf for classes that are excluded"
        raise ValueError(f"logits has {what} in row {row}, expected {wanted}")


class Mean:
    """The weighted mean of a value a row, taken in by blocks."""

    def __init__(self, rows: Rows) -> None:
        self._weight, self._mass = rows.ratios, rows.mass
        self._sums: list[float] = []

    def add(self, part: slice, values: Array) -> None:
        """Take in the values of some rows."""
        if self._weight is None:
            self._sums.append(float(values.sum(dtype=np.float64)))
            return
        weight = self._weight[part]
        # What does not count may be infinite.
        self._sums.append(float(weight @ np.where(weight > 0.0, values, 0.0)))

    def value(self) -> float:
        """Return the mean."""
        return math.fsum(self._sums) / self._mass


def checked_temperature(temperature: Real) -> float:
    """Return a temperature as a float, or raise."""
    _core.softmax(np.zeros(1), temperature=temperature)
    return float(temperature)
