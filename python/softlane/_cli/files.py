"""Arrays in files: read with errors that a user understands, written whole or not at all."""

import contextlib
import mmap
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from softlane._cli.archives import ARCHIVE, member, split_key
from softlane._cli.errors import CommandError


@dataclass(frozen=True)
class Npy:
    """An array in an ``.npy`` file: what its header says, and where the data begin."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @classmethod
    def open(cls, path: Path, known_as: str | None = None) -> Self:
        """Read the header, and see that the file holds what it promises."""
        name = known_as or path
        if path.is_dir():
            raise CommandError(f"{name} is a directory, expected a file")
        if path.exists() and not path.is_file():
            raise CommandError(f"{name} is no regular file: it cannot be read in blocks")
        with path.open("rb") as file:
            magic = file.read(len(npy.MAGIC_PREFIX))
            size = os.fstat(file.fileno()).st_size
        if not magic:
            raise CommandError(f"{name} is empty")
        if magic != npy.MAGIC_PREFIX:
            raise CommandError(f"{name} is no .npy file: it begins with {magic!r}")
        try:
            # Of odd headers NumPy warns before it fails, and of those of Python 2.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return cls._of(path, npy.open_memmap(path, mode="r"))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # what is no header fails in NumPy's or the tokenizer's ways
            if "mmap" in str(error) or isinstance(error, OverflowError):
                raise CommandError(
                    f"{name} is truncated: its {size} bytes do not hold the array of its header"
                ) from error
            if "Python objects" in str(error):
                raise CommandError(f"{name} holds Python objects, expected numbers") from error
            raise CommandError(f"{name} has a header that cannot be read: {error}") from error

    @classmethod
    def create(
        cls, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool
    ) -> Self:
        """Write a header, and make the file as long as the array needs."""
        fortran = fortran and sum(n > 1 for n in shape) > 1 and 0 not in shape  # as numpy.save
        return cls._of(path, npy.open_memmap(path, "w+", dtype, shape, fortran))

    @classmethod
    def _of(cls, path: Path, opened: "np.memmap[Any, np.dtype[Any]]") -> Self:
        fortran = opened.flags.f_contiguous and not opened.flags.c_contiguous
        return cls(path, opened.shape, opened.dtype, fortran, opened.offset)

    def part(self, first: int, size: int) -> Self:
        """Return some entries, in the order of the file, as an array of one dimension."""
        offset = self.offset + first * self.dtype.itemsize
        return replace(self, shape=(size,), fortran=False, offset=offset)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """The bytes of the data."""
        return self.size * self.dtype.itemsize


class Mapped:
    """The array of a file in memory that the file backs."""

    def __init__(self, file: Npy, *, writable: bool = False) -> None:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with file.path.open("r+b" if writable else "rb") as handle:
            if writable and hasattr(os, "posix_fallocate"):
                # A full disk must be an error here, and no SIGBUS at some store later.
                os.posix_fallocate(handle.fileno(), 0, file.offset + file.nbytes)
            self._pages = mmap.mmap(handle.fileno(), 0, access=access)
        self._offset = file.offset
        self.flat: NDArray[Any] = np.ndarray((file.size,), file.dtype, self._pages, file.offset)
        shape = file.shape[::-1] if file.fortran else file.shape
        in_memory = self.flat.reshape(shape)
        self.array: NDArray[Any] = in_memory.T if file.fortran else in_memory

    def release(self, part: slice | None = None) -> None:
        """Give pages back to the system: all, or those with a part of ``flat``.

        The file keeps what was written to them.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            start, length = 0, len(self._pages)
            if part is not None:
                itemsize = self.flat.itemsize
                start = self._offset + part.start * itemsize
                end = self._offset + part.stop * itemsize
                start -= start % mmap.PAGESIZE
                length = min(end, length) - start
            if length > 0:
                self._pages.madvise(mmap.MADV_DONTNEED, start, length)


def read(name: str, key: str | None = None) -> NDArray[Any]:
    """Return the array of an ``.npy`` or ``.csv`` file, or one of an ``.npz`` file, whole."""
    path, key = split_key(name, key)
    if path.suffix == ARCHIVE:
        with member(path, key) as (stream, _):
            packed: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return packed
    if path.suffix == ".csv":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # that there are no data
                table: NDArray[np.float64] = np.loadtxt(
                    path, delimiter=",", ndmin=1, encoding="utf-8-sig"
                )
        except (ValueError, UserWarning) as error:
            raise CommandError(f"{path} cannot be read as numbers: {error}") from error
        return table
    Npy.open(path)  # for its complaints
    try:
        plain: NDArray[Any] = np.load(path, allow_pickle=False)
    except ValueError as error:  # dtypes of no bytes, or of several entries
        raise CommandError(f"{path} cannot be read as an array: {error}") from error
    return plain


def refuse_existing(path: Path, *, force: bool) -> None:
    """Complain of a file in the way, and of what is no file at all."""
    if path.is_dir():
        raise CommandError(f"{path} is a directory, expected a file")
    if not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is no regular file: it cannot be replaced")
    if path.exists() and not force:
        raise CommandError(f"{path} exists: choose another name, or replace it with --force")


def refuse_lack_of_space(folder: Path, wanted: int) -> None:
    """Complain where a file of so many bytes has no place."""
    total, _, free = shutil.disk_usage(folder)
    if wanted > free and total > 0:  # some systems of no disk say 0
        raise CommandError(f"not enough space in {folder}: {wanted} bytes wanted, {free} free")


def temporary_name(kind: str) -> str:
    """Return a name that no other file has."""
    return f".softlane-{secrets.token_hex(4)}.{kind}"


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give a temporary file that is gone afterwards."""
    path = folder / temporary_name("scratch")
    try:
        with path.open("xb"):
            pass
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(final: Path) -> Iterator[Path]:
    """Give a temporary name beside a file's own, which it takes over when all went well.

    Whatever ends the block leaves no temporary file; only a kill that no program sees can do that.
    """
    # The target of a link is what is replaced. A short name: the final one may be as long as any.
    try:
        final = final.resolve()
    except RuntimeError as error:  # OSError from Python 3.13 on
        raise CommandError(f"{final} cannot be written: it is a link to itself") from error
    part = final.with_name(temporary_name("part"))
    try:
        yield part
        if final.exists():
            shutil.copymode(final, part)
            # What is replaced is gone: the new one must be on the disk, should the power fail.
            # Elsewhere this would take longer than all the rest, to save what can be made again.
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        part.replace(final)
    except OSError as error:
        # Writing knows no name, and the temporary one is none that the user has seen.
        if error.filename in (None, str(part)):
            error.filename = str(final)
        raise
    finally:
        # Where it could not be written, it cannot be removed either, and that is no news.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
