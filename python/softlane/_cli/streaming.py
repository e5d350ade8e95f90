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
scratch
    Where such a row is not contiguous: as the last, in a file to which the rows are brought.

Mapped pages count as memory of the process until they are released, which is done all along.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softlane._cli.files import Mapped, Npy, refuse_lack_of_space, scratch
from softlane._cli.operation import ELEMENTWISE, Operation
from softlane._cli.pieces import opened, read_part, reverse_axes, shaped, share_out, write_part

BLOCK_BYTES = 1 << 20  # of a thread's block: drowns the cost of a call, stays in the cache
ROW_BYTES = 160 << 20  # of a slab, or some rows of it, that are held at a time
PIECE_BYTES = 4 << 10  # of a line that is read by itself, at least; longer ones where possible
LONG_PIECE = 16  # times as long
MOST_WORKERS = 8  # beyond, files are what is slow
BAND_BYTES = 8 << 20  # of mapped pages that are touched before they are released
AROUND = 128 << 10  # bytes that the system may map around the one asked for
RELEASE_SECONDS = 0.002
BOXES = 8  # and their transpositions are the eighth part of what is held
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
    if source.fortran and operation.axis is None and operation.name not in ELEMENTWISE:
        # A row of the whole array, in an order that is not the file's.
        _by_scratch(task, source.shape[::-1])
    else:
        _run(task)
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


def _run(task: _Task) -> None:
    """Take the way that suits the size of rows, and how far apart their entries are."""
    if task.source.size == 0:
        _by_blocks(task, max(1, task.trail))
    elif width := _width_of_blocks(task):
        _by_blocks(task, width)
    elif task.trail == 1:
        _by_rows(task)
    elif task.row_bytes > task.limits.row_bytes:
        _by_scratch(task, (task.length, task.trail))
    else:
        _by_strips(task)


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
    inner = task.threads if workers == 1 else 1

    def work(share: Iterator[int]) -> None:
        given = np.empty(count * task.length * width, task.source.dtype)
        result = given
        if not task.in_place:
            result = np.empty(count * task.kept * width, task.target.dtype)
        with opened(task.source, task.target) as (reader, writer):
            for block in share:
                start = block // across * count, 0, block % across * width
                slabs, columns = min(count, task.lead - start[0]), min(width, task.trail - start[2])
                x = shaped(given, slabs, task.length, columns)
                y = shaped(result, slabs, task.kept, columns)
                read_part(reader, x, task.source, (task.lead, task.length, task.trail), start)
                into = y[:, 0] if task.operation.reduces else y
                task.operation.along(x, 1, out=into, num_threads=inner)
                write_part(writer, y, task.target, (task.lead, task.kept, task.trail), start)
                task.advance(x.nbytes)

    share_out(lambda: range(blocks), workers, work)


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


def _by_rows(task: _Task) -> None:
    """Run the function over one mapped row after another, each of them contiguous."""
    target = Mapped(task.target, writable=True)
    source = target if task.source == task.target else Mapped(task.source)
    x = source.flat.reshape(task.lead, task.length)
    y = target.flat.reshape(task.lead, task.kept)
    with _released({source, target}):
        for row, result in zip(x, y, strict=True):
            into = result.reshape(()) if task.operation.reduces else result
            task.operation.along(row, 0, out=into, num_threads=task.threads)
            task.advance(row.nbytes)


@contextmanager
def _released(files: set[Mapped]) -> Iterator[None]:
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


# ----------------------------------------------------------------------------------------- scratch


def _by_scratch(task: _Task, shape: tuple[int, ...]) -> None:
    """Run over rows that are contiguous when the axes of a slab, of ``shape``, are in reverse."""
    turned, kept = shape[::-1], task.kept * task.trail
    size = task.length * task.trail
    itemsizes = [task.source.dtype.itemsize]
    if not (task.in_place or task.operation.reduces):
        itemsizes.append(task.target.dtype.itemsize)
    folder = task.target.path.parent
    refuse_lack_of_space(folder, task.target.nbytes + size * sum(itemsizes))
    workers = max(1, min(task.threads, MOST_WORKERS))
    room = task.limits.row_bytes // (BOXES * workers * max(itemsizes))
    run = max(LINE, min(isqrt(room), LONG_PIECE * task.limits.piece_bytes // max(itemsizes)))
    advance = _in_steps(task.advance, 2 if task.operation.reduces else 3)

    def reverse(x: Npy, y: Npy, shape: tuple[int, ...]) -> None:
        def done(entries: int) -> None:
            advance(entries * task.source.dtype.itemsize)

        reverse_axes(x, y, shape, run=run, workers=workers, advance=done)

    with ExitStack() as stack:
        path = stack.enter_context(scratch(folder))
        rows = results = Npy(path, turned, task.source.dtype, fortran=False, offset=0)
        if len(itemsizes) > 1:
            path = stack.enter_context(scratch(folder))
            results = Npy(path, turned, task.target.dtype, fortran=False, offset=0)
        for slab in range(task.lead):
            target = task.target.part(slab * kept, kept)
            reverse(task.source.part(slab * size, size), rows, shape)
            into = target if task.operation.reduces else results
            _run(replace(task, source=rows, target=into, lead=task.trail, trail=1, advance=advance))
            if not task.operation.reduces:
                reverse(results, target, turned)


def _in_steps(advance: Advance, count: int) -> Advance:
    """Return what is called with all bytes in each of some steps."""
    lock = threading.Lock()
    done = 0

    def step(more: int) -> None:
        nonlocal done
        with lock:
            before = done // count
            done += more
            more = done // count - before
        advance(more)

    return step
