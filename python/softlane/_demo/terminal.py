"""What the demo prints: images in half blocks, distributions as bars, times as a table."""

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from softlane._demo.digits import Digits
from softlane._demo.timing import Timing, Uint8

IMAGE = 20  # pixels a side: ten lines of half blocks, one beside each class
BAR = 8
SHADES = " ░▒▓█"
EIGHTHS = " ▏▎▍▌▋▊▉█"


def show_digits(console: Console, digits: Digits) -> None:
    """Print how the probabilities compare with scikit-learn's, and some images with theirs."""
    console.print(
        f"\nLogistic regression, fitted on {digits.seen} scans of handwritten digits, reads "
        f"{len(digits.labels)} others: [bold]{digits.accuracy:.1%}[/] right.\n"
        f"softlane.softmax(logits) against scikit-learn's predict_proba: largest difference "
        f"[bold]{digits.difference:.1e}[/].\n"
    )
    for title, chosen in [("Surest", digits.surest(2)), ("In doubt", digits.doubtful(4))]:
        console.print(f"[bold]{title}[/]")
        console.print(Columns([_panel(console, digits, index) for index in chosen]))


def show_timings(console: Console, timings: list[Timing]) -> None:
    """Print the times side by side."""
    console.print("\n[bold]Time of a call[/] (one thread, median of interleaved blocks)")
    table = Table()
    table.add_column("softmax of")
    for name in ("SciPy", "softlane", "faster by"):
        table.add_column(name, justify="right")
    for timing in timings:
        ratio = f"[bold {'green' if timing.ratio > 1 else 'red'}]{timing.ratio:.1f} ×[/]"
        table.add_row(timing.cell.name, duration(timing.scipy), duration(timing.softlane), ratio)
    console.print(table)


def show_uint8(console: Console, uint8: Uint8) -> None:
    """Print what becomes of three pixels, where SciPy still lets them wrap around."""
    if uint8.scipy_is_wrong:
        console.print(
            f"\nImages are uint8. Of the pixels {uint8.pixels.tolist()}, SciPy gives the white "
            f"one [bold red]{float(uint8.scipy[-1]):.0%}[/], since it subtracts in uint8 and "
            f"wraps around;\nsoftlane, which converts first, "
            f"[bold green]{float(uint8.softlane[-1]):.0%}[/]."
        )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.2f} µs"


def _panel(console: Console, digits: Digits, index: int) -> Panel:
    """Return an image beside its distribution."""
    guess, label = int(digits.guesses[index]), int(digits.labels[index])
    verdict = f"read as {guess}" + ("" if guess == label else f", but it is a {label}")
    colour = "green" if guess == label else "red"
    grid = Table.grid(padding=(0, 1))
    coloured = console.color_system is not None
    image = half_blocks(digits.images[index]) if coloured else shades(digits.images[index])
    grid.add_row(image, _bars(digits.probabilities[index], label))
    title = f"[{colour}]{verdict}[/]"
    return Panel(grid, title=title, border_style="dim", padding=0, expand=False)


def half_blocks(image: NDArray[np.float64]) -> Text:
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


def shades(image: NDArray[np.float64]) -> Text:
    """Return an image in shaded blocks, for terminals and files without colour."""
    grey = enlarge(image, IMAGE).reshape(IMAGE // 2, 2, IMAGE).mean(axis=1)
    levels = np.rint((len(SHADES) - 1) * grey).astype(int)
    return Text("\n".join("".join(SHADES[level] for level in row) for row in levels))


def enlarge(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return a square image with ``side`` pixels a side, by bilinear interpolation."""
    size = len(image)
    # Pixel centres of the large image in coordinates of the small one.
    at = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(size)))
    large: NDArray[np.float64] = weights @ image @ weights.T
    return large


def _bars(probabilities: NDArray[np.float64], label: int) -> Text:
    """Return a bar a class; the true class is green."""
    text = Text()
    for digit, p in enumerate(probabilities):
        whole, part = divmod(round(float(p) * BAR * 8), 8)
        bar = "█" * whole + (EIGHTHS[part] if part else "")
        text.append(f"{digit} ", "bold" if digit == label else "dim")
        text.append(f"{bar:<{BAR}}", "green" if digit == label else "yellow")
        text.append(f" {p:4.0%}\n" if p >= 0.005 else "\n", "dim")
    text.rstrip()
    return text
