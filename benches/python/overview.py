"""The overview: the headline cells as bars, and all cells in a map, beside the best peer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.patches import Rectangle

from .blocks import Block, Field, make_blocks
from .contestants import COPY, OURS
from .markdown import headlines, label
from .page import ACCENT, EMPTY, FLOOR, INK, MARGIN, MUTED, PEER, STYLE, Page, origin
from .report import summary
from .results import Row
from .session import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours saturate at this many times faster or slower; the numbers go on.
SATURATION: Final = 4.0
# A step at 1, so that slower is red at first sight.
COLOURS: Final = LinearSegmentedColormap.from_list(
    "ratio",
    [
        (0.0, "#b3261e"),
        (0.25, "#e58a7f"),
        (0.5, "#f7d0ca"),
        (0.5, "#f1f8f5"),
        (0.75, "#9ad2c3"),
        (1.0, "#1b7f6b"),
    ],
)
NORM: Final = LogNorm(1 / SATURATION, SATURATION, clip=True)
# Bars longer than this many times ours are cut.
LONGEST: Final = 6.0

# The layout, in inches.
HEADER: Final = 1.15
BARS_ACROSS: Final = 5
BAR_PANEL: Final = 1.55
COLUMNS: Final = 3
LABELS: Final = 1.45
LETTER: Final = 0.076
FIELD: Final = 0.46
LINE: Final = 0.215
APART: Final = 0.1
BLOCK_HEADER: Final = 0.62
BLOCK_FOOTER: Final = 0.3
GUTTER: Final = 0.3
WIDEST: Final = 8  # fields of a block


def draw_overview(outcome: Outcome, path: Path) -> bool:
    """Draw it; without anything measured against peers draw nothing, and return False."""
    blocks = make_blocks(outcome.rows)
    if not blocks:
        return False
    bars = headlines(outcome)
    bar_lines = -(-len(bars) // BARS_ACROSS)
    step = LABELS + WIDEST * FIELD + GUTTER
    across = min(COLUMNS, len(blocks))
    if bars:
        across = COLUMNS
    bars_top = HEADER + 0.28
    map_top = bars_top + bar_lines * BAR_PANEL + (1.0 if bars else 0.6)
    places, depth = _arrange(blocks, across)
    page = Page(2 * MARGIN + across * step - GUTTER, map_top + depth + MARGIN)

    with mpl.rc_context(STYLE):
        page.write(MARGIN, 0.5, "softlane and its peers", fontsize=17, weight="bold")
        page.write(MARGIN, 0.78, origin(outcome), color=MUTED)
        if bars:
            page.write(
                MARGIN,
                HEADER,
                "Nanoseconds per element, float32 unless said, one thread: shorter is faster",
                weight="bold",
            )
            page.write(
                MARGIN,
                HEADER + 0.19,
                "copy: moving as many bytes and nothing else, which nothing that reads and writes "
                "memory can beat",
                color=MUTED,
                fontsize=8.5,
            )
        wide = (page.width - 2 * MARGIN) / BARS_ACROSS
        for i, row in enumerate(bars):
            line, column = divmod(i, BARS_ACROSS)
            left, top = MARGIN + column * wide, bars_top + 0.32 + line * BAR_PANEL
            page.write(left, top - 0.07, label(row.cell, row.mode).replace("`", ""), fontsize=8.5)
            _bars(page.axes(left + 0.98, top, wide - 1.2, BAR_PANEL - 0.42), outcome, row)

        page.write(
            MARGIN,
            map_top - 0.46,
            "How many times as fast as the fastest peer: green, softlane is faster; red, slower",
            weight="bold",
        )
        initials = ", ".join(f"{peer[0]} {peer}" for peer in outcome.facts.peers)
        for i, words in enumerate(
            (
                f"small letter: who the fastest peer is ({initials}) · bold: all targets of the "
                "cell are reached · grey: not measured",
                "rows × entries of each, along the last axis unless an axis is named · fresh: into "
                f"a new array; out=: into a given one · {summary(outcome.rows)}",
            )
        ):
            page.write(MARGIN, map_top - 0.26 + 0.18 * i, words, color=MUTED, fontsize=8.5)
        _scale(page, page.width - MARGIN - 5 * FIELD, map_top - 0.62)
        for block, (column, top) in zip(blocks, places, strict=True):
            _draw_block(page, block, MARGIN + column * step, map_top + top)
        page.save(path)
    return True


def _arrange(blocks: list[Block], across: int) -> tuple[list[tuple[int, float]], float]:
    """Give each block in turn the place that ends highest; return places and the depth."""
    depths = [0.0] * across
    places = []
    for block in blocks:
        column = min(range(across), key=lambda i: depths[i])
        places.append((column, depths[column]))
        depths[column] += _height(block)
    return places, max(depths)


def _height(block: Block) -> float:
    lines = LINE * len(block.lines) + APART * sum(line.apart for line in block.lines)
    return BLOCK_HEADER + lines + BLOCK_FOOTER


def _scale(page: Page, left: float, top: float) -> None:
    """Draw what the colours mean."""
    axes = page.axes(left, top, 5 * FIELD, LINE)
    axes.set_xlim(0, 5)
    axes.set_ylim(LINE, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for i, ratio in enumerate((1 / SATURATION, 1 / 1.5, 1.0, 1.5, SATURATION)):
        _draw_field(axes, Field(f"{ratio:.2g}", ratio, reached=False), i, 0.0)


def _draw_block(page: Page, block: Block, left: float, top: float) -> None:
    """Draw title, the names of groups and columns, and the lines."""
    whole = LABELS + WIDEST * FIELD
    high = _height(block) - BLOCK_HEADER - BLOCK_FOOTER
    fields = len(block.columns) * FIELD
    # Few columns leave more room for labels, which may need it.
    longest = max(len(line.label) for line in block.lines)
    labels = min(whole - fields, max(LABELS, longest * LETTER))
    page.write(left, top + 0.2, block.title, fontsize=11.5, weight="bold")
    x = left + labels
    groups = [group for group, _ in block.columns]
    for group in dict.fromkeys(groups):
        start, count = groups.index(group), groups.count(group)
        middle = x + (start + count / 2) * FIELD
        page.write(middle, top + 0.38, group, ha="center", fontsize=8.5, weight="bold")
    for i, (_, name) in enumerate(block.columns):
        page.write(x + (i + 0.5) * FIELD, top + 0.54, name, ha="center", fontsize=7, color=MUTED)

    axes = page.axes(x, top + BLOCK_HEADER - 0.02, fields, high)
    axes.set_xlim(0, len(block.columns))
    axes.set_ylim(high, 0)
    axes.set_xticks([])
    ticks = []
    y = 0.0
    for line in block.lines:
        y += APART if line.apart else 0.0
        for i, field in enumerate(line.fields):
            _draw_field(axes, field, i, y)
        ticks.append(y + LINE / 2)
        y += LINE
    axes.set_yticks(ticks, [line.label for line in block.lines], fontsize=8)


def _draw_field(axes: Axes, field: Field | None, x: float, y: float) -> None:
    colour = EMPTY if field is None else COLOURS(NORM(field.ratio))
    axes.add_patch(Rectangle((x + 0.03, y + 0.012), 0.94, LINE - 0.024, color=colour, lw=0))
    if field is None:
        return
    strong = abs(np.log(field.ratio)) > 0.75 * np.log(SATURATION)
    ink = "white" if strong else INK
    axes.text(
        x + (0.44 if field.rival else 0.5),
        y + LINE * 0.53,
        field.text,
        ha="center",
        va="center",
        color=ink,
        fontsize=8,
        weight="bold" if field.reached else "normal",
    )
    if field.rival:
        small: dict[str, Any] = {"color": ink, "fontsize": 5, "ha": "right", "va": "center"}
        axes.text(x + 0.93, y + LINE * 0.34, field.rival[0], **small)


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
            (f"{value:.3g}" if value < 100 else f"{value:.0f}") + " »" * (value > longest),
            va="center",
            fontsize=8.5,
            weight="bold" if name == OURS else "normal",
        )
    axes.set_xlim(0, 1.36 * longest)
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks(range(len(times)), list(times), fontsize=8.5)
