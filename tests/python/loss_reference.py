"""The plain twins of the losses: every option and any class axis, in a type wider than the logits'.

A gradient is p·Σt − t for targets t. Where a probability is near 1 that difference is all that
counts, so the twins sum the *other* classes: −t·(1 − p) + p·(Σt − t), with 1 − p never subtracted.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from numpy.typing import ArrayLike

import reference
from judges import DIGITS, exactly
from reference import Array


@dataclass(frozen=True)
class Loss:
    """What a loss gives, unrounded, and the sizes of the terms it is the sum of."""

    loss: Array
    gradient: Array
    lse: Array
    loss_terms: Array  # Σ|terms| of the loss: what a rounding error is measured by
    gradient_terms: Array  # the same of each entry of the gradient


@dataclass(frozen=True)
class _Rows:
    """The softmax of each row, and its logarithms, all without cancellation."""

    p: Array
    rest: Array  # 1 − p
    surprise: Array  # −log p, infinite where p is 0
    lse: Array
    undefined: Array  # rows of NaN, +inf, or nothing but -inf
    kept: Array


def _softmax_rows(x: Array, kept: Array) -> _Rows:
    lse = np.asarray(reference.logsumexp(x, 1, where=kept))
    surprise = -reference.log_softmax(x, 1, where=kept)
    rows = x.astype(reference.wider(x.dtype))
    rows[~kept] = -np.inf
    top = rows.max(axis=1, keepdims=True, initial=-np.inf)
    with np.errstate(all="ignore"):
        tied = rows == top
        exps = np.where(tied, 1, reference._shifted_exp(rows, top, 1.0))
        ties = tied.sum(axis=1, keepdims=True)
        others = np.where(tied, 0, exps).sum(axis=1, keepdims=True)
        total = ties + others
        p = exps / total
        # Any entry below the top is at most half of the total.
        rest = np.where(tied, (ties - 1) + others, total - exps) / total
    undefined = kept.any(axis=1) & ~np.isfinite(top[:, 0])
    p[~kept], rest[~kept], surprise[~kept] = 0, 1, np.inf
    return _Rows(p, rest, surprise, lse, undefined, kept)


@functools.lru_cache(maxsize=8)
def _remembered(x: bytes, dtype: np.dtype[Any], kept: bytes, shape: tuple[int, int]) -> _Rows:
    mask = np.frombuffer(kept, np.bool_).reshape(shape)
    rows = _softmax_rows(np.frombuffer(x, dtype).reshape(shape), mask)
    for array in vars(rows).values():
        array.flags.writeable = False
    return rows


def _softmax_again(x: Array, kept: Array) -> _Rows:
    """Return `_softmax_rows`; small rows come again with every option, and are remembered."""
    if x.size > 1 << 16:
        return _softmax_rows(x, kept)
    return _remembered(x.tobytes(), x.dtype, kept.tobytes(), (x.shape[0], x.shape[1]))


def _rows_of(x: ArrayLike, axis: int) -> tuple[Array, tuple[int, ...]]:
    """Return a matrix with the classes last, and the shape without them."""
    moved = np.moveaxis(np.asarray(x), axis, -1)
    return moved.reshape(int(np.prod(moved.shape[:-1])), moved.shape[-1]), moved.shape[:-1]


def _finished(
    rows: _Rows,
    targets: Array,
    losses: tuple[Array, Array],  # of each row, and Σ|terms|
    pull: Array,  # what else each row's lse is multiplied by in the gradient
    counted: Array,
    denominator: Any,
    dloss: ArrayLike,
    shape: tuple[tuple[int, ...], int],
) -> Loss:
    outer, axis = shape
    with np.errstate(all="ignore"):
        total = targets.sum(axis=1, keepdims=True)
        away = -targets * rows.rest
        towards = rows.p * (total - targets)
        also = rows.p * pull[:, None]
        gradient = away + towards + also
        terms = targets + rows.p * (total + np.abs(pull)[:, None])
        loss, loss_terms = losses
        gradient[~rows.kept.any(axis=1)] = 0
        loss[rows.undefined] = loss_terms[rows.undefined] = np.nan
        gradient[rows.undefined] = np.nan
        loss[~counted] = loss_terms[~counted] = 0
        gradient[~counted] = 0
        g = np.asarray(dloss).astype(gradient.dtype)
        if denominator is None:
            factor = np.broadcast_to(g, outer).reshape(-1, 1)
            loss, loss_terms = loss.reshape(outer), loss_terms.reshape(outer)
        elif not counted.any():
            factor, loss, loss_terms = g, loss.sum(), loss_terms.sum()
        else:
            factor = g / denominator
            loss, loss_terms = loss.sum() / denominator, loss_terms.sum() / denominator
        gradient = np.where(rows.kept & counted[:, None], factor * gradient, 0)
        terms = np.abs(factor) * terms
    full = (*outer, targets.shape[1])
    return Loss(
        np.asarray(loss),
        np.moveaxis(gradient.reshape(full), -1, axis),
        rows.lse.reshape(outer),
        np.asarray(loss_terms),
        np.moveaxis(terms.reshape(full), -1, axis),
    )


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    axis: int = -1,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    z_loss: float = 0.0,
    where: ArrayLike | None = None,
    dloss: ArrayLike = 1.0,
) -> Loss:
    """Return loss, gradient and lse of integer labels or probabilities, in the wider type."""
    given = reference._converted(logits)
    x, outer = _rows_of(given, axis)
    wide = reference.wider(x.dtype).type
    classes = x.shape[1]
    hidden = np.ones(given.shape, bool) if where is None else np.asarray(where, bool)
    kept = _rows_of(np.broadcast_to(hidden, given.shape), axis)[0].copy()
    w = np.ones(classes, wide) if weight is None else np.asarray(weight).astype(wide)
    a = wide(label_smoothing)

    labels = np.asarray(labels)
    counted = np.ones(len(x), bool)
    denominator: Any = None
    if reference.is_float(labels.dtype):
        hot = _rows_of(labels, axis)[0].astype(wide)
        if reduction == "mean":
            denominator = wide(len(x))
    else:
        classes_of = [int(v) for v in labels.ravel().tolist()]
        counted = np.array([c != ignore_index for c in classes_of], bool)
        hot = np.zeros(x.shape, wide)
        for i in np.flatnonzero(counted):
            assert 0 <= classes_of[i] < classes
            hot[i, classes_of[i]] = 1
        if reduction == "mean":
            denominator = (hot * w).sum()
    if reduction == "sum":
        denominator = wide(1)

    rows = _softmax_again(x, kept)
    with np.errstate(all="ignore"):
        number = np.maximum(kept.sum(axis=1, keepdims=True), 1).astype(wide)
        targets = w * ((1 - a) * hot + np.where(kept, a / number, 0))
        terms = np.where(targets > 0, targets * rows.surprise, 0)
        c = wide(z_loss)
        squares = c * rows.lse**2 if z_loss else np.zeros(len(x), wide)
        pull = 2 * c * rows.lse if z_loss else np.zeros(len(x), wide)
        loss = terms.sum(axis=1) + squares
    return _finished(
        rows, targets, (loss, loss.copy()), pull, counted, denominator, dloss, (outer, axis)
    )


def kl_divergence(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    reduction: str = "mean",
    dloss: ArrayLike = 1.0,
) -> Loss:
    """Return Σ t · (log t − log p), its gradient p · Σt − t, and lse, in the wider type."""
    x, outer = _rows_of(reference._converted(logits), axis)
    wide = reference.wider(x.dtype).type
    t = _rows_of(reference._converted(targets), axis)[0].astype(wide)
    rows = _softmax_rows(x, np.ones(x.shape, bool))
    with np.errstate(all="ignore"):
        logs = np.log(t)
        loss = np.where(t > 0, t * (logs + rows.surprise), 0).sum(axis=1)
        terms = np.where(t > 0, t * (np.abs(logs) + rows.surprise), 0).sum(axis=1)
    denominator = {"mean": wide(max(len(x), 1)), "sum": wide(1), "none": None}[reduction]
    every, nothing = np.ones(len(x), bool), np.zeros(len(x), wide)
    return _finished(rows, t, (loss, terms), nothing, every, denominator, dloss, (outer, axis))


def cross_entropy_row(
    x: Sequence[Any] | Array, targets: Sequence[Any] | Array, z_loss: float = 0.0
) -> tuple[Any, list[Any], Any]:
    """Return loss, gradient and lse of one row of finite numbers to 50 digits.

    The targets are what each class' −log p is multiplied by: weights, smoothing and all.
    """
    with mpmath.workdps(DIGITS):
        row = exactly(x)
        t = [mpmath.mpf(v) for v in targets]
        first = row.index(max(row))
        exps = [mpmath.exp(v - row[first]) for v in row]
        others = mpmath.fsum(e for i, e in enumerate(exps) if i != first)
        log_sum, total = mpmath.log1p(others), 1 + others
        surprise = [(row[first] - v) + log_sum for v in row]
        rest = [(others if i == first else total - e) / total for i, e in enumerate(exps)]
        (lse, _) = reference.logsumexp_row(np.asarray(x))
        c = mpmath.mpf(z_loss)
        whole = mpmath.fsum(t)
        loss = mpmath.fsum(a * b for a, b in zip(t, surprise, strict=True)) + c * lse**2
        gradient = [
            -a * r + e / total * (mpmath.fsum([whole, -a]) + 2 * c * lse)
            for a, r, e in zip(t, rest, exps, strict=True)
        ]
        return loss, gradient, lse
