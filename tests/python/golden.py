"""Golden hashes: the bits of every function on a fixed corpus, so that none changes by accident.

The corpus comes from integer arithmetic and exact scaling alone, so it is the same for every NumPy,
libm and machine. After a change of bits that is meant, record the new ones with ::

    python tests/python/golden.py --update

Without an option the hashes are printed as JSON; `test_bits.py` runs that on every instruction set.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import softlane

GOLDEN = Path(__file__).with_name("golden.json")

# Around every width of vector and tree a kernel may have, and beyond a chunk of a shared row.
LENGTHS = (
    *range(1, 36),
    *(47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 511, 512, 513),
    *(1000, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097, 5000, 8191, 8193),
    *(16_385, 32_769, 65_537, 262_147),
)
ROWS = 5
SPREADS = (2.0**-6, 4.0, 32.0, 256.0, 2.0**100)  # powers of two: scaling by them is exact
TEMPERATURES = (1.0, 0.1, 0.5, 3.7, 1e3)


def _splitmix64(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 hashed bits per counter (Steele, Lea and Flood, OOPSLA 2014)."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(shape: tuple[int, ...], dtype: Any, *, spread: float = 8.0, seed: int = 0) -> Any:
    """Return numbers evenly spread over [-spread, spread), each exact in ``dtype``."""
    dtype = np.dtype(dtype)
    bits = ml_dtypes.finfo(dtype).nmant + 1
    size = int(np.prod(shape, dtype=np.int64))
    counter = np.arange(1, size + 1, dtype=np.uint64) + np.uint64(seed << 32)
    integers = (_splitmix64(counter) >> np.uint64(64 - bits)).astype(np.int64) - (1 << (bits - 1))
    scaled = integers.astype(np.float64) * (spread * 2.0 ** (1 - bits))
    return scaled.astype(dtype).reshape(shape)


def logits(length: int, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield rows narrow, wide and very wide, with ties, -inf and negative zero among them."""
    for spread in SPREADS:
        x = values((ROWS, length), dtype, spread=spread, seed=length)
        yield (x,)
    x[0, ::3] = x[0, 0]
    x[1, 1::2] = -np.inf
    x[2, ::2] = -0.0
    yield (x,)


def gradients(length: int, dtype: Any) -> Iterator[tuple[Any, ...]]:
    """Yield probabilities, even and with one near 1, and cotangents for them."""
    dy = values((ROWS, length), dtype, spread=4.0, seed=length + 1)
    # From integers too: the hash of a gradient must not hang on the bits of softmax.
    y = np.abs(values((ROWS, length), dtype, spread=2.0, seed=length)) / np.dtype(dtype).type(
        length
    )
    yield y, dy
    y *= np.dtype(dtype).type(2.0**-12)
    y[np.arange(ROWS), np.arange(ROWS) % length] = 1 - np.dtype(dtype).type(2.0**-12)
    yield y, dy


CORPORA: dict[str, Callable[[int, Any], Iterator[tuple[Any, ...]]]] = {
    "softmax": logits,
    "softmax_vjp": gradients,
    "softmax_jvp": gradients,
}


def digests(name: str, dtype: str) -> Iterator[tuple[str, str]]:
    """Yield what a function gives for each length: a key, and the SHA-256 of all its bits."""
    function = getattr(softlane, name)
    for length in LENGTHS:
        digest = hashlib.sha256()
        for arrays in CORPORA[name](length, dtype):
            for temperature in TEMPERATURES:
                result = function(*arrays, temperature=temperature)
                little = result.dtype.newbyteorder("<")
                # The sign and payload of NaN are free by IEEE 754; every other bit counts.
                result[np.isnan(result)] = np.nan
                digest.update(np.ascontiguousarray(result, little).tobytes())
        yield f"{name} {dtype} {length}", digest.hexdigest()


def all_digests() -> dict[str, str]:
    """Return every golden hash there is, by its key."""
    return {
        key: digest
        for name in CORPORA
        for dtype in ("float32", "float64")
        for key, digest in digests(name, dtype)
    }


def main(arguments: list[str]) -> None:
    text = json.dumps(all_digests(), indent=0) + "\n"
    if arguments == ["--update"]:
        GOLDEN.write_text(text, encoding="utf-8")
    elif not arguments:
        sys.stdout.write(text)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
