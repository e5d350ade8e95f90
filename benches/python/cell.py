"""What a cell of the side-by-side is."""

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
    SIZES = "sizes"


class Mask(StrEnum):
    """Which entries ``where=`` keeps."""

    RANDOM = "random"
    CAUSAL = "causal"


# What has one number a row, or one in all, and what takes the classes of the rows beside them.
REDUCTIONS: Final = frozenset({"logsumexp", "cross_entropy"})
LOSSES: Final = frozenset({"cross_entropy", "cross_entropy_value_and_grad"})
HALF: Final = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Reference:
    """A further contestant of a cell, and how many times its time softlane may take.

    ``mode`` is the only one it is meant for; both by default.
    """

    contestant: str
    limit: float
    mode: Mode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measurement: an operation on an array of given dtype, shape and layout.

    Attributes
    ----------
    operation : str
        The name of softlane's function.
    dtype : str
        Dtype of the input; integers give a float64 result.
    shape : tuple of int
        Shape of the input.
    axis : int
        The axis normalised.
    every_second : bool
        The input is ``x[..., ::2]`` of an array twice as wide. Peers get it contiguous.
    mask : Mask, optional
        The entries that count: three in four at random, or the lower triangle of the last two axes.
    modes : tuple of Mode
        One row of the report each.
    threads : int
        Threads of the contender in the suite ``THREADS``; all else runs on one thread.
    target : float, optional
        Wanted speed: times the best peer, or times one thread in the suite ``THREADS``.
    references : tuple of Reference
        Whom else the cell is held against.
    headline : Mode, optional
        The mode of it that is shown in the README's table and as bars.
    quick : bool
        Part of the quick run.
    """

    operation: str = "softmax"
    dtype: str = "float32"
    shape: tuple[int, ...]
    axis: int = -1
    every_second: bool = False
    mask: Mask | None = None
    suite: Suite = Suite.PEERS
    modes: tuple[Mode, ...] = (Mode.FRESH, Mode.OUT)
    threads: int = 1
    target: float | None = None
    references: tuple[Reference, ...] = ()
    headline: Mode | None = None
    quick: bool = False

    @property
    def size(self) -> int:
        """Number of elements of the input."""
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Number of elements of a row, wherever they lie."""
        return self.shape[self.axis]

    @property
    def is_plain(self) -> bool:
        """Whether softlane reads the input as it lies: floats, unmasked, not negated first."""
        floats = self.dtype.startswith(("float", "bfloat"))
        return floats and not self.every_second and not self.mask and self.operation != "softmin"

    @property
    def where(self) -> str:
        """Shape, axis and layout, as the report writes them."""
        parts = ["×".join(map(str, self.shape))]
        if self.axis != -1:
            parts.append(f"axis {self.axis}")
        if self.every_second:
            parts.append("[:, ::2]")
        if self.mask:
            parts.append(f"{self.mask.value} mask")
        return " ".join(parts)

    @property
    def name(self) -> str:
        """Full name, unique within the table but for the modes."""
        name = f"{self.operation} {self.dtype} {self.where}"
        match self.suite:
            case Suite.PEERS:
                return name
            case Suite.THREADS:
                return f"{name} {self.threads} threads"
            case Suite.ISA:
                return f"{name} ISA"
            case Suite.SIZES:
                return f"{name} by size"
