"""The roofline: elements a second against size, under what memory and arithmetic allow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np

from .cell import Suite
from .contestants import COPY, OURS
from .page import ACCENT, INK, MARGIN, MUTED, STYLE, Page, origin
from .results import Row
from .session import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The multiply-adds, and what goes the same way, that softmax takes for an element: exponential,
# its sum and the scaling. (float32: 8 + 1 + 2, float64: 12 + 1 + 2.)
MULTIPLY_ADDS: Final = {"float32": 11, "float64": 15}

PEER_COLOURS: Final = {
    "SciPy": "#9aa3b2",
    "PyTorch": "#d9822b",
    "JAX": "#7c5cb8",
    "ONNX Runtime": "#3b7dd8",
}

# The layout, in inches.
HEADER: Final = 1.35
WIDE: Final = 6.4
HIGH: Final = 4.6
LEFT: Final = 0.65
NAMES: Final = 1.5
FOOTER: Final = 0.75


def draw_roofline(outcome: Outcome, path: Path) -> bool:
    """Draw a panel a dtype; without cells of that suite draw nothing, and return False."""
    rows = [row for row in outcome.rows if row.cell.suite is Suite.SIZES]
    dtypes = list(dict.fromkeys(row.cell.dtype for row in rows))
    dtypes = [d for d in dtypes if sum(row.cell.dtype == d for row in rows) > 1]
    if not dtypes:
        return False
    step = LEFT + WIDE + NAMES
    page = Page(2 * MARGIN + len(dtypes) * step, HEADER + HIGH + FOOTER)
    with mpl.rc_context(STYLE):
        page.write(
            MARGIN,
            0.45,
            "softmax by size, one thread: higher is faster",
            fontsize=15,
            weight="bold",
        )
        page.write(
            MARGIN, 0.72, origin(outcome), color=MUTED, fontsize=8 if len(dtypes) == 1 else 9
        )
        for i, dtype in enumerate(dtypes):
            left = MARGIN + LEFT + i * step
            page.write(left, HEADER - 0.12, dtype, weight="bold", fontsize=11)
            axes = page.axes(left, HEADER, WIDE, HIGH)
            _panel(axes, outcome, [row for row in rows if row.cell.dtype == dtype], dtype)
        page.save(path)
    return True


def _panel(axes: Axes, outcome: Outcome, rows: list[Row], dtype: str) -> None:
    sizes = [row.cell.size for row in rows]

    def rates(name: str) -> list[float]:
        found = [row.nanoseconds(name) for row in rows]
        return [np.nan if value is None else 1 / value for value in found]  # 10⁹ a second

    ends: list[tuple[float, str, dict[str, Any]]] = []

    def line(name: str, text: str, **style: Any) -> None:
        heights = rates(name)
        if not np.isfinite(heights).any():
            return
        axes.plot(sizes, heights, **style)
        ends.append((heights[-1], text, {"color": style["color"]}))

    line(COPY, "copying as many bytes", color=MUTED, lw=1.3, ls=(0, (5, 2)))
    for peer in outcome.facts.peers:
        line(peer, peer, color=PEER_COLOURS.get(peer, MUTED), lw=1.4, marker="o", ms=3)
    line(OURS, OURS, color=ACCENT, lw=2.8, marker="o", ms=5)
    highest = np.nanmax([*rates(COPY), *rates(OURS)])
    lowest = np.nanmin([rates(name) for name in (OURS, *outcome.facts.peers)])
    if (rate := outcome.multiply_adds.get(dtype)) and dtype in MULTIPLY_ADDS:
        bound = rate / MULTIPLY_ADDS[dtype] / 1e9
        axes.axhline(bound, color=INK, lw=1.3, ls=(0, (1, 1.5)))
        ends.append(
            (bound, f"room for {MULTIPLY_ADDS[dtype]} multiply-\nadds an element", {"color": INK})
        )
        highest = max(highest, bound)

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(sizes[0] * 0.8, sizes[-1] * 1.25)
    axes.set_ylim(lowest / 1.5, highest * 2.2)
    axes.set_xlabel("elements of the array (rows of up to 1000, result in out=)")
    axes.set_ylabel("10⁹ elements a second")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(color="#e5e7eb", lw=0.7)
    axes.set_axisbelow(True)
    _mark_caches(axes, outcome, np.dtype(dtype).itemsize)
    _name_ends(axes, ends, sizes[-1] * 1.4)


def _mark_caches(axes: Axes, outcome: Outcome, itemsize: int) -> None:
    """Mark up to which size input and result fit into each cache."""
    left, right = axes.get_xlim()
    top = axes.get_ylim()[1]
    for name, size in _cache_bytes(outcome):
        elements = size / (2 * itemsize)
        if left < elements < right:
            axes.axvline(elements, color="#d4b483", lw=1)
            axes.text(elements / 1.06, top / 1.08, f"fits {name}", ha="right", va="top",
                      rotation=90, fontsize=7.5, color="#a07a3c")  # fmt: skip


def _cache_bytes(outcome: Outcome) -> Iterator[tuple[str, int]]:
    units = {"K": 1 << 10, "M": 1 << 20}
    for name, text in outcome.machine["caches"].items():
        found = re.fullmatch(r"(\d+)([KM])", text)
        if found and "instruction" not in name:
            yield name.split()[0], int(found[1]) * units[found[2]]


def _name_ends(axes: Axes, ends: list[tuple[float, str, dict[str, Any]]], x: float) -> None:
    """Write each line's name at its end, moved apart where they are close."""
    low, high = np.log(axes.get_ylim())
    room = (high - low) * 0.045
    place = low - room
    for height, text, style in sorted(ends, key=lambda end: end[0]):
        if not np.isfinite(height):
            continue
        lines = text.count("\n") + 1
        place = max(np.log(height), place + room * (1 + (lines - 1) / 2))
        bold = "bold" if text == OURS else "normal"
        axes.text(x, np.exp(place), text, va="center", fontsize=8.5, weight=bold, **style)
        place += room * (lines - 1) / 2
