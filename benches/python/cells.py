"""What is measured: these tables name the cells of the side-by-side.

To measure something new, add it here; nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from .cell import HALF, LOSSES, Cell, Mask, Mode, Suite
from .targets import aimed

Shape: TypeAlias = tuple[int, ...]

# Operations that run along an axis.
FORWARD: Final = ("softmax", "log_softmax", "logsumexp")
ALONG: Final = (
    *FORWARD,
    *("softmax_vjp", "log_softmax_vjp", "cross_entropy", "cross_entropy_value_and_grad"),
)

CALLS: Final[tuple[Shape, ...]] = ((1, 10), (1, 1000), (64, 10))
SHORT_ROWS: Final[tuple[Shape, ...]] = ((8192, 10), (100_000, 10), (1024, 32))
ROWS: Final[tuple[Shape, ...]] = ((1024, 100), (20_000, 100), (4096, 128), (1024, 1000))
LARGE: Final[tuple[Shape, ...]] = ((128, 50257), (32, 151_936), (4096, 4096), (1, 16_777_216))

# Rows along the last axis. What is bound by the call, by short rows and by memory differs with the
# dtype only in a few of them.
BY_DTYPE: Final[dict[str, tuple[Shape, ...]]] = {
    "float32": (*CALLS, *SHORT_ROWS, *ROWS, *LARGE),
    "float64": ((1, 10), (100_000, 10), (1024, 32), *ROWS, (128, 50257), (4096, 4096)),
    "float16": ((100_000, 10), (1024, 100), (1024, 1000), (128, 50257), (4096, 4096)),
    "bfloat16": ((100_000, 10), (1024, 100), (1024, 1000), (128, 50257), (4096, 4096)),
}

# Axes that are not the last.
COLUMNS: Final[tuple[tuple[Shape, int], ...]] = (
    ((1024, 1000), 0),
    ((64, 1000, 64), 1),
    ((8, 21, 128, 128), 1),
    ((10, 100_000), 0),
    ((4096, 4096), 0),
    ((100_000, 10), 0),
    ((100_000, 64), 0),
)
SOME_COLUMNS: Final = COLUMNS[:3]

# Entry by entry: nothing but the size matters.
ELEMENTWISE: Final[tuple[Shape, ...]] = (
    (1, 10),
    (1, 1000),
    (64, 10),
    (1024, 100),
    (1024, 1000),
    (4096, 4096),
)

# What the README and the bars show, and whether with a fresh result or `out=`.
HEADLINES: Final[dict[tuple[str, str, Shape, int], Mode]] = {
    ("softmax", "float32", (1024, 1000), -1): Mode.FRESH,
    ("softmax", "float32", (1024, 1000), 0): Mode.FRESH,
    ("softmax", "float32", (4096, 4096), -1): Mode.OUT,
    ("softmax", "float32", (100_000, 10), -1): Mode.FRESH,
    ("softmax", "float64", (1024, 1000), -1): Mode.FRESH,
    ("softmax", "float32", (1, 10), -1): Mode.FRESH,
    ("log_softmax", "float32", (1024, 1000), -1): Mode.FRESH,
    ("logsumexp", "float32", (1024, 1000), -1): Mode.FRESH,
    ("softmax_vjp", "float32", (1024, 1000), -1): Mode.FRESH,
    ("cross_entropy_value_and_grad", "float32", (1024, 1000), -1): Mode.FRESH,
}

# The quick run: every headline, and these. (operation, dtype) and where the rows lie.
_QUICK: Final[dict[tuple[str, str], tuple[tuple[Shape, int], ...]]] = {
    ("softmax", "float32"): (
        ((64, 10), -1),
        ((1024, 32), -1),
        ((1024, 100), -1),
        ((4096, 128), -1),
        ((128, 50257), -1),
        ((64, 1000, 64), 1),
        ((8, 21, 128, 128), 1),
    ),
    ("log_softmax", "float32"): (((100_000, 10), -1),),
    ("logsumexp", "float32"): (((100_000, 10), -1),),
    ("softmax_vjp", "float32"): (((1024, 100), -1), ((20_000, 100), -1), ((8, 21, 128, 128), 1)),
    ("log_softmax_vjp", "float32"): (((1024, 1000), -1), ((8192, 10), -1)),
    ("cross_entropy", "float32"): (((100_000, 10), -1), ((1024, 1000), -1)),
    ("cross_entropy_value_and_grad", "float32"): (((8192, 10), -1), ((1024, 1000), 0)),
    ("sigmoid", "float32"): (((1024, 1000), -1),),
    ("softmax", "float64"): (((100_000, 10), -1), ((1024, 1000), 0)),
    ("log_softmax", "float64"): (((1024, 1000), -1),),
    ("softmax_vjp", "float64"): (((1024, 1000), -1),),
    ("log_softmax_vjp", "float64"): (((1024, 1000), -1),),
    ("softmax", "float16"): (((1024, 1000), -1),),
    ("softmax", "bfloat16"): (((1024, 1000), -1), ((100_000, 10), -1)),
}


def _peers() -> Iterator[Cell]:
    for operation in ALONG:
        for dtype, shapes in BY_DTYPE.items():
            for shape in shapes:
                yield Cell(operation=operation, dtype=dtype, shape=shape)
            for shape, axis in COLUMNS if dtype == "float32" else SOME_COLUMNS:
                if dtype in HALF and (axis == 0 or operation not in {"softmax", *LOSSES}):
                    continue
                yield Cell(operation=operation, dtype=dtype, shape=shape, axis=axis)
    for dtype in BY_DTYPE:
        for shape in ELEMENTWISE if dtype == "float32" else ELEMENTWISE[3:]:
            yield Cell(operation="sigmoid", dtype=dtype, shape=shape)


def _not_plain() -> Iterator[Cell]:
    """Input that has to be converted, gathered, negated or masked on the way."""
    square, heads = (1024, 1000), (64, 128, 128)
    for dtype in ("uint8", "int32", "int64"):
        yield Cell(dtype=dtype, shape=square, quick=dtype == "int32")
    for operation in ("log_softmax", "logsumexp"):
        yield Cell(operation=operation, dtype="int32", shape=square)
    for dtype in ("float32", "float64", "float16"):
        yield Cell(dtype=dtype, shape=square, every_second=True, quick=dtype == "float32")
    for operation in ("log_softmax", "logsumexp", "softmax_vjp", *sorted(LOSSES)):
        yield Cell(operation=operation, shape=square, every_second=True)
    for dtype in ("float32", "float64", "float16"):
        yield Cell(dtype=dtype, shape=square, mask=Mask.RANDOM, quick=dtype == "float32")
    for operation in ("log_softmax", "logsumexp"):
        yield Cell(operation=operation, shape=square, mask=Mask.RANDOM)
    for dtype in ("float32", "bfloat16"):
        yield Cell(dtype=dtype, shape=heads, mask=Mask.CAUSAL, quick=dtype == "float32")
    for dtype in ("float32", "float64"):
        yield Cell(operation="softmin", dtype=dtype, shape=square, quick=dtype == "float32")


def _threads() -> Iterator[Cell]:
    """Small sizes must never lose by asking for a second thread, large ones must win."""

    def cell(
        shape: Shape,
        operation: str = "softmax",
        dtype: str = "float32",
        axis: int = -1,
        mode: Mode = Mode.OUT,
        quick: bool = False,
    ) -> Cell:
        return Cell(
            suite=Suite.THREADS,
            operation=operation,
            dtype=dtype,
            shape=shape,
            axis=axis,
            modes=(mode,),
            threads=2,
            quick=quick,
        )

    sweep = [(1, 10), (10, 10), (1, 1000), (3, 1000), (10, 1000), (32, 1000), (100, 1000)]
    for shape in (*sweep, (320, 1000), (1, 1_000_000), (100_000, 10)):
        yield cell(shape, quick=shape in {(1, 10), (10, 1000), (100, 1000), (1, 1_000_000)})
    yield cell((1024, 1000), quick=True)
    yield cell((4096, 4096), mode=Mode.IN_PLACE, quick=True)
    yield cell((1, 16_777_216))
    yield cell((128, 50257))
    for shape in ((1024, 1000), (10, 1000), (4096, 4096)):
        yield cell(shape, axis=0, quick=shape == (1024, 1000))
    for operation in (*ALONG[1:], "sigmoid"):
        for shape in ((32, 1000), (1024, 1000)):
            yield cell(shape, operation)
    for dtype in ("float64", "float16", "bfloat16"):
        yield cell((1024, 1000), dtype=dtype)
    yield cell((8192, 10), "cross_entropy_value_and_grad")


def _isas() -> Iterator[Cell]:
    for operation in (*ALONG, "sigmoid"):
        for dtype in ("float32", "float64"):
            yield Cell(
                suite=Suite.ISA,
                operation=operation,
                dtype=dtype,
                shape=(1024, 1000),
                modes=(Mode.OUT,),
                quick=operation == "softmax",
            )
    for dtype, shape, axis in (
        ("float32", (100_000, 10), -1),
        ("float32", (1024, 100), -1),
        ("float32", (4096, 4096), -1),
        ("float32", (1024, 1000), 0),
        ("float16", (1024, 1000), -1),
        ("bfloat16", (1024, 1000), -1),
    ):
        yield Cell(suite=Suite.ISA, dtype=dtype, shape=shape, axis=axis, modes=(Mode.OUT,))


def _sizes() -> Iterator[Cell]:
    """Softmax from one short row to more than any cache holds: rows of up to 1000 entries."""
    shapes = [(1, 10), (1, 32), (1, 100), (1, 320), (1, 1000)]
    shapes += [(rows, 1000) for rows in (3, 10, 32, 100, 320, 1000, 3200, 10_000)]
    for dtype in ("float32", "float64"):
        for i, shape in enumerate(shapes):
            quick = dtype == "float32" and i % 3 == 0
            yield Cell(suite=Suite.SIZES, dtype=dtype, shape=shape, modes=(Mode.OUT,), quick=quick)


def _finished(cell: Cell) -> Cell:
    if cell.operation == "cross_entropy":
        cell = replace(cell, modes=(Mode.FRESH,))  # one number: there is nothing to write into
    if cell.suite is Suite.PEERS and cell.is_plain:
        headline = HEADLINES.get((cell.operation, cell.dtype, cell.shape, cell.axis))
        lines = _QUICK.get((cell.operation, cell.dtype), ())
        quick = headline is not None or (cell.shape, cell.axis) in lines
        cell = replace(cell, headline=headline, quick=quick)
    return aimed(cell)


CELLS: Final[tuple[Cell, ...]] = tuple(
    _finished(cell) for cell in (*_peers(), *_not_plain(), *_threads(), *_isas(), *_sizes())
)
