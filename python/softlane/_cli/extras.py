"""Optional dependencies of a command, found before any work."""

import importlib.util
from collections.abc import Iterable
from typing import TextIO

from softlane._cli.errors import CommandError


def has(module: str) -> bool:
    """Tell whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # it is kept from being imported
        return False


def on_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream, which may be closed, is a terminal that rich can draw on."""
    return stream is not None and stream.isatty() and has("rich")


def need(who: str, extra: str, modules: Iterable[str]) -> None:
    """Complain of the modules that are missing, naming the extra that brings them."""
    missing = [name for name in modules if not has(name)]
    if missing:
        raise CommandError(f"{who} needs {', '.join(missing)}: pip install 'softlane[{extra}]'")
