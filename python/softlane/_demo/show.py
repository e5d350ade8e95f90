"""The demo from its first line to its picture."""

import io
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

import softlane
from softlane._demo import picture, terminal
from softlane._demo.lessons import teach
from softlane._demo.timing import CELLS, measure, scipy_on_uint8


def show(output: Path) -> int:
    """Show everything on the terminal, write the picture, return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A pipe in an old code page must cost the blocks of an image, not the whole demo.
        sys.stdout.reconfigure(errors="replace")
    if output.is_dir() or not output.parent.is_dir():
        wanted = "is a folder" if output.is_dir() else f"there is no folder {output.parent}"
        print(f"softlane demo: {output} cannot be written: {wanted}", file=sys.stderr)
        return 2
    console = Console(highlight=False)
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

    picture.draw(lessons, output)
    console.print(f"\nThe picture: [bold]{output}[/]", soft_wrap=True)
    return 0
