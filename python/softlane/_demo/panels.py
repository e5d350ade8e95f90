"""The panels of the picture; green is what is right or works, red what is wrong or does not."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from softlane._demo import neither as pair
from softlane._demo.attributes import HAS, NAMES
from softlane._demo.lessons import Lessons

PAPER, INK, FAINT = "#fbfaf6", "#23272e", "#70757e"
RIGHT, OTHER, WRONG, TRACK = "#12805c", "#b3b8c1", "#d1495b", "#ecebe4"
SCRIPT = LinearSegmentedColormap.from_list("script", ["#ffffff", INK])
TITLE, TEXT, SMALL = 19, 14.5, 13
# Where the axes of a panel lie in it, below its title and the line that explains it.
LEFT, RIGHTMOST, TOP, BOTTOM = 0.15, 0.95, 0.76, 0.14


def learning(part: SubFigure, lessons: Lessons) -> None:
    """Draw the loss of each epoch."""
    lesson = lessons.learning
    axes = _plot(
        part,
        "1  A network learns: its loss falls",
        f"From random weights to {lesson.accuracy:.1%} of unseen digits.",
    )
    epochs = np.arange(1, len(lesson.losses) + 1)
    axes.plot(epochs, lesson.losses, color=RIGHT, linewidth=3)
    axes.set(yscale="log", xlabel="passes over the training images", ylabel="cross-entropy loss")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0, len(epochs) + 2)
    axes.annotate(
        f"at the start {lesson.accuracy_before:.0%} right:\nmere guessing",
        (epochs[0], lesson.losses[0]),
        xytext=(0.17, 0.89),
        textcoords="axes fraction",
        fontsize=TEXT,
        color=WRONG,
        va="center",
        arrowprops={"arrowstyle": "-", "color": WRONG},
    )
    axes.text(
        0.97,
        0.44,
        f"{lesson.accuracy:.1%} right",
        transform=axes.transAxes,
        fontsize=24,
        weight="bold",
        color=RIGHT,
        ha="right",
    )
    axes.text(
        0.97,
        0.36,
        f"of {len(lesson.test)} digits not seen before",
        transform=axes.transAxes,
        fontsize=TEXT,
        color=RIGHT,
        ha="right",
    )


def probabilities(part: SubFigure, lessons: Lessons) -> None:
    """Draw two images with their scores and what softmax makes of them."""
    lesson = lessons.learning
    rows = _rows(
        part,
        "2  Softmax turns scores into probabilities",
        "They are positive and add up to 100 %.",
        ("the network's scores", "softmax of them"),
    )
    for axes, index, word in zip(
        rows, [lesson.surest(1)[0], lesson.doubtful(1)[0]], ["clear", "doubtful"], strict=True
    ):
        _image(axes[0], lesson.test.images[index], word)
        label, shares = int(lesson.test.labels[index]), lesson.probabilities[index]
        guess = int(shares.argmax())
        colours = [OTHER] * len(shares)
        colours[guess], colours[label] = WRONG, RIGHT
        for place, values in zip(axes[1:], (lesson.logits[index], shares), strict=True):
            place.bar(range(len(values)), values, color=colours, width=0.8)
            place.set(xticks=range(len(values)), yticks=[])
            place.tick_params(length=0, labelsize=SMALL, labelcolor=FAINT)
            place.spines[["left", "right", "top"]].set_visible(False)
            place.spines["bottom"].set(position="zero", color=FAINT)
        lowest, highest = axes[1].get_ylim()
        # The names of the classes hang below the axis at 0: below the lowest bar they are legible.
        axes[1].set_ylim(lowest, highest)
        axes[1].tick_params(pad=2 + max(0.0, -lowest) / (highest - lowest) * 90)
        axes[2].set_ylim(0, 1.2)
        for digit in sorted({guess, int(np.argsort(shares)[-2])}):
            if shares[digit] >= 0.005:
                axes[2].text(
                    digit,
                    shares[digit] + 0.05,
                    f"{shares[digit]:.0%}",
                    fontsize=SMALL,
                    weight="bold",
                    color=colours[digit] if colours[digit] != OTHER else FAINT,
                    ha="center",
                )


def neither(part: SubFigure, lessons: Lessons) -> None:
    """Draw images of neither class, and what comes of a third one."""
    lesson = lessons.neither
    first, second = (str(digit) for digit in pair.PAIR)
    rows = _rows(
        part,
        "3  Softmax must choose, even nonsense",
        f"Knowing {first} and {second} only, it is sure of {lesson.sure_of_two:.0%} of all others.",
        (f"“{first} or {second}?”", "with a third class"),
    )
    for axes, index in zip(rows, lesson.examples(2), strict=True):
        _image(axes[0], lesson.test.images[index], f"is a {lesson.test.labels[index]}")
        _verdicts(axes[1], (first, second), lesson.two[index], [WRONG, WRONG])
        _verdicts(
            axes[2], (first, second, "neither"), lesson.three[index], [WRONG, WRONG, RIGHT]
        )


def attributes(part: SubFigure, lessons: Lessons) -> None:
    """Draw what softmax and sigmoid say of labels that do not exclude each other."""
    lesson = lessons.attributes
    rows = _rows(
        part,
        "4  Several may be true? Sigmoid",
        f"All three right: softmax {lesson.right_by_softmax:.0%}, "
        f"sigmoid {lesson.right_by_sigmoid:.0%} of unseen digits.",
        ("softmax shares out", "sigmoid: each alone"),
    )
    for axes, digit in zip(rows, (8, 1), strict=True):
        index = lesson.example(digit)
        _image(axes[0], lesson.test.images[index], "has all three" if digit == 8 else "has none")
        colours = [RIGHT if has else WRONG for has in HAS[digit]]
        _verdicts(axes[1], NAMES, lesson.softmax[index], [WRONG] * 3)
        _verdicts(axes[2], ("", "", ""), lesson.sigmoid[index], colours)


def slope(part: SubFigure, lessons: Lessons) -> None:
    """Draw both losses along one weight."""
    lesson = lessons.slope
    axes = _plot(
        part,
        "5  argmax has steps, softmax a slope",
        "Only a slope tells a weight which way is better.",
    )
    axes.plot(lesson.weights, lesson.errors, color=WRONG, linewidth=2.5)
    axes.plot(lesson.weights, lesson.losses, color=RIGHT, linewidth=3)
    axes.plot(lesson.path, lesson.path_losses, "o", color=RIGHT, markersize=9)
    axes.plot(lesson.path[0], lesson.start_errors, "o", color=WRONG, markersize=11)
    axes.set(xlabel="one weight of the network", ylabel="loss", ylim=(0, 2.05))


def confidence(part: SubFigure, lessons: Lessons) -> None:
    """Draw how often the network is right, by how sure it is, before and after."""
    lesson = lessons.confidence
    axes = _plot(
        part,
        "6  Too sure of itself? One number helps",
        f"Scores divided by a temperature of {lesson.temperature:.1f}, from other images.",
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, linestyle=(0, (4, 3)))
    for temperature, colour in ((1.0, WRONG), (lesson.temperature, RIGHT)):
        curve = lesson.curve(temperature)
        shown = curve.count >= 10
        axes.plot(
            curve.confidence[shown],
            curve.accuracy[shown],
            "o-",
            color=colour,
            linewidth=3,
            markersize=9,
        )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="how sure it is", ylabel="how often it is right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))


# ------------------------------------------------------------------------------------ the pieces


def _title(part: SubFigure, title: str, point: str) -> None:
    part.text(0.05, 0.93, title, fontsize=TITLE, weight="bold", color=INK, va="center")
    part.text(0.05, 0.86, point, fontsize=TEXT, color=INK, va="center")


def _plot(part: SubFigure, title: str, point: str) -> Axes:
    """Return the axes of a panel that is one plot."""
    _title(part, title, point)
    axes = part.subplots(
        gridspec_kw={"left": LEFT, "right": RIGHTMOST, "top": TOP + 0.04, "bottom": BOTTOM}
    )
    axes.set_facecolor(PAPER)
    axes.tick_params(labelsize=SMALL, labelcolor=FAINT, color=FAINT)
    axes.xaxis.label.set(size=TEXT, color=INK)
    axes.yaxis.label.set(size=TEXT, color=INK)
    axes.spines[["right", "top"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    return axes


def _rows(part: SubFigure, title: str, point: str, columns: tuple[str, str]) -> list[list[Axes]]:
    """Return two rows of axes: an image, and two columns that say something about it."""
    _title(part, title, point)
    grid = part.subplots(
        2,
        3,
        squeeze=False,
        gridspec_kw={
            "left": 0.05,
            "right": 0.96,
            "top": 0.73,
            "bottom": 0.08,
            "hspace": 0.35,
            "wspace": 0.12,
            "width_ratios": (0.62, 1, 1),
        },
    )
    for axes, heading in zip(grid[0, 1:], columns, strict=True):
        axes.set_title(heading, fontsize=TEXT, color=INK, pad=10)
    for axes in grid.flat:
        axes.set_facecolor(PAPER)
    return [list(row) for row in grid]


def _image(axes: Axes, image: NDArray[np.float32], words: str) -> None:
    """Draw a scan, with words below it."""
    axes.imshow(image, cmap=SCRIPT, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(words, fontsize=TEXT, color=INK)
    axes.spines[:].set_color("#dddcd5")


def _verdicts(
    axes: Axes, names: Sequence[str], values: NDArray[np.float32], colours: Sequence[str]
) -> None:
    """Draw a bar a name, from 0 to 100 %, with the figure at its end."""
    places = np.arange(len(names))
    axes.barh(places, 1.0, color=TRACK, height=0.62)
    axes.barh(places, values, color=colours, height=0.62)
    for place, name, value, colour in zip(places, names, values, colours, strict=True):
        inside = value > 0.6
        axes.text(0, place - 0.5, name, fontsize=SMALL, color=INK, va="center")
        axes.text(
            value + (-0.03 if inside else 0.03),
            place,
            f"{value:.0%}",
            fontsize=SMALL,
            weight="bold",
            color=PAPER if inside else colour,
            ha="right" if inside else "left",
            va="center",
        )
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.8))
    axes.axis("off")
