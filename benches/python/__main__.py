"""Command line of the side-by-side."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from .cell import Cell
    from .session import Outcome

RESULTS = Path(__file__).resolve().parents[1] / "results"
QUICK_ROUNDS = 11
FULL_ROUNDS = 25
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

    from .markdown import markdown
    from .overview import draw_overview
    from .record import read_json, write_json
    from .report import print_report
    from .roofline import draw_roofline

    # On a narrower terminal wrapped lines are ugly, but cut numbers would be useless.
    console = Console(width=max(Console().width, WIDTH))
    if options.read:
        outcome, stem = read_json(options.read), None
    else:
        cells = _chosen(options)
        if not cells:
            print(f"no cell matches {options.only!r}", file=sys.stderr)
            return 1
        outcome = _measured(cells, options, console)
        # A part of the table must not replace the figures of a whole run.
        whole = not options.only and not outcome.cut_short
        stem = RESULTS / _stem(outcome.machine, full=options.full) if whole else None
    print_report(outcome, console)

    def wrote(path: Path) -> None:
        console.print(f"wrote {path}", soft_wrap=True)

    json_path, png = options.json, options.png
    if stem is not None:
        json_path = json_path or stem.with_suffix(".json")
        png = png or stem.with_suffix(".png")
    if json_path:
        write_json(outcome, json_path)
        wrote(json_path)
    if png:
        roofline = png.with_name(f"{png.stem}-roofline{png.suffix}")
        for draw, path in ((draw_overview, png), (draw_roofline, roofline)):
            if draw(outcome, path):
                wrote(path)
    if options.markdown:
        options.markdown.write_text(markdown(outcome), encoding="utf-8")
        wrote(options.markdown)
    if outcome.cut_short:
        print(f"ended early at {outcome.cut_short}", file=sys.stderr)
        return 1
    return 0


def _chosen(options: argparse.Namespace) -> list[Cell]:
    from .cells import CELLS

    if not options.only:
        return [cell for cell in CELLS if options.full or cell.quick]
    pattern = re.compile(options.only, re.IGNORECASE)
    return [cell for cell in CELLS if pattern.search(cell.name.replace("×", "x"))]


def _measured(cells: list[Cell], options: argparse.Namespace, console: Console) -> Outcome:
    from rich.progress import Progress

    from .cell import Suite
    from .session import run

    # Drawn only between cells: a refreshing thread would disturb what is being timed.
    with Progress(console=console, auto_refresh=False, transient=True) as progress:
        by_size = any(cell.suite is Suite.SIZES for cell in cells)
        task = progress.add_task("", total=1 + by_size + len(cells) + (not options.only))
        started = time.monotonic()

        def announce(step: str) -> None:
            progress.update(task, description=step, refresh=True)
            progress.advance(task)
            if not console.is_terminal:  # a log: it shall tell how far a long run has come
                done = f"{progress.tasks[task].completed:.0f}/{progress.tasks[task].total:.0f}"
                minutes, seconds = divmod(int(time.monotonic() - started), 60)
                print(f"{minutes}:{seconds:02} {done} {step}", file=sys.stderr, flush=True)

        return run(
            cells,
            rounds=options.rounds or (FULL_ROUNDS if options.full else QUICK_ROUNDS),
            full=options.full,
            with_accuracy=not options.only,
            announce=announce,
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.python",
        description="softlane side by side with SciPy, PyTorch, JAX and ONNX Runtime, "
        "whichever are installed.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a part of the cells (default)")
    size.add_argument("--full", action="store_true", help="every cell, in more rounds")
    size.add_argument(
        "--read", type=Path, metavar="FILE", help="measure nothing; print and draw this JSON"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", help="only cells whose name matches, such as '1024x1000'"
    )
    parser.add_argument("--rounds", type=_positive, help="blocks of each contestant, at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: in benches/results/")
    parser.add_argument("--png", type=Path, metavar="FILE", help="default: beside the JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the tables of the README there"
    )
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
