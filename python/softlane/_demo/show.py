"""The demo from its first line to its picture."""

from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track

import softlane
from softlane._cli.files import refuse_existing, replacing
from softlane._demo import picture, terminal
from softlane._demo.lessons import teach
from softlane._demo.timing import CELLS, measure, scipy_on_uint8


def show(output: Path) -> int:
    """Show everything on the terminal, write the picture, return the exit status."""
    refuse_existing(output, force=True)
    console = Console(highlight=False)
    with replacing(output) as part:
        part.touch()  # what cannot be written is told before the work
        _teach_and_draw(console, part)
    console.print(f"\nThe picture: [bold]{escape(str(output))}[/]", soft_wrap=True)
    return 0


def _teach_and_draw(console: Console, picture_file: Path) -> None:
    config = softlane.show_config()
    console.rule(f"[bold]softlane {config['version']}[/] · {config['isa']}")

    console.print("Small networks learn from the handwritten digits that come with scikit-learn:\n")
    with terminal.progress(console) as bars:
        lessons = teach(watch=partial(terminal.watch, bars))
    terminal.show(console, lessons)

    watched = track(CELLS, "Timing SciPy and softlane", console=console, transient=True)
    timings = [measure(cell) for cell in watched]
    terminal.show_timings(console, timings)
    terminal.show_uint8(console, scipy_on_uint8())

    picture.draw(lessons, picture_file)
