"""The plain twins of binary cross-entropy and its gradient, element by element.

As in `reference`: in a wider type than the arguments', not rounded; the mpmath twins judge them.
"""

from typing import Any

import mpmath
import numpy as np
from numpy.typing import ArrayLike

from judges import DIGITS, exactly
from reference import Array, is_float, wider


def computed_in(logits: Array, targets: Array, *weights: ArrayLike | None) -> np.dtype[Any]:
    """Return the type softlane computes in."""
    wide = not is_float(logits.dtype) or np.dtype(np.float64) in (logits.dtype, targets.dtype)
    for w in weights:
        if w is not None and not isinstance(w, int | float):
            dtype = np.asarray(w).dtype
            wide |= dtype == np.float64 or not is_float(dtype)
    return np.dtype(np.float64 if wide else np.float32)


def _widened(*arrays: ArrayLike | None, dtype: np.dtype[Any]) -> list[Array]:
    """Return the arrays in the type computed in, then in that of the twins; 1 for None."""
    given = [np.asarray(1.0 if a is None else a) for a in arrays]
    wide = wider(dtype)
    return [
        np.array(a) for a in np.broadcast_arrays(*(a.astype(dtype).astype(wide) for a in given))
    ]


def terms(
    logits: ArrayLike,
    targets: ArrayLike,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Return the two terms of the loss and, with the signs they have, those of the gradient."""
    x, t = np.asarray(logits), np.asarray(targets)
    dtype = computed_in(x, t, weight, pos_weight)
    x, t, w, v = _widened(x, t, weight, pos_weight, dtype=dtype)
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(x))
        log = np.log1p(small)
        up, down = np.maximum(x, 0) + log, np.maximum(-x, 0) + log  # softplus(x), softplus(-x)
        p, q = (np.where(s > 0, 1, small) / (1 + small) for s in (x, -x))  # NaN where x is
        products = (v * t * down, (1 - t) * up, -v * t * q, (1 - t) * p)
        weighs = (v * t, 1 - t, v * t, 1 - t)
        # What weighs nothing is left out; NaN logits are NaN unless their weight is 0.
        kept = [
            np.where(w == 0, 0, np.where(c == 0, np.where(np.isnan(x), x, 0), w * y))
            for c, y in zip(weighs, products, strict=True)
        ]
    return kept[0], kept[1], kept[2], kept[3]


def losses(
    logits: ArrayLike,
    targets: ArrayLike,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> Array:
    """Return w · (v · t · softplus(-x) + (1 - t) · softplus(x)): no term below zero."""
    positive, negative, _, _ = terms(logits, targets, weight, pos_weight)
    return positive + negative


def gradients(
    logits: ArrayLike,
    targets: ArrayLike,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Return w · ((1 - t) · sigmoid(x) - v · t · sigmoid(-x)), and the larger of its terms."""
    _, _, positive, negative = terms(logits, targets, weight, pos_weight)
    return negative + positive, np.maximum(np.abs(positive), np.abs(negative))


def exact_losses(
    x: Array, t: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> list[Any]:
    """Return the losses of finite elements to 50 digits."""
    with mpmath.workdps(DIGITS):
        return [
            w * (v * t * _softplus(-x) + (1 - t) * _softplus(x))
            for x, t, w, v in _elements(x, t, weight, pos_weight)
        ]


def exact_gradients(
    x: Array, t: Array, weight: Array | None = None, pos_weight: Array | None = None
) -> list[Any]:
    """Return the gradients of finite elements to 50 digits."""
    with mpmath.workdps(DIGITS):
        return [
            w * ((1 - t) / (1 + mpmath.exp(-x)) - v * t / (1 + mpmath.exp(x)))
            for x, t, w, v in _elements(x, t, weight, pos_weight)
        ]


def _softplus(x: Any) -> Any:
    return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x)))


def _elements(x: Array, t: Array, *weights: Array | None) -> list[tuple[Any, Any, Any, Any]]:
    w, v = (np.ones_like(x) if a is None else a for a in weights)
    return list(zip(*(exactly(a) for a in (x, t, w, v)), strict=True))
