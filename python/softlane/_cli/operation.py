"""A function of softlane with its options, as the command line gives them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import softlane
from softlane._cli.errors import CommandError

ELEMENTWISE = ("sigmoid", "log_sigmoid")
REDUCING = ("logsumexp",)
TEMPERED = ("softmax", "log_softmax", "softmin")
NAMES = (*TEMPERED, *REDUCING, *ELEMENTWISE)
DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Operation:
    """What is done to an array; ``axis`` None is the whole of it."""

    name: str
    axis: int | None
    temperature: float = 1.0
    dtype: str | None = None

    @property
    def reduces(self) -> bool:
        """Whether the result has one entry a row."""
        return self.name in REDUCING

    def along(
        self,
        x: NDArray[Any],
        axis: int | None,
        *,
        out: NDArray[Any] | None = None,
        num_threads: int | None = None,
    ) -> Any:
        """Apply it along an axis other than its own."""
        options: dict[str, Any] = {"out": out, "dtype": self.dtype, "num_threads": num_threads}
        if self.name not in ELEMENTWISE:
            options["axis"] = axis
        if self.name in TEMPERED:
            options["temperature"] = self.temperature
        return getattr(softlane, self.name)(x, **options)

    def result_like(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], num_threads: int | None
    ) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return dtype and shape of the result, or complain as the function would."""
        try:
            probe = np.zeros((1,) * len(shape), dtype)
            result = self.along(probe, self.axis, num_threads=num_threads)
        except (TypeError, ValueError, OverflowError) as error:  # AxisError is a ValueError
            # The functions call their input x.
            what = str(error).replace("x has dtype", "the array has dtype")
            raise CommandError(f"{self.name}: {what}") from error
        if not self.reduces:
            return result.dtype, shape
        if self.axis is None or not shape:
            return result.dtype, ()
        axis = self.axis % len(shape)
        return result.dtype, shape[:axis] + shape[axis + 1 :]


def parse(name: str, axis: str | None, temperature: float | None, dtype: str | None) -> Operation:
    """Return the operation of some options, or complain of them."""
    if name not in NAMES:
        raise CommandError(f"--op is {name!r}, expected one of {', '.join(NAMES)}")
    if temperature is not None and name not in TEMPERED:
        raise CommandError(f"{name} has no temperature; {', '.join(TEMPERED)} have one")
    if axis is not None and name in ELEMENTWISE:
        raise CommandError(f"{name} is of each entry alone: it has no axis")
    if dtype is not None and dtype not in DTYPES:
        raise CommandError(f"--dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    chosen: int | None = None if name in REDUCING else -1
    if axis is not None:
        try:
            chosen = None if axis.lower() == "none" else int(axis)
        except ValueError:
            raise CommandError(f"--axis is {axis!r}, expected an integer or 'none'") from None
    return Operation(name, chosen, 1.0 if temperature is None else temperature, dtype)
