"""The picture of the demo: six panels, one for each thing to see."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure, SubFigure

import softlane
from softlane._demo import panels
from softlane._demo.lessons import Lessons
from softlane._demo.panels import FAINT, INK, PAPER


def draw(lessons: Lessons, output: Path) -> None:
    """Write the picture as a PNG of 2400 × 1650 pixels, whatever its name ends with."""
    figure(lessons).savefig(output, format="png")


def figure(lessons: Lessons) -> Figure:
    """Return the picture."""
    whole = Figure(figsize=(16, 11), dpi=150, facecolor=PAPER)
    (heading,), (body,) = whole.subfigures(2, 1, squeeze=False, height_ratios=(0.075, 0.925))
    _head(heading)
    draws: list[Callable[[SubFigure, Lessons], None]] = [
        panels.learning,
        panels.probabilities,
        panels.neither,
        panels.attributes,
        panels.slope,
        panels.confidence,
    ]
    parts = body.subfigures(2, 3, squeeze=False)
    for part, panel in zip(parts.flat, draws, strict=True):
        panel(part, lessons)
    return whole


def _head(part: SubFigure) -> None:
    """Draw the name and what the picture is about."""
    part.text(0.022, 0.42, "softlane", fontsize=27, weight="bold", color=INK, va="center")
    part.text(
        0.158,
        0.39,
        "what softmax does in a neural network that reads handwritten digits",
        fontsize=18,
        color=INK,
        va="center",
    )
    config = softlane.show_config()
    part.text(
        0.978,
        0.39,
        f"{config['version']} · {config['isa']}",
        fontsize=13,
        color=FAINT,
        va="center",
        ha="right",
    )
