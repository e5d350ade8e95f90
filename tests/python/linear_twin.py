"""The plain twin of linear_cross_entropy, and problems for it whose logits are exact."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference import Array


@dataclass(frozen=True)
class Twin:
    """What the unfused longdouble twin says: exact but for its own rounding."""

    loss: Any
    losses: Array
    lse: Array
    dx: Array
    dw: Array
    dbias: Array
    # Sums of the absolute values of what dx, dw and dbias are added up of.
    sizes: tuple[Array, Array, Array] = field(repr=False)


def twin(
    x: Array,
    w: Array,
    labels: Array,
    *,
    bias: Any = None,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    z_loss: float = 0.0,
    dloss: Any = None,
) -> Twin:
    """Return loss and gradients by full logits in longdouble; at the target by expm1."""
    wide: Any = np.longdouble
    lead, classes = x.shape[:-1], w.shape[0]
    flat, w = x.reshape(-1, x.shape[-1]).astype(wide), w.astype(wide)
    logits = flat @ w.T + (0 if bias is None else np.asarray(bias).astype(wide))
    rows = np.arange(len(flat))
    weights = np.ones(classes, wide) if weight is None else np.asarray(weight).astype(wide)
    if labels.dtype.kind in "iu":
        flat_labels = labels.reshape(-1)
        counted = flat_labels != ignore_index
        target = np.where(counted, flat_labels, 0).astype(int)
        q = np.zeros(logits.shape, wide)
        q[rows, target] = 1
        denominator = weights[target][counted].sum() if weight is not None else counted.sum()
    else:
        counted, target = np.ones(len(flat), bool), None
        q = labels.reshape(-1, classes).astype(wide)
        denominator = len(flat)
    smoothing = wide(label_smoothing)
    targets = weights * ((1 - smoothing) * q + smoothing / classes)
    with np.errstate(all="ignore"):
        top = logits.max(axis=1, keepdims=True)
        first = logits.argmax(axis=1)[:, None]
        terms = np.exp(logits - top)
        np.put_along_axis(terms, first, 0, axis=1)
        log_sum = np.log1p(terms.sum(axis=1, keepdims=True))
        logp = (logits - top) - log_sum
        lse = (top + log_sum)[:, 0]
        losses = np.where(targets > 0, -targets * logp, 0).sum(axis=1) + wide(z_loss) * lse * lse
        losses[~counted] = 0
        # sum of targets times p, less the target, without a difference next to certainty.
        scale = targets.sum(axis=1, keepdims=True) + 2 * wide(z_loss) * lse[:, None]
        dlogits = scale * np.exp(logp) - targets
        if target is not None:
            share = targets[rows, target]
            rest = scale[:, 0] - share
            at_target = share * np.expm1(logp[rows, target]) + rest * np.exp(logp[rows, target])
            dlogits[rows, target] = at_target
        if reduction == "none":
            cotangent = np.broadcast_to(wide(1) if dloss is None else np.asarray(dloss, wide), lead)
            cotangent = cotangent.reshape(-1)
        else:
            divisor = denominator if reduction == "mean" and counted.any() else 1
            cotangent = np.full(len(flat), wide(1 if dloss is None else dloss) / divisor)
        dlogits *= cotangent[:, None]
        dlogits[~counted] = 0
        clean = np.where(counted[:, None], flat, 0)
        total = losses.sum()
        loss = {
            "none": losses.reshape(lead),
            "sum": total,
            "mean": total / denominator if counted.any() else wide(0),
        }[reduction]
        big = np.abs(dlogits)
        return Twin(
            loss,
            losses.reshape(lead),
            lse.reshape(lead),
            (dlogits @ w).reshape(x.shape),
            dlogits.T @ clean,
            dlogits.sum(axis=0),
            ((big @ np.abs(w)).reshape(x.shape), big.T @ np.abs(clean), big.sum(axis=0)),
        )


def problem(
    lead: tuple[int, ...] = (40,), classes: int = 33, width: int = 6, dtype: Any = "float64"
) -> tuple[Array, Array, Array, Array]:
    """Return x, w, bias and labels whose logits are exact in any dtype, whatever the order."""
    rng = np.random.default_rng(classes)
    x = rng.integers(-4, 5, (*lead, width)) / 4
    w = rng.integers(-4, 5, (classes, width)) / 2
    bias = rng.integers(-8, 9, classes) / 8
    labels = rng.integers(0, classes, lead)
    return x.astype(dtype), w.astype(dtype), bias.astype(dtype), labels


def probabilities(lead: tuple[int, ...], classes: int, dtype: Any = "float64") -> Array:
    q = np.random.default_rng(5).random((*lead, classes)) ** 4
    q[q < 0.05] = 0
    q[..., 0] += 0.1
    normalised: Array = (q / q.sum(axis=-1, keepdims=True)).astype(dtype)
    return normalised
