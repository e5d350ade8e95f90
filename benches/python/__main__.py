"""Command line of the side-by-side."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
QUICK_ROUNDS = 15
FULL_ROUNDS = 31
WIDTH = 180


def main() -> int:
    """Measure, print the tables, write the results."""
    options = _parse()
    needed = ("softlane", "numpy", "rich", "matplotlib")
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        print(f"not installed: {', '.join(lacking)}", file=sys.stderr)
        return 1

    from rich.console import Console
    from rich.progress import Progress

    from .cells import CELLS
    from .figure import draw
    from .report import print_report, write_json
    from .session import run

    cells = [cell for cell in CELLS if options.full or not cell.full_only]
    if options.only:
        pattern = re.compile(options.only, re.IGNORECASE)
        cells = [cell for cell in cells if pattern.search(cell.name.replace("×", "x"))]
        if not cells:
            print(f"no cell matches {options.only!r}", file=sys.stderr)
            return 1

    # On a narrower terminal wrapped lines are ugly, but cut numbers would be useless.
    console = Console(width=max(Console().width, WIDTH))
    # Drawn only between cells: a refreshing thread would disturb what is being timed.
    with Progress(console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=len(cells) + 1 + (not options.only))

        def announce(step: str) -> None:
            progress.update(task, description=step, refresh=True)
            progress.advance(task)

        outcome = run(
            cells,
            rounds=options.rounds or (FULL_ROUNDS if options.full else QUICK_ROUNDS),
            full=options.full,
            with_accuracy=not options.only,
            announce=announce,
        )
    print_report(outcome, console)

    # A part of the table must not replace the figures of a whole run.
    stem = None if options.only else RESULTS / _stem(outcome.machine, full=options.full)
    json_path = options.json or (stem and stem.with_suffix(".json"))
    png_path = options.png or (stem and stem.with_suffix(".png"))
    if json_path:
        write_json(outcome, json_path)
        console.print(f"wrote {json_path}")
    if png_path:
        draw(outcome, png_path)
        console.print(f"wrote {png_path}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.python",
        description="softlane side by side with SciPy, PyTorch, JAX and ONNX Runtime, "
        "whichever are installed.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="about two minutes (default)")
    size.add_argument("--full", action="store_true", help="more rounds, the largest arrays too")
    parser.add_argument(
        "--only", metavar="PATTERN", help="only cells whose name matches, such as '1024x1000'"
    )
    parser.add_argument("--rounds", type=_positive, help="blocks of each contestant")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: in benches/results/")
    parser.add_argument("--png", type=Path, metavar="FILE", help="default: beside the JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _stem(machine: dict[str, object], *, full: bool) -> str:
    cpu = re.sub(r"\(.*?\)|\bprocessor\b|\bcpu\b|@.*", " ", str(machine["cpu"]).lower())
    words = re.findall(r"[a-z0-9]+", cpu)
    return "-".join([str(machine["date"]), *words, "full" if full else "quick"])


if __name__ == "__main__":
    sys.exit(main())
