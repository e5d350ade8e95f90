"""A linear layer and cross-entropy: the work, by blocks of rows or of rows and classes."""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softlane import _core
from softlane._linear_problem import Gradients, Problem
from softlane._state import LogSumExpState

_Array: TypeAlias = NDArray[Any]
_Floats: TypeAlias = NDArray[np.float64]

# Fewer rows than this make matrix products slow: then classes are cut into blocks instead.
_FEW_ROWS = 16
# More than so many bytes of logits leave the cache; so many rows are enough for matrix products.
_NEAR_BYTES = 4 << 20
_ENOUGH_ROWS = 256


def run(problem: Problem, gradients: Gradients | None, coefficients: _Floats | None) -> None:
    """Compute the losses of all rows, and the gradients, given the cotangent of each loss."""
    w = problem.w.astype(problem.dtype, copy=False)
    if not _is_for_blas(w):
        w = np.ascontiguousarray(w)  # once, not in each product
    bias = None if problem.bias is None else problem.bias.astype(problem.dtype)
    # An eighth is for what the gradient of w is added up in.
    budget = problem.block_bytes if gradients is None else problem.block_bytes * 7 // 8
    fit = budget // max(1, problem.dtype.itemsize * (problem.classes + problem.width))
    with np.errstate(all="ignore"):
        if fit >= min(problem.rows, _FEW_ROWS) or problem.classes == 0:
            near = _NEAR_BYTES // max(1, problem.dtype.itemsize * problem.classes)
            most = max(1, min(fit, max(near, _ENOUGH_ROWS)))
            # Blocks of one size, that the last be not of a few rows.
            size = max(1, math.ceil(problem.rows / max(1, math.ceil(problem.rows / most))))
            _by_rows(problem, size, w, bias, gradients, coefficients)
        else:
            _ByClasses(problem, w, bias, budget).run(gradients, coefficients)


def _is_for_blas(w: _Array) -> bool:
    """Tell whether NumPy hands a matrix to BLAS as it is."""
    item, (rows, columns) = w.itemsize, w.strides
    one_is_dense = (columns == item and rows >= item) or (rows == item and columns >= item)
    return bool(one_is_dense and w.flags.aligned)


def _by_rows(
    problem: Problem,
    size: int,
    w: _Array,
    bias: _Array | None,
    gradients: Gradients | None,
    coefficients: _Floats | None,
) -> None:
    """Take blocks of rows, and all classes: one block of logits, which becomes its gradient."""
    memory = np.empty((min(size, problem.rows), problem.classes), problem.dtype)
    options: dict[str, Any] = {
        "weight": problem.weight,
        "label_smoothing": problem.smoothing,
        "z_loss": problem.z_loss,
        "reduction": "none",
        "return_lse": True,
        "num_threads": problem.num_threads,
    }
    for rows in problem.row_blocks(size):
        x, block = problem.x_rows(rows), memory[: rows.stop - rows.start]
        np.matmul(x, w.T, out=block)
        if bias is not None:
            np.add(block, bias, out=block)
        labels = problem.labels[rows]
        if problem.has_classes:
            # ignore_index may be a class, or beyond the range of any dtype: -1 is neither.
            labels = np.where(problem.counted[rows], labels, -1)
            options["ignore_index"] = -1
        if gradients is None or coefficients is None:
            losses, lse = _core.cross_entropy(block, labels, **options)
        else:
            losses, _, lse = _core.cross_entropy_value_and_grad(
                block, labels, dloss=coefficients[rows], out=block, **options
            )
            gradients.add(rows, x, w, block)
        problem.losses[rows], problem.lse[rows] = losses, lse


class _ByClasses:
    """Blocks of classes, for rows so long that not even a few of them fit.

    The logits are made anew for each use: for the logsumexp of the rows, by `LogSumExpState`; for
    the loss of all classes, where more than one of them is a label; and for the gradient.
    """

    def __init__(self, problem: Problem, w: _Array, bias: _Array | None, budget: int) -> None:
        self.problem, self.w, self.bias = problem, w, bias
        # The logits, their softmax and its logarithm, targets and the gradient; rows of x, twice.
        numbers = max(1, budget // 48)
        size = min(problem.rows, 256, math.isqrt(numbers), numbers // max(1, problem.width))
        self.size = max(1, size)
        self.width = max(1, min(problem.classes, numbers // self.size))
        ones = np.broadcast_to(np.float64(1.0), problem.classes)
        self.weight = ones if problem.weight is None else problem.weight
        self.needs_all = not problem.has_classes or problem.smoothing > 0.0

    def run(self, gradients: Gradients | None, coefficients: _Floats | None) -> None:
        """Compute the losses of all rows, and the gradients, given the cotangent of each loss."""
        problem = self.problem
        for rows in problem.row_blocks(self.size):
            x = problem.x_rows(rows)
            state, at_label = self._seen(rows, x)
            lse = state._result_in_float64()
            # The weight of each row's label, where that is a class; and its log-probability.
            share = logp = loss = np.zeros(x.shape[0])
            if problem.has_classes:
                logp = state.log_softmax(at_label[:, None])[:, 0].astype(np.float64)
                share = self.weight[problem.labels[rows]] * (1.0 - problem.smoothing)
                loss = np.where(share > 0.0, -share * logp, 0.0)
            if self.needs_all:
                loss = self._with_other_targets(rows, x, state, loss)
            if gradients is not None and coefficients is not None:
                scale = share + self._sum_of_targets(rows) + 2.0 * problem.z_loss * lse
                cotangent = coefficients[rows][:, None]
                dx = np.zeros((x.shape[0], problem.width))
                for classes, logits in self._blocks(x):
                    gradient = state._of_recomputed(logits, log=False).astype(np.float64)
                    gradient *= scale[:, None]
                    if problem.has_classes:
                        inside, column = self._at(rows, classes)
                        # share · (p - 1), which is no difference; then what of the scale is left.
                        near = share[inside] * np.expm1(logp[inside])
                        rest = (scale[inside] - share[inside]) * np.exp(logp[inside])
                        gradient[inside, column] = near + rest
                    if self.needs_all:
                        gradient -= self._targets(rows, classes)
                    gradient *= cotangent
                    gradient[~problem.counted[rows]] = 0.0
                    dlogits = gradient.astype(problem.dtype)
                    dx += dlogits @ self.w[classes]
                    gradients.add_to_w(rows, classes, x, dlogits)
                gradients.dx[rows] = dx
            if problem.z_loss > 0.0:
                loss = loss + problem.z_loss * lse * lse
            # A row without a number, or with NaN or infinity, has no loss.
            loss = np.where(np.isfinite(lse), loss, math.nan)
            problem.losses[rows] = np.where(problem.counted[rows], loss, 0.0)
            problem.lse[rows] = lse

    def _with_other_targets(
        self, rows: slice, x: _Array, state: LogSumExpState, loss: _Floats
    ) -> _Floats:
        """Return losses with what `_targets` add to them."""
        lost = np.zeros_like(loss)
        for classes, logits in self._blocks(x):
            targets = self._targets(rows, classes)
            logp = state._of_recomputed(logits, log=True)
            terms = np.where(targets > 0.0, targets * -logp.astype(np.float64), 0.0).sum(axis=1)
            # Knuth's two-sum: blocks of few classes are many terms.
            total = loss + terms
            t = total - loss
            lost += (loss - (total - t)) + (terms - t)
            loss = total
        return np.where(np.isfinite(loss), loss + lost, loss)

    def _blocks(self, x: _Array) -> Iterator[tuple[slice, _Array]]:
        """Yield blocks of classes and their logits."""
        for start in range(0, self.problem.classes, self.width):
            classes = slice(start, min(start + self.width, self.problem.classes))
            logits = np.matmul(x, self.w[classes].T)
            if self.bias is not None:
                logits += self.bias[classes]
            yield classes, logits

    def _seen(self, rows: slice, x: _Array) -> tuple[LogSumExpState, _Array]:
        """Return the state of some rows, and the logits of their labels where these are classes."""
        state = LogSumExpState().update(np.empty((x.shape[0], 0), self.problem.dtype))
        at_label = np.full(x.shape[0], -math.inf, self.problem.dtype)
        for classes, logits in self._blocks(x):
            state.update(logits)
            if self.problem.has_classes:
                inside, column = self._at(rows, classes)
                at_label[inside] = logits[inside, column]
        return state, at_label

    def _at(self, rows: slice, classes: slice) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return which rows have their label among some classes, and where there."""
        labels = self.problem.labels[rows]
        inside = np.flatnonzero((labels >= classes.start) & (labels < classes.stop))
        return inside, labels[inside] - classes.start

    def _targets(self, rows: slice, classes: slice) -> _Floats:
        """Return the weighted targets of rows, without those of labels that are classes."""
        problem = self.problem
        targets = np.zeros((rows.stop - rows.start, classes.stop - classes.start))
        if not problem.has_classes:
            targets += problem.labels[rows, classes]
            targets *= 1.0 - problem.smoothing
        targets += problem.smoothing / problem.classes
        targets *= self.weight[classes]
        return targets

    def _sum_of_targets(self, rows: slice) -> _Floats:
        """Return the sum over all classes of `_targets`."""
        problem = self.problem
        uniform = problem.smoothing * float(self.weight.sum()) / max(1, problem.classes)
        total = np.full(rows.stop - rows.start, uniform)
        if not problem.has_classes:
            for start in range(0, problem.classes, self.width):
                part = slice(start, start + self.width)
                labels = problem.labels[rows, part].astype(np.float64)
                total += (1.0 - problem.smoothing) * (labels @ self.weight[part])
        return total
