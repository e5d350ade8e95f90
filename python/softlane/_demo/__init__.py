"""The demo: a classifier's logits become probabilities, in the terminal and as a picture."""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

import softlane
from softlane._demo import picture, terminal
from softlane._demo.digits import AGREEMENT, classify
from softlane._demo.timing import CELLS, measure, scipy_on_uint8


def run(output: Path) -> int:
    """Show everything on the terminal, write the picture, return the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A pipe in an old code page must cost the blocks of an image, not the whole demo.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    config = softlane.show_config()
    console.rule(f"[bold]softlane {config['version']}[/] · {config['isa']}")

    with console.status("Fitting logistic regression on handwritten digits"):
        digits = classify()
    terminal.show_digits(console, digits)
    if digits.difference > AGREEMENT:
        console.print("[bold red]softlane and predict_proba disagree.[/]")
        return 1

    watched = track(CELLS, "Timing SciPy and softlane", console=console, transient=True)
    timings = [measure(cell) for cell in watched]
    terminal.show_timings(console, timings)
    terminal.show_uint8(console, scipy_on_uint8())

    picture.draw(digits, timings, output)
    console.print(f"\nThe picture: [bold]{output}[/]", soft_wrap=True)
    return 0
