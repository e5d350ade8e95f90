"""Parts of arrays in files: read and written piece by piece, and brought into another order."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from io import RawIOBase
from itertools import islice, product
from math import prod
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from softlane._cli.errors import CommandError
from softlane._cli.files import Npy

Part = TypeVar("Part")


@contextmanager
def opened(source: Npy, target: Npy) -> Iterator[tuple[RawIOBase, RawIOBase]]:
    """Open one file for reading, another for writing; they may be the same."""
    with (
        cast(RawIOBase, source.path.open("rb", buffering=0)) as reader,
        cast(RawIOBase, target.path.open("r+b", buffering=0)) as writer,
    ):
        yield reader, writer


def shaped(buffer: NDArray[Any], *shape: int) -> NDArray[Any]:
    """Return the beginning of a buffer as an array."""
    return buffer[: prod(shape)].reshape(shape)


def read_part(
    reader: RawIOBase, x: NDArray[Any], file: Npy, shape: Sequence[int], start: Sequence[int]
) -> None:
    """Read what lies from the index ``start`` on in an array of ``shape``, in C order."""
    for wanted in _pieces(reader, x, file, shape, start):
        while wanted:  # a single call reads at most 2 GB
            try:
                got = reader.readinto(wanted)
            except OSError as error:
                error.filename = str(file.path)
                raise
            if not got:
                raise CommandError(f"{file.path} became shorter while it was read")
            wanted = wanted[got:]


def write_part(
    writer: RawIOBase, y: NDArray[Any], file: Npy, shape: Sequence[int], start: Sequence[int]
) -> None:
    """Write what lies from the index ``start`` on in an array of ``shape``, in C order."""
    for left in _pieces(writer, y, file, shape, start):
        while left:
            left = left[writer.write(left) :]


def _pieces(
    raw: RawIOBase, x: NDArray[Any], file: Npy, shape: Sequence[int], start: Sequence[int]
) -> Iterator[memoryview]:
    """Give the bytes of what of a part is contiguous in the file, which is brought there first."""
    axis = x.ndim - 1
    while axis > 0 and x.shape[axis] == shape[axis]:
        axis -= 1
    steps = [prod(shape[i + 1 :]) for i in range(x.ndim)]
    origin = sum(i * step for i, step in zip(start, steps, strict=True))
    for index in np.ndindex(x.shape[:axis]):
        first = origin + sum(i * step for i, step in zip(index, steps, strict=False))
        raw.seek(file.offset + first * x.itemsize)
        yield x[index].reshape(-1).view(np.uint8).data


def share_out(
    parts: Callable[[], Iterable[Part]],
    workers: int,
    work: Callable[[Iterator[Part]], None],
) -> None:
    """Call ``work`` in each of some threads with every so many-th of the parts."""
    stop = threading.Event()

    def until_stopped(first: int) -> Iterator[Part]:
        for part in islice(parts(), first, None, workers):
            if stop.is_set():
                return
            yield part

    with ThreadPoolExecutor(workers) as pool:
        started = [pool.submit(work, until_stopped(first)) for first in range(workers)]
        try:
            for done in as_completed(started):
                done.result()
        finally:
            stop.set()  # an error or Ctrl-C ends the others at their next part


def reverse_axes(
    source: Npy,
    target: Npy,
    shape: Sequence[int],
    *,
    run: int,
    workers: int,
    advance: Callable[[int], None],
) -> None:
    """Write an array of ``shape``, in C order, to another file with its axes in reverse.

    By boxes in which, where the array allows it, ``run`` entries or a little less are contiguous in
    either file; a box has at most ``run`` squared of them. ``advance`` is called with the number of
    entries that were done since the last call.
    """
    box = _box(shape, run)

    def work(starts: Iterator[tuple[int, ...]]) -> None:
        given = np.empty(prod(box), source.dtype)
        turned = np.empty_like(given)
        with opened(source, target) as (reader, writer):
            for start in starts:
                lengths = [
                    min(n, whole - at) for n, whole, at in zip(box, shape, start, strict=True)
                ]
                x, y = shaped(given, *lengths), shaped(turned, *lengths[::-1])
                read_part(reader, x, source, shape, start)
                if len(x) < x.shape[-1]:  # NumPy would have the shorter loop inside
                    for i, part in enumerate(x):
                        y[..., i] = part.T
                else:
                    np.copyto(y, x.T)
                write_part(writer, y, target, shape[::-1], start[::-1])
                advance(x.size)

    ranges = [range(0, whole, n) for n, whole in zip(box, shape, strict=True)]
    share_out(lambda: product(*ranges), workers, work)


def _box(shape: Sequence[int], run: int) -> list[int]:
    """Return the shape of a box: long along the last axes and along the first."""
    box = [1] * len(shape)
    for axes in (range(len(shape) - 1, -1, -1), range(len(shape))):
        left = run
        for axis in axes:
            box[axis] = max(box[axis], min(shape[axis], left))
            left //= shape[axis]
            if left == 0:
                break
    return box
