"""A linear layer and cross-entropy: the arguments checked, the results put together."""

import math
from collections.abc import Iterator
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softlane import _core
from softlane._state import computed_in, result_dtype, widest

_Array: TypeAlias = NDArray[Any]

# The binary exponent from which on the weights of a mean are brought nearer to 1.
_FAR = 32


class Problem:
    """The arguments, checked; the rows, block by block; the losses of rows."""

    def __init__(
        self,
        x: object,
        w: object,
        labels: object,
        bias: object,
        weight: object,
        ignore_index: object,
        label_smoothing: object,
        reduction: object,
        z_loss: object,
        block_bytes: object,
        num_threads: SupportsIndex | None,
    ) -> None:
        given_x, self.w = _core._array("x", x), _core._array("w", w)
        if given_x.ndim == 0:
            raise ValueError("x has shape (), expected (..., D)")
        self.lead, self.width = given_x.shape[:-1], given_x.shape[-1]
        if self.w.ndim != 2 or self.w.shape[1] != self.width:
            wanted = f"(V, {self.width}) for x of shape {given_x.shape}"
            raise ValueError(f"w has shape {self.w.shape}, expected {wanted}")
        self.classes = self.w.shape[0]
        self.rows = math.prod(self.lead)
        self.x = given_x.reshape(self.rows, self.width)
        dtype = widest(result_dtype(given_x.dtype), result_dtype(self.w.dtype))
        self.dtype = computed_in(dtype)
        self.bias = self._per_class("bias", bias)
        if self.bias is not None and computed_in(result_dtype(self.bias.dtype)) != self.dtype:
            # float64 bias makes float64 logits; of a narrower one they stay as they are.
            self.dtype = computed_in(widest(self.dtype, result_dtype(self.bias.dtype)))
        self.weight = self._checked_weight(weight)
        self.ignore_index = integer("ignore_index", ignore_index)
        self.smoothing = _number("label_smoothing", label_smoothing)
        if not 0.0 <= self.smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be between 0 and 1, got {self.smoothing}")
        self.z_loss = _number("z_loss", z_loss)
        if not 0.0 <= self.z_loss < math.inf:
            raise ValueError(f"z_loss must be a finite number of at least 0, got {self.z_loss}")
        if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction
        self.block_bytes = integer("block_bytes", block_bytes)
        if self.block_bytes < 1:
            raise ValueError(f"block_bytes must be at least 1, got {self.block_bytes}")
        self.labels, self.counted = self._checked_labels(labels)
        is_weighted_mean = reduction == "mean" and self.has_classes and self.z_loss == 0.0
        if self.weight is not None and is_weighted_mean:
            self.weight = near_one(self.weight, _FAR)
        _core.softmax(np.zeros(1), num_threads=num_threads)  # refuses a wrong number
        self.num_threads = num_threads
        self.losses = np.zeros(self.rows, self.dtype)
        self.lse = np.zeros(self.rows, self.dtype)

    # ------------------------------------------------------------------------------- the arguments

    def _per_class(self, name: str, given: object) -> _Array | None:
        if given is None:
            return None
        array = _core._array(name, given)
        if array.shape != (self.classes,):
            wanted = f"({self.classes},), one number a row of w"
            raise ValueError(f"{name} has shape {array.shape}, expected {wanted}")
        return array

    def _checked_weight(self, given: object) -> _Array | None:
        weight = self._per_class("weight", given)
        if weight is None:
            return None
        weight = weight.astype(np.float64)
        wrong = np.flatnonzero(~((weight >= 0.0) & np.isfinite(weight)))
        if wrong.size > 0:
            got = float(weight[wrong[0]])
            raise ValueError(f"weight must be finite and at least 0, got {got} at index {wrong[0]}")
        return weight

    def _checked_labels(self, given: object) -> tuple[_Array, NDArray[np.bool_]]:
        labels = _core._array("labels", given)
        if labels.dtype.kind == "b":
            wanted = "integers (classes) or floats (probabilities)"
            raise TypeError(f"labels has dtype bool, expected {wanted}")
        if labels.dtype.kind in "iu":
            if labels.shape != self.lead:
                raise ValueError(f"labels has shape {labels.shape}, expected {self.lead}")
            labels = labels.reshape(-1)
            counted = np.asarray(labels != self.ignore_index)
            wrong = np.flatnonzero(counted & ((labels < 0) | (labels >= self.classes)))
            if wrong.size > 0:
                at = tuple(map(int, np.unravel_index(wrong[0], self.lead)))
                raise IndexError(
                    f"labels has class {labels[wrong[0]]} at index {at}, "
                    f"expected 0 to {self.classes - 1} or ignore_index"
                )
            return np.where(counted, labels, 0).astype(np.intp), counted
        wanted_shape = (*self.lead, self.classes)
        if labels.shape != wanted_shape:
            wanted = f"{wanted_shape}, a probability of each class"
            raise ValueError(f"labels has shape {labels.shape}, expected {wanted}")
        labels = labels.reshape(self.rows, self.classes)
        size = max(1, self.block_bytes // max(1, 16 * self.classes))
        for start in range(0, self.rows, size):
            block = labels[start : start + size]
            ok = (block >= 0) & (block < math.inf)
            if not ok.all():
                row, column = map(int, np.argwhere(~ok)[0])
                at = (*map(int, np.unravel_index(start + row, self.lead)), column)
                raise ValueError(
                    f"labels must be finite and at least 0, got {float(block[row, column])} "
                    f"at index {at}"
                )
        return labels, np.ones(self.rows, np.bool_)

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, not probabilities."""
        return self.labels.ndim == 1

    def denominator(self) -> float:
        """Return what the sum of losses is divided by."""
        if self.reduction != "mean":
            return 1.0
        if self.has_classes and self.weight is not None:
            return math.fsum(self.weight[self.labels[self.counted]])
        return float(np.count_nonzero(self.counted))

    def coefficients(self, dloss: object) -> NDArray[np.float64]:
        """Return the cotangent of the loss of each row."""
        cotangent = _core._array("dloss", 1.0 if dloss is None else dloss)
        wanted = self.lead if self.reduction == "none" else ()
        try:
            cotangent = np.broadcast_to(cotangent, wanted)
        except ValueError:
            raise ValueError(
                f"dloss has shape {cotangent.shape}, which does not broadcast to {wanted}"
            ) from None
        denominator = self.denominator()
        with np.errstate(all="ignore"):
            cotangent = cotangent.astype(np.float64) / np.float64(denominator)
        if not self.counted.any():
            cotangent = np.zeros_like(cotangent)
        return np.broadcast_to(cotangent.reshape(-1) if wanted else cotangent, (self.rows,))

    # ------------------------------------------------------------------------------------ the work

    def row_blocks(self, size: int) -> Iterator[slice]:
        """Return blocks of rows."""
        return (slice(i, min(i + size, self.rows)) for i in range(0, self.rows, size))

    def x_rows(self, rows: slice) -> _Array:
        """Return rows of x in the dtype of the logits."""
        return self.x[rows].astype(self.dtype, copy=False)

    # --------------------------------------------------------------------------------- the results

    def loss(self) -> Any:
        """Return the loss."""
        if self.reduction == "none":
            return self.losses.reshape(self.lead)[()]
        total = np.float64(_exact_sum(self.losses))
        if self.reduction == "mean" and self.counted.any():
            with np.errstate(all="ignore"):
                total = total / np.float64(self.denominator())
        return self.dtype.type(total)

    def lse_result(self) -> Any:
        """Return the logsumexp of each row."""
        return self.lse.reshape(self.lead)[()]


class Gradients:
    """The gradients of x, w and bias, as they are added up."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.dx = np.zeros((problem.rows, problem.width), result_dtype(problem.x.dtype))
        # In the dtype of the logits until the end.
        self.dw = np.zeros((problem.classes, problem.width), problem.dtype)
        self.dbias = None if problem.bias is None else np.zeros(problem.classes)
        room = problem.block_bytes // 8 // max(1, problem.dtype.itemsize * problem.width)
        self.memory = np.empty((0, problem.width), problem.dtype)
        self.room = min(max(1, room), max(1, problem.classes))

    def add(self, rows: slice, x: _Array, w: _Array, dlogits: _Array) -> None:
        """Take in the gradient of some rows of logits."""
        if self.dx.dtype == dlogits.dtype:
            np.matmul(dlogits, w, out=self.dx[rows])
        else:
            self.dx[rows] = np.matmul(dlogits, w)
        self.add_to_w(rows, slice(0, self.dw.shape[0]), x, dlogits)

    def add_to_w(self, rows: slice, classes: slice, x: _Array, dlogits: _Array) -> None:
        """Take in the part of the gradient of w, and that of bias."""
        counted = self.problem.counted[rows]
        if not counted.all():
            # Whatever is in rows that do not count, nothing comes of it: zero times NaN is NaN.
            x = np.where(counted[:, None], x, x.dtype.type(0))
        if self.dbias is not None:
            self.dbias[classes] += np.ones(dlogits.shape[0], dlogits.dtype) @ dlogits
        dw = self.dw[classes]
        if rows.start == 0:
            np.matmul(dlogits.T, x, out=dw)
            return
        if self.memory.size == 0:
            self.memory = np.empty((self.room, x.shape[1]), self.dw.dtype)
        for start in range(0, dw.shape[0], self.room):
            part = slice(start, min(start + self.room, dw.shape[0]))
            product = self.memory[: part.stop - part.start]
            np.matmul(dlogits[:, part].T, x, out=product)
            np.add(dw[part], product, out=dw[part])

    def results(self) -> tuple[_Array, _Array, _Array | None]:
        """Return them in the shapes and dtypes of the inputs."""
        problem = self.problem
        self.dx[~problem.counted] = 0.0
        with np.errstate(all="ignore"):
            dw = self.dw.astype(result_dtype(problem.w.dtype), copy=False)
            dbias = None
            if self.dbias is not None and problem.bias is not None:
                dbias = self.dbias.astype(result_dtype(problem.bias.dtype))
        return self.dx.reshape(*problem.lead, problem.width), dw, dbias


def _exact_sum(values: _Array) -> float:
    """Return the sum of numbers, rounded once, so that their order plays no part."""
    if not np.isfinite(values).all():
        return float(values.sum(dtype=np.float64))
    try:
        return math.fsum(values.tolist())
    except OverflowError:
        return math.inf


def integer(name: str, given: object) -> int:
    """Return an argument that must be an integer, or raise."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {type(given).__name__}")
    try:
        return given.__index__()
    except TypeError:  # an array of one integer
        raise TypeError(f"{name} must be an integer, got {type(given).__name__}") from None


def _number(name: str, given: object) -> float:
    if not isinstance(given, SupportsFloat | SupportsIndex):
        raise TypeError(f"{name} must be a number, got {type(given).__name__}")
    try:
        return float(given)
    except OverflowError:
        return math.inf
    except TypeError:  # an array of one number
        raise TypeError(f"{name} must be a number, got {type(given).__name__}") from None


def near_one(weight: NDArray[np.float64], far: int) -> NDArray[np.float64]:
    """Return weights of which only the ratios count, the largest near 1 if its exponent is far.

    Products with huge weights would overflow, those with tiny ones lose digits.
    """
    exponent = math.frexp(float(weight.max(initial=0.0)))[1]
    return weight if abs(exponent) <= far else np.ldexp(weight, -exponent)
