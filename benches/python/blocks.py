"""The blocks of the overview: what stands in which field, before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from .cell import Cell, Mode, Suite
from .contestants import OURS
from .results import Row

# The same words in all blocks.
_DTYPES: Final = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Field:
    """One number: what is written, and the ratio that colours it (above 1 is good)."""

    text: str
    ratio: float
    reached: bool
    rival: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a block; ``apart`` leaves some air above it."""

    label: str
    fields: tuple[Field | None, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A block: columns in groups, each with its name, and lines."""

    title: str
    columns: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]


def make_blocks(rows: Iterable[Row]) -> list[Block]:
    """Return a block an operation, then those of inputs, threads and instruction sets."""
    rows = list(rows)
    plain = [row for row in rows if row.cell.suite is Suite.PEERS and row.cell.is_plain]
    blocks = [
        _by_dtype(operation, [row for row in plain if row.cell.operation == operation])
        for operation in dict.fromkeys(row.cell.operation for row in plain)
    ]
    others = [row for row in rows if row.cell.suite is Suite.PEERS and not row.cell.is_plain]
    threads = [row for row in rows if row.cell.suite is Suite.THREADS]
    isas = [row for row in rows if row.cell.suite is Suite.ISA]
    if others:
        blocks.append(_not_plain(others))
    if threads:
        blocks.append(_threads(threads))
    if isas:
        blocks.append(_isas(isas))
    return blocks


def dtype_name(dtype: str) -> str:
    """Return the short name of a dtype."""
    return _DTYPES.get(dtype, dtype)


def number(ratio: float) -> str:
    """Return a ratio in three digits or fewer."""
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.0f}"


def _by_dtype(operation: str, rows: list[Row]) -> Block:
    """Return lines of shapes, columns of dtypes with fresh and given results."""
    dtypes = [d for d in _DTYPES if any(row.cell.dtype == d for row in rows)]
    modes = [mode for mode in Mode if any(row.mode is mode for row in rows)]
    found = {(row.cell.where, row.cell.dtype, row.mode): row for row in rows}
    # Along the last axis first.
    cells = sorted({row.cell.where: row.cell for row in rows}.values(), key=lambda c: c.axis != -1)
    lines = []
    apart = False
    for cell in cells:
        first_by_columns = cell.axis != -1 and not apart
        apart |= first_by_columns
        keys = [(cell.where, dtype, mode) for dtype in dtypes for mode in modes]
        fields = tuple(_against_peers(found.get(key)) for key in keys)
        lines.append(Line(cell.where, fields, apart=first_by_columns))
    columns = tuple((dtype_name(dtype), mode.value) for dtype in dtypes for mode in modes)
    return Block(operation, columns, tuple(lines))


def _not_plain(rows: list[Row]) -> Block:
    """Return lines of cells, columns of the best peer and of our own plain input."""
    modes = (Mode.FRESH, Mode.OUT)
    columns = tuple((group, m.value) for group in ("× best peer", "time / plain") for m in modes)
    return Block(
        "input to convert, gather, mask or negate",
        columns,
        _lines(rows, lambda row: (_against_peers(row), _against_plain(row)), modes),
    )


def _threads(rows: list[Row]) -> Block:
    def field(row: Row) -> Field | None:
        return None if row.score is None else _field(row, row.score)

    lines = tuple(Line(f"{_label(row.cell)} {row.mode.value}", (field(row),)) for row in rows)
    return Block("two threads", (("× one thread", ""),), lines)


def _isas(rows: list[Row]) -> Block:
    """Return a column for each instruction set, against the best peer's best."""
    # The portable path of x86 lacks the fused multiply-add of every machine that would take it.
    names = [n for n in rows[0].timings if n.startswith(OURS) and not n.endswith("portable")]
    lines = []
    for row in rows:
        fields: list[Field | None] = []
        for name in names:
            ratio = row.times_faster_than(row.best_peer, ours=name)
            reached = name.endswith("avx2") and all(v.met for v in row.verdicts)
            rival = row.best_peer or ""
            fields.append(None if ratio is None else Field(number(ratio), ratio, reached, rival))
        lines.append(Line(_label(row.cell), tuple(fields)))
    columns = tuple(("× best peer", name.removeprefix(OURS).strip()) for name in names)
    return Block("instruction sets", columns, tuple(lines))


def _lines(
    rows: list[Row],
    fields_of: Callable[[Row], tuple[Field | None, ...]],
    modes: tuple[Mode, ...],
) -> tuple[Line, ...]:
    """Return a line a cell, with the first field of each mode, then the second of each."""
    by_cell: dict[Cell, dict[Mode, tuple[Field | None, ...]]] = {}
    for row in rows:
        by_cell.setdefault(row.cell, {})[row.mode] = fields_of(row)
    return tuple(
        Line(
            _label(cell),
            tuple(found[mode][i] if mode in found else None for i in (0, 1) for mode in modes),
        )
        for cell, found in by_cell.items()
    )


def _against_peers(row: Row | None) -> Field | None:
    return None if row is None or row.score is None else _field(row, row.score, row.best_peer or "")


def _field(row: Row, ratio: float, rival: str = "") -> Field:
    reached = bool(row.verdicts) and all(verdict.met for verdict in row.verdicts)
    return Field(number(ratio), ratio, reached, rival)


def _against_plain(row: Row) -> Field | None:
    for verdict in row.verdicts:
        if not verdict.at_least:
            return Field(number(verdict.value), 1 / verdict.off, verdict.met)
    return None


def _label(cell: Cell) -> str:
    operation = cell.operation.replace("cross_entropy_value_and_grad", "cross_entropy +grad")
    return f"{operation} {dtype_name(cell.dtype)} {cell.where}"
