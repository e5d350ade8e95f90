"""Archives of arrays: files of NumPy's ``savez``."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from softlane._cli.errors import CommandError

ARCHIVE = ".npz"


def split_key(name: str, key: str | None = None) -> tuple[Path, str | None]:
    """Return the file and the array's name in it of ``FILE.npz:NAME``, None where there is none.

    A ``key`` that is given counts instead. Only archives have names of arrays.
    """
    path, (before, colon, after) = Path(name), name.rpartition(f"{ARCHIVE}:")
    if colon and not path.exists():
        path, key = Path(before + ARCHIVE), after if key is None else key
    if key is not None and path.suffix != ARCHIVE:
        raise CommandError(f"{path} is no {ARCHIVE} file: it has no array by the name {key!r}")
    return path, key


@contextlib.contextmanager
def member(path: Path, key: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """Open an array of an archive, the only one where no name is given, and tell its bytes."""
    try:
        with path.open("rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise CommandError(f"{path} is an .npy file by another name")
            with zipfile.ZipFile(file) as archive:
                members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
                listed = ", ".join(map(repr, members)) or "no arrays"
                if key is None and len(members) != 1:
                    raise CommandError(f"{path} holds {listed}: choose with {path}:NAME")
                if key is not None and key not in members:
                    raise CommandError(f"{path} holds {listed}, no {key!r}")
                chosen = members[next(iter(members)) if key is None else key]
                with archive.open(chosen) as stream:
                    yield stream, chosen.file_size
    except (CommandError, OSError, MemoryError):
        raise
    except Exception as error:  # what is broken fails in zipfile's, zlib's or NumPy's ways
        raise CommandError(f"{path} cannot be read as an archive of arrays: {error}") from error
