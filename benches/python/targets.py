"""How fast a cell is wanted to be: the table of targets, as rules.

The score of a cell is the best peer's time over softlane's; references are contestants whose time
softlane's may only exceed by a factor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from .cell import HALF, REDUCTIONS, Cell, Mode, Reference, Suite

NUMPY_EXP: Final = Reference("np.exp", 1.5)
NUMPY_MAX: Final = Reference("x.max", 1.6)
LAST_AXIS: Final = Reference("last axis", 1.25)
PLAIN: Final = Reference("plain input", 1.5)
SINGLE: Final = Reference("float32", 1.0)
TEN_TIMES_PYTORCH: Final = Reference("PyTorch", 0.1)
COPY_OF_GRADIENT: Final = Reference("copy", 1.3, Mode.OUT)
COPY_OF_ROWS: Final = Reference("copy", 1.25, Mode.OUT)
COPY_OF_LONG_ROW: Final = Reference("copy", 1.7, Mode.OUT)

# An AVX2 machine should lose no more than this to an AVX-512 one.
ISA_LIMIT: Final = 1.3

CALL: Final = 10  # numbers, of which nothing but the call costs time
SHORT: Final = 64  # entries of rows that are called short
MANY: Final = 1000  # such rows
OUT_OF_CACHE: Final = 16 << 20  # bytes of input; with the result, what few caches have for one core
L2: Final = 512 << 10  # bytes of a row that a second visit finds there
SHARED: Final = 1_000_000  # elements from which a second thread must pay in full


def aimed(cell: Cell) -> Cell:
    """Return the cell with its target and references."""
    match cell.suite:
        case Suite.PEERS:
            return replace(cell, target=_target(cell), references=tuple(_references(cell)))
        case Suite.THREADS:
            return replace(cell, target=_of_threads(cell))
        case Suite.ISA:
            return replace(cell, target=1.2)
        case Suite.SIZES:
            return cell


def _target(cell: Cell) -> float | None:
    """Return the times the best peer; the first rule that applies decides."""
    if not cell.is_plain:
        return None
    if cell.size <= CALL:
        return 3.0
    if cell.operation == "cross_entropy_value_and_grad":
        return 2.0
    if _has_short_rows(cell):
        return 2.0
    if cell.operation in REDUCTIONS:
        return 1.8
    if cell.dtype in HALF:
        return 1.5
    if _is_long_row(cell):
        return 1.3
    if _bytes(cell) >= OUT_OF_CACHE:
        return 1.2
    return 1.5


def _references(cell: Cell) -> list[Reference]:
    """Return everything else that applies."""
    found: list[Reference] = []
    if not cell.is_plain:
        return [PLAIN]
    if cell.size <= CALL and cell.operation in {"softmax", "log_softmax", "logsumexp", "sigmoid"}:
        found.append(NUMPY_EXP)
    if _by_columns(cell):
        found.append(LAST_AXIS)
    elif _has_short_rows(cell) and cell.size >= MANY * cell.length:
        found.append(TEN_TIMES_PYTORCH)
    if cell.dtype in HALF:
        found.append(SINGLE)
    if _bytes(cell) >= OUT_OF_CACHE:
        if cell.operation in REDUCTIONS:
            found.append(NUMPY_MAX)
        elif cell.operation == "cross_entropy_value_and_grad":
            found.append(COPY_OF_GRADIENT)
        else:
            found.append(COPY_OF_LONG_ROW if _is_long_row(cell) else COPY_OF_ROWS)
    return found


def _of_threads(cell: Cell) -> float:
    """Return the times one thread: never slower, nearly twice where there is enough to share."""
    if cell.size < SHARED:
        return 1.0
    if _bytes(cell) < OUT_OF_CACHE:
        return 1.8
    # Memory is shared by the cores; in place there is less of it to move.
    return 1.6 if cell.modes == (Mode.IN_PLACE,) else 1.0


def _has_short_rows(cell: Cell) -> bool:
    return cell.operation != "sigmoid" and cell.length <= SHORT


def _by_columns(cell: Cell) -> bool:
    return cell.operation != "sigmoid" and cell.axis % len(cell.shape) != len(cell.shape) - 1


def _is_long_row(cell: Cell) -> bool:
    return cell.operation != "sigmoid" and cell.length * _itemsize(cell) > L2


def _bytes(cell: Cell) -> int:
    return cell.size * _itemsize(cell)


def _itemsize(cell: Cell) -> int:
    return 2 if cell.dtype in HALF else np.dtype(cell.dtype).itemsize
