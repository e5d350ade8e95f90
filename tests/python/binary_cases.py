"""What the tests of binary cross-entropy run over: logits, targets, weights; both functions."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

import golden
import reference
from cases import rounded, same_bits
from reference import Array
from softlane import binary_cross_entropy, binary_cross_entropy_value_and_grad

NAN, INF = np.nan, np.inf
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
REDUCTIONS = ("mean", "sum", "none")


def loss_dtype(logits: np.dtype[Any]) -> np.dtype[Any]:
    narrow = reference.is_float(logits) and logits.itemsize <= 4
    return FLOAT32 if narrow else FLOAT64


def bound(dtype: np.dtype[Any]) -> float:
    """Return how many ULP of its dtype a loss, or the gradient of a hard target, may be off."""
    return {2: 0.51, 4: 2.0, 8: 3.0}[dtype.itemsize]


def spread_out(dtype: np.dtype[Any], count: int) -> dict[str, Array]:
    """Return logits of several kinds, more of them where losses are small."""
    rng = np.random.default_rng(11)
    lowest = float(np.log(ml_dtypes.finfo(dtype).smallest_subnormal)) - 2
    subnormal = float(np.log(ml_dtypes.finfo(dtype).tiny)) + 2
    largest = np.log10(float(ml_dtypes.finfo(dtype).max)) - 0.1
    signs = rng.choice([-1, 1], count)
    kinds = {
        "normal": 3 * rng.standard_normal(count),
        "near zero": signs * 10.0 ** rng.uniform(-30, 0, count),
        "whole domain": rng.uniform(lowest, -lowest, count),
        "small losses": signs * rng.uniform(lowest, subnormal, count),
        "huge": signs * 10.0 ** rng.uniform(2, largest, count),
    }
    return {kind: rounded(x, dtype) for kind, x in kinds.items()}


def labels(count: int, dtype: Any = np.int8, seed: int = 5) -> Array:
    return np.random.default_rng(seed).integers(0, 2, count).astype(dtype)


def soft(count: int, dtype: np.dtype[Any], seed: int = 6) -> Array:
    """Return targets all over [0, 1], some at and very near the ends, the same on every machine."""
    rng = np.random.default_rng(seed)

    def small(count: int) -> Array:  # NumPy's powers differ from one instruction set to the next
        return np.ldexp(rng.uniform(0.5, 1, count), rng.integers(-40, 1, count))

    t = rng.uniform(0, 1, count)
    t[::5] = small(len(t[::5]))
    t[1::5] = 1 - small(len(t[1::5]))
    t[2::7], t[3::7] = 0, 1
    return rounded(t, dtype)


def weights(count: int, dtype: np.dtype[Any], seed: int = 7) -> Array:
    w = np.random.default_rng(seed).uniform(0, 5, count)
    w[::9] = 0
    return rounded(w, dtype)


def evaluate(*arrays: Any, **options: Any) -> tuple[Array, Array]:
    """Return losses and gradients, having seen that both functions agree to the bit."""
    loss, gradient = binary_cross_entropy_value_and_grad(*arrays, **options)
    alone = {k: v for k, v in options.items() if k not in ("dloss", "out")}
    assert same_bits(np.asarray(binary_cross_entropy(*arrays, **alone)), np.asarray(loss))
    return loss, gradient


def calls(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array, Any]]:
    count = int(np.prod(shape, dtype=np.int64))
    x = golden.values(shape, dtype, spread=16, seed=len(shape))
    t = soft(count, dtype).reshape(shape)
    w = weights(count, dtype).reshape(shape)
    yield x, t, {}
    yield x, t, {"weight": w}
    if shape:
        yield x, t, {"weight": w[..., :1], "pos_weight": w.reshape(-1, shape[-1])[0], "dloss": 3}


def evaluate_in(out: Array, *arrays: Any, **options: Any) -> Array:
    result = binary_cross_entropy_value_and_grad(*arrays, out=out, **options)[1]
    assert result is out
    return out
