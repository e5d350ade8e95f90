"""The build backend of the wheel: maturin, which compresses the extension as well as deflate can.

maturin's default level leaves the wheel 3 % larger, and its part of ``pyproject.toml`` has no word
for the level, so it is said here, where no arguments of the user's own (``MATURIN_PEP517_ARGS`` or
``build-args``) are in the way.
"""

import os

from maturin import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

os.environ.setdefault("MATURIN_PEP517_ARGS", "--compression-level 9")
