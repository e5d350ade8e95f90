"""The command ``softlane``: one module a subcommand, loaded when it is asked for."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Never

import softlane
from softlane._cli.errors import CommandError
from softlane._cli.signals import signals_raise

MISTAKE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 2 a complaint in one line on the standard error, 130 Ctrl-C, 141 a reader of the
    output that has gone, as shells count them.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # An old code page must cost a name or a block of an image, not the whole command.
        sys.stdout.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        with signals_raise():
            status = _run(options)
        if sys.stdout is not None:  # it may be closed, where print goes nowhere
            sys.stdout.flush()
    except CommandError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has no reader: let the flush at exit go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}")
    except MemoryError:
        return _complain("not enough memory")
    return status


def _run(options: argparse.Namespace) -> int:
    # Each loads what it needs and no more: `info` and `apply` answer without any extra.
    if options.command == "info":
        from softlane._cli.info import run as info

        return info()
    if options.command == "apply":
        from softlane._cli.apply import run as apply

        return apply(options)
    if options.command == "report":
        from softlane._cli.report import run as report

        return report(options)
    if options.command == "bench":
        from softlane._cli.bench import run as bench

        return bench(options.seconds)
    from softlane._cli.demo import run as demo

    return demo(options.output)


def _complain(what: str) -> int:
    print("softlane: " + " ".join(what.split()), file=sys.stderr)
    return MISTAKE


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others of the command are."""

    def error(self, message: str) -> Never:
        self.exit(_complain(f"{message} (see {self.prog} --help)"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="softlane", description="Softmax for NumPy arrays.")
    parser.add_argument("--version", action="version", version=f"softlane {softlane.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="the version, the instruction set, the threads")
    _add_apply(commands.add_parser("apply", help="softmax of a file, whatever its size"))
    _add_report(commands.add_parser("report", help="how far a classifier's probabilities hold"))
    bench = commands.add_parser("bench", help="a quick side-by-side with what is installed")
    bench.add_argument(
        "--seconds",
        type=float,
        default=12.0,
        help="about how long to measure (default: %(default)s)",
    )
    demo = commands.add_parser("demo", help="real images, their probabilities, a picture of them")
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("softlane-demo.png"),
        metavar="PNG",
        help="where the picture goes (default: %(default)s)",
    )
    return parser


def _add_apply(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Apply a function to an array in a file, block by block: the memory used does not grow "
        "with the file. The output appears under its name when it is complete, or not at all."
    )
    add = parser.add_argument
    add("input", metavar="IN.npy", help="an .npy file; of an archive, FILE.npz:NAME")
    add("-o", "--output", metavar="OUT.npy", help="default: IN.softmax.npy, or as the function is")
    add("--op", default="softmax", metavar="NAME", help="softmax (default), log_softmax, softmin, "
        "logsumexp, sigmoid or log_sigmoid")  # fmt: skip
    add("--axis", metavar="N", help="an axis, or 'none' for the whole array (default: the last; "
        "for logsumexp the whole array)")  # fmt: skip
    add("--temperature", type=float, metavar="T", help="divide by it first (default: 1)")
    add("--dtype", metavar="NAME", help="of the output: float16, float32 or float64")
    add("--threads", type=int, metavar="N", help="default: as softlane info says")
    add("--key", metavar="NAME", help="the array of an .npz file")
    add("-f", "--force", action="store_true", help="replace the output where it exists")
    add("-q", "--quiet", action="store_true", help="no progress, no summary")
    # For tests: sizes that make many blocks of a small file.
    add("--block-bytes", type=int, help=argparse.SUPPRESS)
    add("--row-bytes", type=int, help=argparse.SUPPRESS)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Accuracy and calibration of a classifier. A temperature is fitted on one part of the "
        "rows; all figures are of the others."
    )
    add = parser.add_argument
    add("logits", metavar="LOGITS", help="(n, classes) in .npy, .csv, or FILE.npz:NAME")
    add("labels", metavar="LABELS", help="(n,), the true classes, in the same kinds of file")
    add("--png", type=Path, metavar="FILE", help="draw the reliability before and after")
    add("--seed", type=int, default=0, metavar="N", help="of the split (default: %(default)s)")
    add("--holdout", type=float, default=0.5, metavar="SHARE",
        help="of the rows, which the figures are of (default: %(default)s)")  # fmt: skip
    add("-f", "--force", action="store_true", help="replace the picture where it exists")
