"""SciPy and softlane side by side, one thread each, and an input that SciPy gets wrong."""

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import DTypeLike, NDArray

import softlane
from softlane._timing import seconds_in_block

ROUNDS = 15
SECONDS_PER_BLOCK = 0.01


@dataclass(frozen=True)
class Cell:
    """One input to time on."""

    name: str
    shape: tuple[int, int]
    dtype: DTypeLike
    axis: int


CELLS = [
    Cell("1024 × 1000, float32", (1024, 1000), np.float32, -1),
    Cell("1024 × 1000, float64", (1024, 1000), np.float64, -1),
    Cell("1024 × 1000, float32, axis 0", (1024, 1000), np.float32, 0),
    Cell("20000 × 10, float32", (20000, 10), np.float32, -1),
    Cell("1 × 10, float64", (1, 10), np.float64, -1),
]


@dataclass(frozen=True)
class Timing:
    """Median seconds a call."""

    cell: Cell
    scipy: float
    softlane: float

    @property
    def ratio(self) -> float:
        """How many times faster softlane is."""
        return self.scipy / self.softlane


def measure(cell: Cell) -> Timing:
    """Time both on one cell: blocks of calls in turn, so that a slow moment hits both."""
    x = np.random.default_rng(0).normal(scale=4.0, size=cell.shape).astype(cell.dtype)
    contestants: list[Callable[[], object]] = [
        lambda: scipy.special.softmax(x, axis=cell.axis),
        lambda: softlane.softmax(x, axis=cell.axis, num_threads=1),
    ]
    calls = [max(1, round(SECONDS_PER_BLOCK / seconds_in_block(call, 3))) for call in contestants]
    blocks: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for call, count, seconds in zip(contestants, calls, blocks, strict=True):
            seconds.append(seconds_in_block(call, count))
    return Timing(cell, *(statistics.median(seconds) for seconds in blocks))


@dataclass(frozen=True)
class Uint8:
    """The same three pixels through both: black, nearly black, white."""

    pixels: NDArray[np.uint8]
    scipy: NDArray[np.floating]
    softlane: NDArray[np.float64]

    @property
    def scipy_is_wrong(self) -> bool:
        """Whether SciPy prefers another pixel than the brightest."""
        return not np.allclose(self.scipy.astype(np.float64), self.softlane, atol=1e-3)


def scipy_on_uint8() -> Uint8:
    """Return what both say about a row of uint8, the dtype of images."""
    pixels = np.array([0, 1, 255], dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy may overflow on its way
        theirs = scipy.special.softmax(pixels)
    return Uint8(pixels, np.asarray(theirs), softlane.softmax(pixels))
