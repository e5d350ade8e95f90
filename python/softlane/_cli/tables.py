"""Tables: rich's on a terminal, plain columns in a pipe or where rich is not installed."""

import sys
from collections.abc import Sequence

from softlane._cli.extras import on_terminal

Cells = Sequence[str]


def show(columns: Cells, rows: Sequence[Cells], *, title: str | None = None) -> None:
    """Print a table: the first column to the left, the others, of numbers, to the right."""
    if on_terminal(sys.stdout):
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for number, name in enumerate(columns):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(highlight=False).print(table)
        return
    if title:
        print(title)
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        first, *others = zip(row, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        print("  ".join(cells).rstrip())
    print()
