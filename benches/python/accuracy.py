"""Worst error of every contestant, in units in the last place of the exact result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .contestants import CONTESTANTS
from .problem import Array, Problem

SHAPE: Final = (64, 1000)
SIGMAS: Final = (5, 100)
DTYPES: Final = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Worst error of a contestant's softmax on random rows of one dtype and deviation.

    ``ulp`` is over the results whose exact value is a normal number; ``subnormal_steps``, over
    the others, counts steps of the smallest subnormal (many of them: flushed to zero).
    """

    contestant: str
    dtype: str
    sigma: int
    ulp: float
    subnormal_steps: float


def measure_accuracy(contestants: list[str]) -> list[Accuracy]:
    """Return the worst errors over `SIGMAS` and `DTYPES`."""
    found: list[Accuracy] = []
    for dtype in DTYPES:
        if np.finfo(np.longdouble).nmant < np.finfo(dtype).nmant + 8:
            continue  # no wider type on this machine to judge by
        for sigma in SIGMAS:
            rng = np.random.default_rng(sigma)
            x = (sigma * rng.standard_normal(SHAPE)).astype(dtype)
            exact = _exact_softmax(x)
            unit, normal = _ulp(exact, np.dtype(dtype))
            for contestant in contestants:
                # A contestant's modes may run different code: the worst one counts.
                errors = [
                    np.abs(call.evaluate()[0].astype(np.longdouble) - exact) / unit
                    for call in CONTESTANTS[contestant](Problem("softmax", -1, (x,)))
                ]
                worst = np.max(errors, axis=0)
                found.append(
                    Accuracy(
                        contestant,
                        dtype,
                        sigma,
                        float(np.max(worst[normal])),
                        float(np.max(worst[~normal], initial=0.0)),
                    )
                )
    return found


def _exact_softmax(x: Array) -> Array:
    # Without shifting by the max: the difference would round, and exp of these inputs stays well
    # inside the range of a double.
    terms = np.exp(x.astype(np.longdouble))
    return np.asarray(terms / np.sum(terms, axis=-1, keepdims=True))


def _ulp(exact: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return one ULP at each exact value, and where the value is a normal number."""
    kind = np.finfo(dtype)
    _, exponent = np.frexp(exact)  # exact = m · 2**exponent with 0.5 <= m < 1
    lowest = kind.minexp - kind.nmant
    unit = np.ldexp(np.longdouble(1), np.maximum(exponent - 1 - kind.nmant, lowest))
    return unit, exact >= kind.tiny
