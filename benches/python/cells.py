"""What is measured: one line of these tables is one cell of the side-by-side.

To measure something new, add a line here; nothing else needs to know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """Where a call puts its result."""

    FRESH = "fresh"
    OUT = "out="
    IN_PLACE = "in place"


class Suite(StrEnum):
    """Whom softlane is measured against."""

    PEERS = "peers"
    THREADS = "threads"
    ISA = "isa"


@dataclass(frozen=True, slots=True)
class Reference:
    """A further contestant of a cell, and how many times its time softlane may take."""

    contestant: str
    limit: float


NUMPY_EXP: Final = Reference("np.exp", 1.5)
LAST_AXIS: Final = Reference("last axis", 1.25)
PLAIN: Final = Reference("plain input", 1.5)
SINGLE: Final = Reference("float32", 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measurement: an operation on an array of given dtype, shape and layout.

    Attributes
    ----------
    operation : str
        ``"softmax"``, ``"log_softmax"``, ``"logsumexp"`` or ``"softmax_vjp"``.
    dtype : str
        Dtype of the input; integers give a float64 result.
    shape : tuple of int
        Shape of the input.
    axis : int
        The axis normalised.
    every_second : bool
        The input is ``x[..., ::2]`` of an array twice as wide. Peers get it contiguous.
    modes : tuple of Mode
        One row of the report each.
    threads : int
        Threads of the contender in the suite ``THREADS``; all else runs on one thread.
    reference : Reference, optional
        Something other than a peer that the cell is held against.
    target : float, optional
        Wanted speed: times the best peer, or times one thread in the suite ``THREADS``.
    headline : bool
        Drawn as bars beside the overview.
    full_only : bool
        Left out of the quick run.
    """

    operation: str = "softmax"
    dtype: str = "float32"
    shape: tuple[int, ...]
    axis: int = -1
    every_second: bool = False
    suite: Suite = Suite.PEERS
    modes: tuple[Mode, ...] = (Mode.FRESH, Mode.OUT)
    threads: int = 1
    reference: Reference | None = None
    target: float | None = None
    headline: bool = False
    full_only: bool = False

    @property
    def size(self) -> int:
        """Number of elements of the input."""
        return math.prod(self.shape)

    @property
    def where(self) -> str:
        """Shape, axis and layout, as the report writes them."""
        parts = ["×".join(map(str, self.shape))]
        if self.axis != -1:
            parts.append(f"axis {self.axis}")
        if self.every_second:
            parts.append("[:, ::2]")
        return " ".join(parts)

    @property
    def name(self) -> str:
        """Full name, unique within the table but for the modes."""
        name = f"{self.operation} {self.dtype} {self.where}"
        if self.suite is Suite.THREADS:
            return f"{name} {self.threads} threads"
        return f"{name} ISA" if self.suite is Suite.ISA else name


def _peers() -> tuple[Cell, ...]:
    return (
        # The price of a call.
        Cell(shape=(1, 10), reference=NUMPY_EXP, target=3.0, headline=True),
        Cell(dtype="float64", shape=(10,), reference=NUMPY_EXP, target=3.0),
        Cell(shape=(1, 1000), target=1.5),
        # Many short rows.
        Cell(shape=(64, 10), target=2.0),
        Cell(shape=(8192, 10), target=2.0),
        Cell(shape=(100_000, 10), target=2.0, headline=True),
        Cell(shape=(1024, 32), target=2.0),
        # Rows of a classifier, an attention head, a vocabulary.
        Cell(shape=(1024, 100), target=1.5),
        Cell(shape=(4096, 128), target=1.5),
        Cell(shape=(1024, 1000), target=1.5, headline=True),
        Cell(shape=(4096, 4096), target=1.2, headline=True),
        Cell(shape=(128, 50257), target=1.2),
        Cell(shape=(1, 16_777_216), target=1.3, full_only=True),
        # Columns.
        Cell(shape=(1024, 1000), axis=0, reference=LAST_AXIS, target=1.5, headline=True),
        Cell(shape=(4096, 4096), axis=0, reference=LAST_AXIS, target=1.2, full_only=True),
        Cell(shape=(10, 100_000), axis=0, target=2.0),
        Cell(shape=(64, 1000, 64), axis=1, reference=LAST_AXIS, target=1.5),
        # Double precision.
        Cell(dtype="float64", shape=(1024, 1000), target=1.5, headline=True),
        Cell(dtype="float64", shape=(100_000, 10), target=2.0),
        Cell(dtype="float64", shape=(1024, 1000), axis=0, reference=LAST_AXIS, target=1.5),
        # Logarithms.
        Cell(operation="log_softmax", shape=(1024, 1000), target=1.5, headline=True),
        Cell(operation="log_softmax", shape=(100_000, 10), target=2.0),
        Cell(operation="log_softmax", dtype="float64", shape=(1024, 1000), target=1.5),
        Cell(operation="logsumexp", shape=(1024, 1000), target=1.8, headline=True),
        Cell(operation="logsumexp", shape=(100_000, 10), target=2.0),
        # Half precision.
        Cell(dtype="float16", shape=(1024, 1000), reference=SINGLE, target=1.5),
        Cell(dtype="float16", shape=(100_000, 10), reference=SINGLE, target=2.0),
        # Gradients.
        Cell(operation="softmax_vjp", shape=(1024, 1000), target=1.5, headline=True),
        Cell(operation="softmax_vjp", shape=(100_000, 10), target=2.0),
        Cell(operation="softmax_vjp", dtype="float64", shape=(1024, 1000), target=1.5),
        # Input that is not plain.
        Cell(dtype="int32", shape=(1024, 1000), reference=PLAIN),
        Cell(shape=(1024, 1000), every_second=True, reference=PLAIN),
    )


def _threads() -> tuple[Cell, ...]:
    def cell(shape: tuple[int, ...], mode: Mode = Mode.OUT, target: float = 1.0) -> Cell:
        return Cell(suite=Suite.THREADS, shape=shape, modes=(mode,), threads=2, target=target)

    # Small sizes must never lose by asking for a second thread.
    sweep = [(1, 10), (10, 10), (1, 1000), (3, 1000), (10, 1000), (32, 1000), (100, 1000)]
    return (
        cell((4096, 4096), Mode.IN_PLACE, target=1.8),
        cell((1024, 1000), target=1.8),
        *(cell(shape) for shape in sweep),
        cell((320, 1000)),
        cell((1, 1_000_000)),
    )


def _isas() -> tuple[Cell, ...]:
    return tuple(
        Cell(suite=Suite.ISA, dtype=dtype, shape=(1024, 1000), modes=(Mode.OUT,), target=1.2)
        for dtype in ("float32", "float64")
    )


CELLS: Final[tuple[Cell, ...]] = (*_peers(), *_threads(), *_isas())

# An AVX2 machine should lose no more than this to an AVX-512 one.
ISA_LIMIT: Final = 1.3
