"""A progress bar where there is a terminal and rich to draw it; nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from softlane._cli.extras import on_terminal

WORTH_SHOWING = 64 << 20  # bytes: what is smaller is over before one could read it


@contextmanager
def progress(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the bytes that were done."""
    if quiet or total < WORTH_SHOWING or not on_terminal(sys.stderr):
        yield lambda _: None
        return
    # Imported here: it costs more than a small file's work.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Give a function to call with the name of each step."""
    if not on_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda step: status.update(f"{what}: {step}")
