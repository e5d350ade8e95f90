"""Images, bars and curves in blocks of text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

IMAGE = 20  # pixels a side: ten lines of half blocks, one beside each class
BAR = 8
SHADES = " ░▒▓█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"


def card(console: Console, image: NDArray[np.float32], title: str, *columns: Text) -> Panel:
    """Return an image with columns of bars beside it."""
    grid = Table.grid(padding=(0, 1))
    coloured = console.color_system is not None
    grid.add_row(half_blocks(image) if coloured else shades(image), *columns)
    return Panel(grid, title=title, border_style="dim", padding=0, expand=False)


def bars(
    heading: str,
    names: Sequence[str],
    values: NDArray[np.float32],
    colours: Sequence[str],
) -> Text:
    """Return a bar a name, from 0 to 1, with the figure behind it."""
    text = Text()
    if heading:
        text.append(f"{heading}\n", "bold")
    width = max(map(len, names))
    for name, value, colour in zip(names, values, colours, strict=True):
        whole, part = divmod(round(float(value) * BAR * 8), 8)
        bar = "█" * whole + (EIGHTHS[part] if part else "")
        text.append(f"{name:<{width}} ")
        text.append(f"{bar:<{BAR}}", colour)
        text.append(f" {value:4.0%}\n" if value >= 0.005 else "\n", "dim")
    text.rstrip()
    return text


def curve(values: Sequence[float] | NDArray[np.float64], count: int) -> str:
    """Return a curve of ``count`` blocks, from the lowest to the highest."""
    at = np.linspace(0, len(values) - 1, count).round().astype(int)
    chosen = np.asarray(values)[at]
    span = float(np.ptp(chosen)) or 1.0
    levels = np.rint((len(LEVELS) - 1) * (chosen - chosen.min()) / span).astype(int)
    return "".join(LEVELS[level] for level in levels)


def half_blocks(image: NDArray[np.float32]) -> Text:
    """Return an image in ``▀``: the ink is the upper pixel, the paper the lower one."""
    grey = np.rint(255 * enlarge(image, IMAGE)).astype(int)
    text = Text()
    for row in range(0, IMAGE, 2):
        for upper, lower in zip(grey[row], grey[row + 1], strict=True):
            ink, paper = (Color.from_rgb(level, level, level) for level in (upper, lower))
            text.append("▀", Style(color=ink, bgcolor=paper))
        text.append("\n")
    text.rstrip()
    return text


def shades(image: NDArray[np.float32]) -> Text:
    """Return an image in shaded blocks, for terminals and files without colour."""
    grey = enlarge(image, IMAGE).reshape(IMAGE // 2, 2, IMAGE).mean(axis=1)
    levels = np.rint((len(SHADES) - 1) * grey).astype(int)
    return Text("\n".join("".join(SHADES[level] for level in row) for row in levels))


def enlarge(image: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Return a square image with ``side`` pixels a side, by bilinear interpolation."""
    size = len(image)
    # Pixel centres of the large image in coordinates of the small one.
    at = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(size)))
    return np.asarray(weights @ image.astype(np.float64) @ weights.T)
