"""The headline cells and the accuracy as Markdown, for the README."""

from __future__ import annotations

import re
from typing import Final

from .cell import Cell, Mode, Suite
from .contestants import OURS
from .report import summary
from .results import Row
from .session import Outcome

# Names longer than the README cares for.
_SHORT: Final = {"cross_entropy_value_and_grad": "cross_entropy and its gradient"}


def markdown(outcome: Outcome) -> str:
    """Return the tables of the README's comparison, and a line on where they come from."""
    peers = list(outcome.facts.peers)
    lines = _table(
        ["float32, unless said", *peers], [_line(row, peers) for row in headlines(outcome)]
    )
    lines += ["", *_origin(outcome)]
    if outcome.accuracy:
        lines += ["", *_accuracy(outcome)]
    return "\n".join(lines) + "\n"


def headlines(outcome: Outcome) -> list[Row]:
    """Return the rows that are shown first, in the order of the table of cells."""
    return [
        row
        for row in outcome.rows
        if row.cell.suite is Suite.PEERS and row.mode is row.cell.headline
    ]


def label(cell: Cell, mode: Mode) -> str:
    """Return what a cell measures, in words short enough for a table."""
    parts = [cell.operation, " × ".join(map(str, cell.shape))]
    parts[0] = _SHORT.get(cell.operation, cell.operation)
    if cell.axis != -1:
        parts.append(f"axis {cell.axis}")
    if cell.dtype != "float32":
        parts.append(cell.dtype)
    if mode is not Mode.FRESH:
        parts.append(f"`{mode.value}`")
    return ", ".join(parts)


def _line(row: Row, peers: list[str]) -> list[str]:
    ratios = [row.times_faster_than(peer) for peer in peers]
    return [label(row.cell, row.mode), *(_ratio(ratio) for ratio in ratios)]


def _ratio(ratio: float | None) -> str:
    """Two digits: the third would not come out the same again."""
    if ratio is None:
        return "–"
    return f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _origin(outcome: Outcome) -> list[str]:
    machine = outcome.machine
    cpu = re.sub(r"\s+", " ", str(machine["cpu"]))
    peers = [f"{peer} {_minor(version)}" for peer, version in outcome.facts.peers.items()]
    return [
        f"Measured on {_with_article(cpu)} ({_isa(outcome)}), one thread, against "
        f"{_listed(peers)}; medians of up to {outcome.rounds} rounds, {machine['date']}.",
        f"In all cells: {summary(outcome.rows)}.",
    ]


def _accuracy(outcome: Outcome) -> list[str]:
    found = {(a.contestant, a.dtype, a.sigma): a.ulp for a in outcome.accuracy}
    contestants = [OURS, *outcome.facts.peers]
    sigmas = sorted({sigma for _, _, sigma in found})
    rows = []
    for dtype in dict.fromkeys(dtype for _, dtype, _ in found):
        errors = [
            ", ".join(_ulp(found[name, dtype, sigma]) for sigma in sigmas) for name in contestants
        ]
        rows.append([f"softmax, {dtype}", *errors])
    return _table(["", *contestants], rows)


def _ulp(error: float) -> str:
    return f"{error:.1f}" if error < 9.95 else f"{error:.0f}"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [
        "| " + " | ".join(line) + " |" if line[0] else "| | " + " | ".join(line[1:]) + " |"
        for line in lines
    ]


def _isa(outcome: Outcome) -> str:
    names = {"avx512": "AVX-512", "avx2": "AVX2"}
    isa = str(outcome.facts.softlane["isa"])
    return names.get(isa, isa)


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _with_article(name: str) -> str:
    return f"an {name}" if name[:1].upper() in set("AEIO") else f"a {name}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
