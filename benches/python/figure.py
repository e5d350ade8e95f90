"""The picture: how softlane stands to every peer in every cell, and the headline cells as bars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .cells import Cell, Mode, Suite
from .contestants import COPY, OURS
from .results import Row
from .session import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "#1f2430"
MUTED: Final = "#6b7280"
ACCENT: Final = "#1b7f6b"
PEER: Final = "#c3c9d3"
FLOOR: Final = "#e3dcc8"
EMPTY: Final = "#f3f4f6"
SLOWER: Final = ("#b3261e", "#e58a7f", "#fbe3df")
FASTER: Final = ("#e3f3ee", "#7fc4b2", "#1b7f6b")

# Colours saturate here; the numbers go on.
SATURATION: Final = 8.0
# Bars longer than this many times ours are cut.
LONGEST: Final = 6.0

# The layout, in inches.
MARGIN: Final = 0.3
HEADER: Final = 1.25
FOOTER: Final = 0.5
LABELS: Final = 2.5
COLUMN: Final = 0.92
LINE: Final = 0.3
GUTTER: Final = 0.55
PANEL: Final = 2.2
PANEL_LABELS: Final = 1.05

STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the cells measured against peers; without any, write nothing."""
    rows = [row for row in outcome.rows if row.cell.suite is Suite.PEERS]
    if not rows:
        return
    cells = list(dict.fromkeys(row.cell for row in rows))
    bars = [row for row in rows if row.cell.headline and row.mode is Mode.OUT]
    panel_lines = (len(bars) + 1) // 2
    body = max(LINE * len(cells), 1.45 * panel_lines)
    map_width = COLUMN * (len(outcome.facts.peers) + 2.25)
    width = MARGIN + LABELS + map_width + MARGIN
    if bars:
        width += GUTTER + 2 * (PANEL_LABELS + PANEL)
    height = HEADER + body + FOOTER

    with mpl.rc_context(STYLE):
        page = Figure(figsize=(width, height), facecolor="white")

        def place(left: float, top: float, wide: float, high: float) -> Axes:
            box = (left / width, 1 - (top + high) / height, wide / width, high / height)
            axes = page.add_axes(box)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            return axes

        def write(left: float, top: float, text: str, **style: Any) -> None:
            page.text(left / width, 1 - top / height, text, va="baseline", **style)

        write(MARGIN, 0.42, _title(outcome), fontsize=15, weight="bold")
        write(MARGIN, 0.70, _subtitle(outcome), color=MUTED)

        left = MARGIN + LABELS
        _overview(place(left, HEADER, map_width, LINE * len(cells)), outcome, cells, rows)
        below = HEADER + LINE * len(cells) + 0.28
        legend = "peer's time ÷ softlane's, like for like; green: softlane is faster, red: slower"
        write(left + map_width, below, legend, color=MUTED, ha="right", fontsize=8.5)

        left += map_width + GUTTER
        step = body / max(panel_lines, 1)
        for place_in_line, row in enumerate(bars):
            line, column = divmod(place_in_line, 2)
            x = left + column * (PANEL_LABELS + PANEL) + PANEL_LABELS
            _bars(place(x, HEADER + line * step, PANEL - 0.1, step - 0.42), outcome, row)
        if bars:
            legend = "ns per element, everyone's best call"
            write(width - MARGIN, below, legend, color=MUTED, ha="right", fontsize=8.5)

        path.parent.mkdir(parents=True, exist_ok=True)
        page.savefig(path, dpi=150)


def _title(outcome: Outcome) -> str:
    return f"softlane {outcome.facts.softlane['version']} and its peers, one thread"


def _subtitle(outcome: Outcome) -> str:
    machine = outcome.machine
    isa = outcome.facts.softlane["isa"]
    return f"{machine['cpu']} · {isa} · medians of {outcome.rounds} rounds · {machine['date']}"


def _overview(axes: Axes, outcome: Outcome, cells: list[Cell], rows: list[Row]) -> None:
    """Draw a heat map: a line a cell, a column a peer, then the best peer twice."""
    peers = list(outcome.facts.peers)
    columns = [*peers, "best\nfresh", "best\nout="]
    # A little air sets the verdict apart from the single peers.
    lefts = [column + (0.25 if column >= len(peers) else 0) for column in range(len(columns))]
    colours = LinearSegmentedColormap.from_list("ratio", [*SLOWER, "#ffffff", *FASTER])
    norm = LogNorm(1 / SATURATION, SATURATION, clip=True)

    by_mode = {(row.cell, row.mode): row for row in rows}
    for line, cell in enumerate(cells):
        fresh, out = by_mode.get((cell, Mode.FRESH)), by_mode.get((cell, Mode.OUT))
        ratios = [fresh.times_faster_than(peer) if fresh else None for peer in peers]
        ratios += [row.score if row else None for row in (fresh, out)]
        for column, (left, ratio) in enumerate(zip(lefts, ratios, strict=True)):
            colour = EMPTY if ratio is None else colours(norm(ratio))
            axes.add_patch(Rectangle((left + 0.02, line + 0.05), 0.96, 0.9, color=colour, lw=0))
            strong = ratio is not None and abs(np.log(ratio)) > 0.7 * np.log(SATURATION)
            axes.text(
                left + 0.5,
                line + 0.53,
                "–" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
                ha="center",
                va="center",
                color="white" if strong else MUTED if ratio is None else INK,
                weight="bold" if column >= len(peers) else "normal",
            )
    axes.set_xlim(0, len(columns) + 0.25)
    axes.set_ylim(len(cells), 0)
    axes.xaxis.tick_top()
    axes.set_xticks([left + 0.5 for left in lefts], [c.replace("ONNX ", "ONNX\n") for c in columns])
    axes.set_yticks(np.arange(len(cells)) + 0.5, [_label(cell) for cell in cells])


def _bars(axes: Axes, outcome: Outcome, row: Row) -> None:
    """Draw nanoseconds per element of everyone in one cell."""
    found = {name: row.nanoseconds(name) for name in (OURS, *outcome.facts.peers, COPY)}
    times = {name: value for name, value in found.items() if value is not None}
    longest = min(max(times.values()), LONGEST * times[OURS])
    for line, (name, value) in enumerate(times.items()):
        end = min(value, longest)
        colour = {OURS: ACCENT, COPY: FLOOR}.get(name, PEER)
        axes.barh(line, end, height=0.76, color=colour)
        axes.text(
            end + 0.02 * longest,
            line,
            f"{value:.3g}" + (" »" if value > longest else ""),
            va="center",
            fontsize=8.5,
            weight="bold" if name == OURS else "normal",
        )
    axes.set_xlim(0, 1.28 * longest)
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(times)), list(times), fontsize=8.5)
    axes.set_title(_label(row.cell), loc="left", fontsize=9.5, weight="bold", pad=4)


def _label(cell: Cell) -> str:
    dtype = cell.dtype.replace("float", "f").replace("int", "i")
    return f"{cell.operation} {dtype}  {cell.where}"
