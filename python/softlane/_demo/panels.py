"""The panels of the picture; green is what is right or works, red what is wrong or does not."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import SubFigure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from softlane._demo import neither as pair
from softlane._demo.attributes import HAS, NAMES
from softlane._demo.lessons import Lessons

PAPER, CARD, INK, FAINT = "#f4f2ec", "#ffffff", "#23272e", "#6b7079"
RIGHT, OTHER, WRONG, TRACK = "#12805c", "#b3b8c1", "#d1495b", "#ecebe4"
SCRIPT = LinearSegmentedColormap.from_list("script", ["#ffffff", INK])
TITLE, TEXT, SMALL = 18, 13.5, 12.5


def learning(part: SubFigure, lessons: Lessons) -> None:
    """Draw the loss of each epoch."""
    lesson = lessons.learning
    axes = _plot(
        part,
        "1  A network learns to read",
        "Its weights are random at first. Each pass over\n"
        "the images moves them downhill on the loss.",
    )
    epochs = np.arange(1, len(lesson.losses) + 1)
    axes.plot(epochs, lesson.losses, color=RIGHT, linewidth=3)
    axes.set(yscale="log", xlabel="passes over the training images", ylabel="cross-entropy loss")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(0, 1.02 * len(epochs))
    _words(axes, 0.14, 0.90, f"random weights: {lesson.accuracy_before:.0%} right", WRONG)
    axes.plot(epochs[0], lesson.losses[0], "o", color=WRONG, markersize=11, clip_on=False)
    _words(axes, 0.98, 0.68, f"{lesson.accuracy:.1%} right", RIGHT, size=25, weight="bold")
    _words(axes, 0.98, 0.56, f"of {len(lesson.test)} digits not seen before", RIGHT)


def probabilities(part: SubFigure, lessons: Lessons) -> None:
    """Draw two images with their scores and what softmax makes of them."""
    lesson = lessons.learning
    rows = _rows(
        part,
        "2  From scores to probabilities",
        "Softmax makes any scores positive, with a sum\n"
        "of 100%, which digits share where in doubt.",
        ("scores", "their softmax"),
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
            place.tick_params(length=0, labelsize=11, labelcolor=FAINT)
            place.spines[["left", "right", "top"]].set_visible(False)
            place.spines["bottom"].set(position="zero", color=FAINT)
        # The names of the classes hang from the axis at 0: below the lowest bar they are legible.
        # The axes are 90 points high.
        lowest, highest = axes[1].get_ylim()
        axes[1].tick_params(pad=2 + max(0.0, -lowest) / (highest - lowest) * 90)
        axes[2].set_ylim(0, 1.2)
        second = int(np.argsort(shares)[-2])
        apart, lower = abs(guess - second), shares[guess] - shares[second]
        for digit in (guess, second):
            # The figures of bars side by side would run into each other.
            if digit == guess or (lower < 0.99 and apart > (1 if lower > 0.2 else 2)):
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
        "3  Two classes: sure of nonsense",
        f"Taught {first} and {second} only, it is over {pair.SURE:.0%} sure "
        f"of {lesson.sure_of_two:.0%}\n"
        f"of all other digits. With a third class, of {lesson.sure_of_three:.0%}.",
        (f"{first} or {second}?", "or neither?"),
    )
    for axes, index in zip(rows, lesson.examples(2), strict=True):
        _image(axes[0], lesson.test.images[index], f"a {lesson.test.labels[index]}")
        two, three = lesson.two[index], lesson.three[index]
        wrong = [WRONG if value > 0.5 else FAINT for value in (*two, *three[:2])]
        _verdicts(axes[1], (first, second), two, wrong[:2])
        _verdicts(axes[2], (first, second, "neither"), three, [*wrong[2:], RIGHT])


def attributes(part: SubFigure, lessons: Lessons) -> None:
    """Draw what softmax and sigmoid say of labels that do not exclude each other."""
    lesson = lessons.attributes
    rows = _rows(
        part,
        "4  Several at once: use sigmoid",
        "Softmax has to share out 100%, sigmoid has not.\n"
        f"All three right: {lesson.right_by_softmax:.0%}, by sigmoid "
        f"{lesson.right_by_sigmoid:.0%} of digits.",
        ("softmax", "sigmoid"),
    )
    for axes, digit in zip(rows, (8, 1), strict=True):
        index = lesson.example(digit)
        _image(axes[0], lesson.test.images[index], "all true" if digit == 8 else "none true")
        _verdicts(axes[1], NAMES, lesson.softmax[index], [WRONG] * 3)
        right = (lesson.sigmoid[index] > 0.5) == HAS[digit]
        colours = [RIGHT if yes else WRONG for yes in right]
        _verdicts(axes[2], NAMES, lesson.sigmoid[index], colours)


def slope(part: SubFigure, lessons: Lessons) -> None:
    """Draw both losses along one weight."""
    lesson = lessons.slope
    axes = _plot(
        part,
        "5  Steps teach nothing, slopes do",
        "A weight learns by the slope of the loss under it.\n"
        "argmax has none, softmax has one everywhere.",
    )
    axes.plot(lesson.weights, lesson.errors, color=WRONG, linewidth=3)
    axes.plot(lesson.weights, lesson.losses, color=RIGHT, linewidth=3)
    axes.plot(lesson.path, lesson.path_losses, "o", color=RIGHT, markersize=10)
    axes.plot(lesson.path[0], lesson.start_errors, "o", color=WRONG, markersize=12)
    axes.set(xlabel="one weight of the network", ylabel="loss", xticks=[])
    axes.set(ylim=(0, 1.3 * lesson.path_losses[0]), xlim=(lesson.weights[0], lesson.weights[-1]))
    # Beside the start, which may lie on either side.
    on_the_right = lesson.path[0] > lesson.weights.mean()
    near, far = (0.98, 0.04) if on_the_right else (0.02, 0.96)
    _words(axes, far, 0.80, "cross-entropy of softmax:\nstep by step downhill", RIGHT)
    _words(axes, near, 0.13, "wrong by argmax:\nflat, so it stays put", WRONG)


def confidence(part: SubFigure, lessons: Lessons) -> None:
    """Draw how often the network is right, by how sure it is, before and after."""
    lesson = lessons.confidence
    axes = _plot(
        part,
        "6  Too sure? Divide the scores",
        f"It learnt {lesson.seen} noisy scans by heart and claims too\n"
        f"much. A temperature of {lesson.temperature:.1f} makes it honest.",
    )
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5, linestyle=(0, (4, 3)))
    axes.text(0.1, 0.13, "honest", fontsize=SMALL, color=FAINT, rotation=36, ha="center")
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
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="how sure it is", ylabel="how often right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
    before, after = lesson.error(), lesson.error(lesson.temperature)
    _words(axes, 0.03, 0.90, f"after: off by {after:.1%}", RIGHT, weight="bold")
    _words(axes, 0.98, 0.13, f"before: off by {before:.1%}", WRONG, weight="bold")


# ------------------------------------------------------------------------------------ the pieces


def _title(part: SubFigure, title: str, point: str) -> None:
    """Make the panel a card with a title and two lines that say the point."""
    part.patch.set_alpha(0)
    card = FancyBboxPatch(
        (0.02, 0.02),
        0.96,
        0.96,
        boxstyle="round,pad=0,rounding_size=0.02",
        transform=part.transSubfigure,
        facecolor=CARD,
        edgecolor="#dedcd3",
        zorder=-1,
    )
    part.add_artist(card)
    part.text(0.06, 0.925, title, fontsize=TITLE, weight="bold", color=INK, va="center")
    part.text(0.06, 0.88, point, fontsize=TEXT, color=INK, va="top", linespacing=1.35)


def _words(
    axes: Axes,
    x: float,
    y: float,
    words: str,
    colour: str,
    *,
    size: float = TEXT,
    weight: str = "normal",
) -> None:
    """Write into a plot, away from the nearer edge."""
    axes.text(
        x,
        y,
        words,
        transform=axes.transAxes,
        fontsize=size,
        weight=weight,
        color=colour,
        ha="left" if x < 0.5 else "right",
        va="center",
        linespacing=1.3,
    )


def _plot(part: SubFigure, title: str, point: str) -> Axes:
    """Return the axes of a panel that is one plot."""
    _title(part, title, point)
    axes = part.subplots(gridspec_kw={"left": 0.19, "right": 0.93, "top": 0.735, "bottom": 0.155})
    axes.set_facecolor(CARD)
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
            "left": 0.06,
            "right": 0.94,
            "top": 0.675,
            "bottom": 0.105,
            "hspace": 0.32,
            "wspace": 0.2,
            "width_ratios": (0.72, 1, 1),
        },
    )
    for axes, heading in zip(grid[0, 1:], columns, strict=True):
        axes.set_title(heading, fontsize=TEXT, weight="bold", color=INK, pad=9)
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
    """Draw for each name a bar from 0 to 100 %, below its name and figure."""
    for place, (name, value, colour) in enumerate(zip(names, values, colours, strict=True)):
        axes.barh(place, 1.0, color=TRACK, height=0.26)
        axes.barh(place, value, color=colour, height=0.26)
        # Beside the bar there is no room for long names.
        axes.text(0, place - 0.4, name, fontsize=SMALL, color=INK, va="center")
        axes.text(
            1,
            place - 0.4,
            f"{value:.0%}",
            fontsize=SMALL,
            weight="bold",
            color=colour,
            ha="right",
            va="center",
        )
    # Three rows' worth of room for two as well, so that bars are of one size in all panels.
    axes.set(xlim=(0, 1), ylim=(2.3, -0.75))
    axes.axis("off")
