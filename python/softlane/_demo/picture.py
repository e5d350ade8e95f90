"""The picture of the demo: digits with their distributions, and the times."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

import softlane
from softlane._demo.digits import Digits
from softlane._demo.terminal import duration
from softlane._demo.timing import Timing

PAPER, INK, FAINT = "#fbfaf6", "#23272e", "#8b8f97"
RIGHT, OTHER, WRONG, TRACK = "#12805c", "#b9bec6", "#d1495b", "#efeee8"
SCRIPT = LinearSegmentedColormap.from_list("script", ["#ffffff", INK])
ACROSS = 5


def draw(digits: Digits, timings: list[Timing], output: Path) -> None:
    """Write the picture as a PNG."""
    figure = Figure(figsize=(15, 8), dpi=140, facecolor=PAPER)
    (heading,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.14, 0.86))
    ((left, right),) = body.subfigures(1, 2, squeeze=False, width_ratios=(0.64, 0.36))
    _head(heading, digits)
    (sure,), (unsure,) = left.subfigures(2, 1, squeeze=False)
    _digit_row(sure, digits, digits.surest(ACROSS), "Surest", "one image each of five digits")
    _digit_row(
        unsure, digits, digits.doubtful(ACROSS), "In doubt", "the lowest top probabilities of all"
    )
    _times(right, timings)
    figure.savefig(output)


def _head(part: SubFigure, digits: Digits) -> None:
    """Draw the title and what was classified."""
    config = softlane.show_config()
    part.text(0.03, 0.62, "softlane", fontsize=27, weight="bold", color=INK, va="center")
    part.text(
        0.165,
        0.60,
        f"{config['version']}  ·  {config['isa']}",
        fontsize=13,
        color=FAINT,
        va="center",
    )
    part.text(
        0.03,
        0.14,
        f"Logistic regression reads {len(digits.labels)} scanned digits that it has not seen, "
        f"{digits.accuracy:.1%} of them rightly.  Probabilities: softlane.softmax of its logits, "
        f"within {digits.difference:.0e} of predict_proba.",
        fontsize=12,
        color=INK,
        va="center",
    )


def _digit_row(
    part: SubFigure, digits: Digits, chosen: list[int], title: str, subtitle: str
) -> None:
    """Draw a row of images above their distributions."""
    part.text(0.047, 0.94, title, fontsize=15, weight="bold", color=INK, va="center")
    part.text(0.06 + 0.0135 * len(title), 0.937, subtitle, fontsize=11, color=FAINT, va="center")
    axes = part.subplots(
        2,
        len(chosen),
        gridspec_kw={
            "height_ratios": (1.3, 1),
            "left": 0.047,
            "right": 0.965,
            "top": 0.87,
            "bottom": 0.10,
            "hspace": 0.16,
            "wspace": 0.28,
        },
    )
    for column, index in enumerate(chosen):
        _image(axes[0, column], digits, index)
        _distribution(axes[1, column], digits, index)


def _image(axes: Axes, digits: Digits, index: int) -> None:
    """Draw one scan."""
    axes.imshow(digits.images[index], cmap=SCRIPT, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#e4e3dd")


def _distribution(axes: Axes, digits: Digits, index: int) -> None:
    """Draw the probability of each class: the true one green, a wrong winner red."""
    probabilities, label = digits.probabilities[index], int(digits.labels[index])
    guess = int(digits.guesses[index])
    colours = [OTHER] * len(probabilities)
    colours[guess], colours[label] = WRONG, RIGHT
    axes.bar(range(len(probabilities)), 1.0, color=TRACK, width=0.82)
    axes.bar(range(len(probabilities)), probabilities, color=colours, width=0.82)
    # One scale for certain and doubtful images alike: the doubt is in the height.
    axes.set(ylim=(0, 1.22), xticks=range(len(probabilities)), yticks=[], facecolor=PAPER)
    axes.set_xlim(-0.6, len(probabilities) - 0.4)
    axes.tick_params(length=0, labelsize=10, labelcolor=FAINT, pad=2)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    for digit in {guess, label}:
        name = axes.get_xticklabels()[digit]
        name.set(color=colours[digit], weight="bold")
    # The figures of two neighbouring bars would run into each other: only the winner has one.
    axes.text(
        guess,
        probabilities[guess] + 0.04,
        f"{probabilities[guess]:.0%}",
        ha="center",
        fontsize=10.5,
        weight="bold",
        color=colours[guess],
    )


def _times(part: SubFigure, timings: list[Timing]) -> None:
    """Draw the time of each cell relative to SciPy's."""
    part.text(0.06, 0.97, "Time", fontsize=15, weight="bold", color=INK, va="center")
    part.text(
        0.19,
        0.9685,
        "one thread, relative to SciPy's",
        fontsize=11,
        color=FAINT,
        va="center",
    )
    axes = part.subplots(gridspec_kw={"left": 0.06, "right": 0.78, "top": 0.93, "bottom": 0.05})
    thickness, pitch = 0.26, 1.0
    widest = max(1.0, *(1 / timing.ratio for timing in timings))
    for position, timing in enumerate(timings):
        middle = position * pitch
        shares = np.array([1.0, 1 / timing.ratio])
        places = middle + thickness * np.array([-0.5, 0.6])
        axes.barh(places, shares, height=thickness, color=[OTHER, RIGHT])
        axes.text(0, middle - 0.42, timing.cell.name, fontsize=11.5, color=INK, va="center")
        said = [f"SciPy  {duration(timing.scipy)}", f"softlane  {duration(timing.softlane)}"]
        for place, share, words, colour in zip(places, shares, said, (FAINT, RIGHT), strict=True):
            inside = share > 0.55 * widest
            axes.text(
                share - 0.015 * widest if inside else share + 0.015 * widest,
                place,
                words,
                fontsize=10.5,
                color=INK if colour == FAINT else PAPER if inside else RIGHT,
                ha="right" if inside else "left",
                va="center",
            )
        axes.text(
            1.04 * widest,
            places.mean(),
            f"{timing.ratio:.1f} ×",
            fontsize=17,
            weight="bold",
            color=RIGHT if timing.ratio > 1 else WRONG,
            va="center",
        )
    axes.set(xlim=(0, widest), ylim=((len(timings) - 0.45) * pitch, -0.6))
    axes.axis("off")
