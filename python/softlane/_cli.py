"""The command ``softlane``."""

import argparse
import importlib.util
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import softlane

DEMO_NEEDS = ("matplotlib", "rich", "scipy", "sklearn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "info":
        return info()
    return demo(options.output)


def info() -> int:
    """Print what softlane is and what it runs on."""
    config = softlane.show_config()
    facts = {
        "softlane": config["version"],
        "instruction set": f"{config['isa']} (available: {', '.join(config['isas'])})",
        "threads": str(config["num_threads"]),
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }
    for name, value in facts.items():
        print(f"{name:<16} {value}")
    return 0


def demo(output: Path) -> int:
    """Run the demo, or say what it needs."""
    missing = [name for name in DEMO_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"softlane demo needs {', '.join(missing)}: pip install 'softlane[demo]'",
            file=sys.stderr,
        )
        return 2
    # Imported here: the command must answer without the demo extra.
    from softlane._demo import run

    return run(output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="softlane", description="Softmax for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"softlane {softlane.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="the version, the instruction set, the threads")
    shown = commands.add_parser("demo", help="real images, their probabilities, a picture of them")
    shown.add_argument(
        "--output",
        type=Path,
        default=Path("softlane-demo.png"),
        metavar="PNG",
        help="where the picture goes (default: %(default)s)",
    )
    return parser
