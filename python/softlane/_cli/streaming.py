"""From file to file through little memory, with the bits of one call on the whole array.

In the order of memory, an array and an axis are but three numbers: ``lead`` slabs of ``length`` by
``trail`` entries, rows running along ``length``. Whole rows stay together, so that their bits stay
the same; what of them is held at a time depends on their size:

blocks
    Some slabs, one after another in the file, or the same stretch of all lines of a slab that is
    too large. Each thread reads, computes and writes its own.
strips
    Where these stretches would be too short to be read one by one: gathered from the mapped file,
    and scattered to the other.
rows
    Where a single row is too large: the function itself runs over the mapped files.

Mapped pages count as memory of the process until they are released, which is done all along.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from softlane._cli.errors import CommandError
from softlane._cli.files import Mapped, Npy, refuse_lack_of_space
from softlane._cli.operation import ELEMENTWISE, Operation

BLOCK_BYTES = 1 << 20  # of a thread's block: drowns the cost of a call, stays in the cache
ROW_BYTES = 160 << 20  # of a slab, or some rows of it, that are held at a time
PIECE_BYTES = 4 << 10  # of a line that is read by itself, at least; longer ones where possible
LONG_PIECE = 16  # times as long
MOST_WORKERS = 8  # beyond, files are what is slow
BAND_BYTES = 8 << 20  # of mapped pages that are touched before they are released
AROUND = 128 << 10  # bytes that the system may map around the one asked for
RELEASE_SECONDS = 0.002
LINE = 16  # entries: strips of whole cache lines

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Limits:
    """How much is held in memory at a time."""

    block_bytes: int = BLOCK_BYTES
    row_bytes: int = ROW_BYTES
    piece_bytes: int = PIECE_BYTES


@dataclass(frozen=True)
class _Task:
    """What is read, what is done to it, and where it goes."""

    source: Npy
    target: Npy
    operation: Operation
    lead: int
    length: int
    trail: int
    threads: int
    limits: Limits
    advance: Advance

    @property
    def in_place(self) -> bool:
        return self.source.dtype == self.target.dtype and not self.operation.reduces

    @property
    def kept(self) -> int:
        """The entries of the result for each row."""
        return 1 if self.operation.reduces else self.length

    @property
    def row_bytes(self) -> int:
        """The bytes held for a row and its result."""
        result = 0 if self.in_place else self.kept * self.target.dtype.itemsize
        return max(1, self.length * self.source.dtype.itemsize + result)


def stream(
    source: Npy,
    path: Path,
    operation: Operation,
    *,
    num_threads: int,
    limits: Limits | None = None,
    advance: Advance = lambda _: None,
) -> Npy:
    """Write the result for a file's array to another file.

    Parameters
    ----------
    source : Npy
        What to read.
    path : Path
        The file to write; it is created. In the order of memory of ``source``, C or Fortran's.
    operation : Operation
        What to compute.
    num_threads : int
        At most so many threads.
    limits : Limits, optional
        How much is held at a time.
    advance : callable
        Called with the number of bytes of the input that were done since the last call.

    Returns
    -------
    Npy
        What was written. It has the bits of the function's result for the whole array.

    Raises
    ------
    CommandError
        Where the function would refuse the array, or there is no space for its result.
    """
    limits = limits or Limits()
    dtype, shape = operation.result_like(source.dtype, source.shape, num_threads)
    refuse_lack_of_space(path.parent, prod(shape) * dtype.itemsize)
    target = Npy.create(path, shape, dtype, fortran=source.fortran)
    lead, length, trail = slabs(source, operation)
    task = _Task(source, target, operation, lead, length, trail, num_threads, limits, advance)
    reordered = source.fortran and operation.axis is None and operation.name not in ELEMENTWISE
    if source.size == 0:
        _by_blocks(task, max(1, trail))
    elif reordered or task.row_bytes > limits.row_bytes:
        _by_rows(task, reordered=reordered)
    elif width := _width_of_blocks(task):
        _by_blocks(task, width)
    else:
        _by_strips(task)
    return target


def slabs(source: Npy, operation: Operation) -> tuple[int, int, int]:
    """Return lead, length and trail of an array in the order of its memory."""
    if operation.name in ELEMENTWISE or not source.shape:
        return source.size, 1, 1
    if operation.axis is None:
        return 1, source.size, 1
    axis = operation.axis % len(source.shape)
    before, after = prod(source.shape[:axis]), prod(source.shape[axis + 1 :])
    lead, trail = (after, before) if source.fortran else (before, after)
    return lead, source.shape[axis], trail


# ------------------------------------------------------------------------------------------ blocks


def _width_of_blocks(task: _Task) -> int:
    """Return how many entries of each line a block has, 0 where they would be too few."""
    most = task.limits.row_bytes // task.row_bytes
    # Columns that do not fill a line may need a copy: a whole slab of them must be well below.
    if task.trail <= (most if task.trail == 1 else most // 4):
        return task.trail
    if most > LINE:
        most -= most % LINE
    least = -(-task.limits.piece_bytes // task.source.dtype.itemsize)
    if least > min(most, task.trail):
        return 0
    wanted = max(LONG_PIECE * least, task.limits.block_bytes // task.row_bytes)
    return min(wanted, most, task.trail)


def _by_blocks(task: _Task, width: int) -> None:
    """Run over some slabs at a time, or over ``width`` entries of each line of one."""
    across = -(-task.trail // width)
    part = width * task.row_bytes
    count = max(1, min(task.lead, task.limits.block_bytes // part)) if across == 1 else 1
    blocks = -(-task.lead // count) * across
    affordable = task.limits.row_bytes // (count * part)
    workers = max(1, min(task.threads, MOST_WORKERS, affordable, blocks))
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        shares = [range(first, blocks, workers) for first in range(workers)]
        inner = task.threads if workers == 1 else 1
        started = [pool.submit(_work, task, share, count, width, inner, stop) for share in shares]
        try:
            for done in as_completed(started):
                done.result()
        finally:
            stop.set()  # an error or Ctrl-C ends the others at their next block


def _work(
    task: _Task, share: range, count: int, width: int, num_threads: int, stop: threading.Event
) -> None:
    """Run over a share of the blocks of ``count`` slabs, or of ``width`` entries of each line."""
    given = np.empty(count * task.length * width, task.source.dtype)
    result = given
    if not task.in_place:
        result = np.empty(count * task.kept * width, task.target.dtype)
    across = -(-task.trail // width)
    with (
        cast(RawIOBase, task.source.path.open("rb", buffering=0)) as reader,
        cast(RawIOBase, task.target.path.open("r+b", buffering=0)) as writer,
    ):
        for block in share:
            if stop.is_set():
                return
            slab, column = block // across * count, block % across * width
            slabs, columns = min(count, task.lead - slab), min(width, task.trail - column)
            x = _shaped(given, slabs, task.length, columns)
            y = _shaped(result, slabs, task.kept, columns)
            for piece, first in _pieces(x, task.trail, slab, column):
                _read_into(reader, piece, task.source, first)
            into = y[:, 0] if task.operation.reduces else y
            task.operation.along(x, 1, out=into, num_threads=num_threads)
            for piece, first in _pieces(y, task.trail, slab, column):
                _write_from(writer, piece, task.target, first)
            task.advance(x.nbytes)


def _shaped(buffer: NDArray[Any], *shape: int) -> NDArray[Any]:
    return buffer[: prod(shape)].reshape(shape)


def _pieces(
    x: NDArray[Any], trail: int, slab: int, column: int
) -> Iterator[tuple[NDArray[Any], int]]:
    """Cut a block into what is contiguous in the file, each with its first entry there."""
    _, lines, columns = x.shape
    if columns == trail:
        yield x, slab * lines * trail
        return
    for line in range(lines):
        yield x[0, line], (slab * lines + line) * trail + column


def _bytes_of(x: NDArray[Any]) -> memoryview:
    return x.reshape(-1).view(np.uint8).data


def _read_into(reader: RawIOBase, x: NDArray[Any], file: Npy, first: int) -> None:
    wanted = _bytes_of(x)
    reader.seek(file.offset + first * x.itemsize)
    while wanted:  # a single call reads at most 2 GB
        try:
            got = reader.readinto(wanted)
        except OSError as error:
            error.filename = str(file.path)
            raise
        if not got:
            raise CommandError(f"{file.path} became shorter while it was read")
        wanted = wanted[got:]


def _write_from(writer: RawIOBase, y: NDArray[Any], file: Npy, first: int) -> None:
    left = _bytes_of(y)
    writer.seek(file.offset + first * y.itemsize)
    while left:
        left = left[writer.write(left) :]


# ------------------------------------------------------------------------------------------ strips


def _by_strips(task: _Task) -> None:
    """Run over some rows of a slab at a time, made contiguous on the way."""
    source, target = Mapped(task.source), Mapped(task.target, writable=True)
    x = source.flat.reshape(task.lead, task.length, task.trail)
    y = target.flat.reshape(task.lead, task.kept, task.trail)
    width = min(task.limits.row_bytes // task.row_bytes, task.trail)
    if width > LINE:
        width -= width % LINE
    given = np.empty((width, task.length), task.source.dtype)
    result = given
    if not task.in_place:
        result = np.empty((width, task.kept), task.target.dtype)
    # One thread: page faults of a process wait for each other, two gained nothing.
    for slab, first in product(range(task.lead), range(0, task.trail, width)):
        strip = slice(first, min(first + width, task.trail))
        rows, results = (a[: strip.stop - first] for a in (given, result))
        for band in _bands(x, width):
            rows[:, band] = x[slab, band, strip].T
            source.release(_within(x, slab, band))
        into = results[:, 0] if task.operation.reduces else results
        task.operation.along(rows, 1, out=into, num_threads=task.threads)
        for band in _bands(y, width):
            y[slab, band, strip] = results[:, band].T
            target.release(_within(y, slab, band))
        task.advance(rows.nbytes)


def _within(x: NDArray[Any], slab: int, band: slice) -> slice:
    """Return where a band lies in the flat array."""
    _, length, trail = x.shape
    return slice((slab * length + band.start) * trail, (slab * length + band.stop) * trail)


def _bands(x: NDArray[Any], width: int) -> Iterator[slice]:
    """Cut the rows of a slab so that little is mapped for each of the pieces."""
    _, length, trail = x.shape
    touched = min(trail * x.itemsize, width * x.itemsize + AROUND)
    height = max(1, BAND_BYTES // touched)
    for first in range(0, length, height):
        yield slice(first, min(first + height, length))


# -------------------------------------------------------------------------------------------- rows


def _by_rows(task: _Task, *, reordered: bool) -> None:
    """Run the function over one mapped row after another."""
    source, target = Mapped(task.source), Mapped(task.target, writable=True)
    with _released(source, target):
        if reordered:  # a row of the whole array in an order that is not the file's
            task.operation.along(source.array, None, out=target.array, num_threads=task.threads)
            task.advance(task.source.nbytes)
            return
        x = source.flat.reshape(task.lead, task.length, task.trail)
        y = target.flat.reshape(task.lead, task.kept, task.trail)
        for slab in range(task.lead):
            for lane in range(task.trail):
                row, result = x[slab, :, lane], y[slab, :, lane]
                into = result.reshape(()) if task.operation.reduces else result
                task.operation.along(row, 0, out=into, num_threads=task.threads)
                task.advance(row.nbytes)


@contextmanager
def _released(*files: Mapped) -> Iterator[None]:
    """Release the pages of mapped files again and again while the block runs."""
    done = threading.Event()

    def keep_releasing() -> None:
        while not done.wait(RELEASE_SECONDS):
            for file in files:
                file.release()

    helper = threading.Thread(target=keep_releasing, daemon=True)
    helper.start()
    try:
        yield
    finally:
        done.set()
        helper.join()
