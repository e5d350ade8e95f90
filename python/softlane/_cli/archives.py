"""Archives of arrays: files of NumPy's ``savez``."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from softlane._cli.errors import CommandError

ARCHIVE = ".npz"


def split_key(name: str) -> tuple[Path, str | None]:
    """Return the file and the array's name in it of ``FILE.npz:NAME``, None where there is none."""
    path, colon, key = name.rpartition(f"{ARCHIVE}:")
    if colon and not Path(name).exists():
        return Path(path + ARCHIVE), key
    return Path(name), None


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
