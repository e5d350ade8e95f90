"""``softlane apply``: a function of softlane from file to file."""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

import softlane
from softlane._cli.archives import ARCHIVE, member, split_key
from softlane._cli.errors import CommandError
from softlane._cli.files import (
    Npy,
    refuse_existing,
    refuse_lack_of_space,
    replacing,
    scratch,
)
from softlane._cli.operation import Operation, parse
from softlane._cli.progress import progress
from softlane._cli.streaming import BLOCK_BYTES, ROW_BYTES, Limits, stream


def run(options: argparse.Namespace) -> int:
    """Apply the function that the options name to the array that they name."""
    operation = parse(options.op, options.axis, options.temperature, options.dtype)
    threads = softlane.get_num_threads() if options.threads is None else options.threads
    limits = Limits(options.block_bytes or BLOCK_BYTES, options.row_bytes or ROW_BYTES)
    path, key = split_key(options.input, options.key)
    started = time.perf_counter()
    source = None if path.suffix == ARCHIVE else Npy.open(path)
    output = _output(path, key, operation, options.output)
    refuse_existing(output, force=options.force)
    with ExitStack() as stack:
        part = stack.enter_context(replacing(output))
        if source is None:
            room = stack.enter_context(scratch(output.parent))
            source = _unpacked(path, key, room, quiet=options.quiet)
        with progress(path.name, source.nbytes, quiet=options.quiet) as advance:
            written = stream(
                source, part, operation, num_threads=threads, limits=limits, advance=advance
            )
        refuse_existing(output, force=options.force)  # somebody else's, meanwhile
    if not options.quiet:
        seconds = time.perf_counter() - started
        done, speed = _amount(source.nbytes), _amount(source.nbytes / seconds)
        what = f"{written.dtype} {written.shape}"
        print(f"{output}: {what}, from {done} in {seconds:.2f} s, {speed}/s")
    return 0


def _output(path: Path, key: str | None, operation: Operation, given: str | None) -> Path:
    """Return where the result goes: as was asked for, or beside the input."""
    if given is None:
        stem = path.stem if key is None else f"{path.stem}.{key.replace('/', '.')}"
        return path.with_name(f"{stem}.{operation.name}.npy")
    if Path(given).suffix == ARCHIVE:
        raise CommandError(f"{given} cannot be written: the output is a plain .npy file")
    return Path(given)


def _unpacked(path: Path, key: str | None, room: Path, *, quiet: bool) -> Npy:
    """Copy an array of an archive to a file of its own, where it can be read in any order."""
    with member(path, key) as (packed, size), room.open("wb") as file:
        refuse_lack_of_space(room.parent, size)
        with progress(f"unpacking {path.name}", size, quiet=quiet) as advance:
            while some := packed.read(BLOCK_BYTES):
                file.write(some)
                advance(len(some))
    return Npy.open(room, known_as=f"{path}:{key}" if key else str(path))


def _amount(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
