"""What the demo prints: each lesson in a few lines, with the images it is about."""

from collections.abc import Iterator

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from softlane._demo import blocks
from softlane._demo import neither as pair
from softlane._demo.attributes import HAS, NAMES, Attributes
from softlane._demo.confidence import Confidence
from softlane._demo.learning import Learning
from softlane._demo.lessons import Lessons
from softlane._demo.neither import Neither
from softlane._demo.slope import Slope
from softlane._demo.timing import Timing, Uint8

WIDTH = 60
TEN = [str(digit) for digit in range(10)]


def progress(console: Console) -> Progress:
    """Return bars that show how far a training is, and its loss."""
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        console=console,
    )


def watch(shown: Progress, title: str, epochs: int, losses: Iterator[float]) -> list[float]:
    """See a training through, with a bar of its own."""
    task = shown.add_task(title, total=epochs, loss=float("nan"))
    seen = []
    for loss in losses:
        seen.append(loss)
        shown.update(task, advance=1, loss=loss)
    return seen


def show(console: Console, lessons: Lessons) -> None:
    """Print all lessons."""
    _learning(console, lessons.learning)
    _neither(console, lessons.neither)
    _attributes(console, lessons.attributes)
    _slope(console, lessons.slope)
    _confidence(console, lessons.confidence)


def _learning(console: Console, lesson: Learning) -> None:
    _heading(console, "1", "A network learns to read")
    console.print(
        "A convolutional network in NumPy, from random weights. At its end stands "
        "cross_entropy_value_and_grad: the loss, and the gradient that goes back through all "
        "layers."
    )
    falling = blocks.curve(np.log(lesson.losses), WIDTH)
    console.print(f"Loss {lesson.losses[0]:.2f} [green]{falling}[/] {lesson.losses[-1]:.4f}")
    console.print(
        f"Of {len(lesson.test)} digits that it has not seen it reads "
        f"[bold green]{lesson.accuracy:.1%}[/] rightly; with random weights it was "
        f"[red]{lesson.accuracy_before:.0%}[/]."
    )
    cards = []
    for index in [*lesson.surest(1), *lesson.doubtful(2)]:
        guess, label = int(lesson.guesses[index]), int(lesson.test.labels[index])
        verdict = f"[green]a {guess}[/]" if guess == label else f"[red]“{guess}”, but a {label}[/]"
        colours = ["green" if digit == label else "yellow" for digit in range(10)]
        shares = blocks.bars("", TEN, lesson.probabilities[index], colours)
        cards.append(blocks.card(console, lesson.test.images[index], verdict, shares))
    console.print(Columns(cards))


def _neither(console: Console, lesson: Neither) -> None:
    _heading(console, "2", "Two classes: sure of nonsense")
    first, second = map(str, pair.PAIR)
    console.print(
        f"Taught {first} and {second} alone, it tells apart {lesson.accuracy:.0%} of those it has "
        f"not seen, and is more than {pair.SURE:.0%} sure of "
        f"[bold red]{lesson.sure_of_two:.0%}[/] of the other digits: softmax shares out 100%, "
        "whatever it sees. Taught all the others as a third class, it is so of "
        f"[bold green]{lesson.sure_of_three:.0%}[/] of them."
    )
    cards = []
    for index in lesson.examples(2):
        two = blocks.bars(f"{first} or {second}?", (first, second), lesson.two[index], ["red"] * 2)
        names, colours = (first, second, "neither"), ("red", "red", "green")
        three = blocks.bars("or neither?", names, lesson.three[index], colours)
        two.append("\n\n")
        title = f"a {lesson.test.labels[index]}"
        cards.append(blocks.card(console, lesson.test.images[index], title, two + three))
    console.print(Columns(cards))


def _attributes(console: Console, lesson: Attributes) -> None:
    _heading(console, "3", "Several at once: use sigmoid")
    console.print(
        "Is it even, has it a loop, is it above 4? Right in all three: by sigmoid and "
        f"binary_cross_entropy [bold green]{lesson.right_by_sigmoid:.0%}[/] of the unseen digits, "
        f"by softmax, where a share above {lesson.threshold:.0%} counts as a yes, "
        f"[bold red]{lesson.right_by_softmax:.0%}[/]."
    )
    cards = []
    for digit in (8, 1):
        index = lesson.example(digit)
        shares = blocks.bars("softmax", NAMES, lesson.softmax[index], ["red"] * 3)
        right = ["green" if yes else "red" for yes in (lesson.sigmoid[index] > 0.5) == HAS[digit]]
        shares.append("\n\n")
        each = blocks.bars("sigmoid", NAMES, lesson.sigmoid[index], right)
        title = "all true" if digit == 8 else "none true"
        cards.append(blocks.card(console, lesson.test.images[index], title, shares + each))
    console.print(Columns(cards))


def _slope(console: Console, lesson: Slope) -> None:
    _heading(console, "4", "Steps teach nothing, slopes do")
    console.print(
        "Two losses along one weight of a network: how many are wrong by argmax, and the "
        "cross-entropy of softmax."
    )
    console.print(f"argmax  [red]{blocks.curve(lesson.errors, WIDTH)}[/]")
    console.print(f"softmax [green]{blocks.curve(lesson.losses, WIDTH)}[/]")
    console.print(
        f"The first is flat at [red]{lesson.flat:.0%}[/] of the places: no hint where to go. The "
        f"second has a slope, and {len(lesson.path)} steps down lead from "
        f"{lesson.path_losses[0]:.2f} to [green]{lesson.path_losses[-1]:.2f}[/]."
    )


def _confidence(console: Console, lesson: Confidence) -> None:
    _heading(console, "5", "Too sure? Divide the scores")
    before, after = lesson.error(), lesson.error(lesson.temperature)
    console.print(
        f"A network that learnt {lesson.seen} noisy scans by heart reads {lesson.accuracy:.0%} of "
        f"{len(lesson.labels)} others, but claims too much: its expected calibration error is "
        f"[bold red]{before:.1%}[/]. On {lesson.held_out} more, fit_temperature finds what to "
        f"divide its scores by, {lesson.temperature:.2f}: the error is [bold green]{after:.1%}[/] "
        f"then."
    )


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
            f"Images are uint8. Of the pixels {uint8.pixels.tolist()}, SciPy gives the white "
            f"one [bold red]{float(uint8.scipy[-1]):.0%}[/], since it subtracts in uint8 and "
            f"wraps around; softlane, which converts first, "
            f"[bold green]{float(uint8.softlane[-1]):.0%}[/]."
        )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.2f} µs"


def _heading(console: Console, number: str, title: str) -> None:
    console.print(f"\n[bold]{number}  {title}[/]")
