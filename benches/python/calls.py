"""A call to be timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .cell import Mode
from .problem import Array


def as_arrays(result: Any) -> tuple[Array, ...]:
    """Return one result or a tuple of them as NumPy arrays."""
    return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))


@dataclass(frozen=True, slots=True)
class Call:
    """An expression to time.

    Text rather than a function: the timing loop then holds the very call a user writes, and the
    cost of a wrapper does not blur calls that take a few hundred nanoseconds.

    ``context`` makes what must be entered around the call, and is not part of its time.
    """

    mode: Mode
    expression: str
    names: dict[str, Any]
    to_numpy: Callable[[Any], tuple[Array, ...]] = as_arrays
    context: Callable[[], AbstractContextManager[Any]] = nullcontext

    def evaluate(self) -> tuple[Array, ...]:
        """Run the call once and return its results as NumPy arrays."""
        with self.context():
            return self.to_numpy(eval(self.expression, dict(self.names)))


Calls: TypeAlias = Iterator[Call]
