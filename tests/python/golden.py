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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

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


# Of what came later: one or two lengths for each way through a kernel.
FEWER_LENGTHS = (
    *(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 129, 255, 257),
    *(1000, 1025, 4097, 16_385, 65_537),
)
FEWER_TEMPERATURES = (1.0, 0.1, 3.7)
FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]  # the arrays, and options beside them


@dataclass(frozen=True)
class Corpus:
    """A function, and the calls whose results are hashed, by length and dtype."""

    function: str
    calls: Callable[[int, Any], Iterator[Call]]
    dtypes: tuple[str, ...] = (*FLOATS, *HALVES)
    lengths: tuple[int, ...] = FEWER_LENGTHS
    temperatures: tuple[float | None, ...] = ()  # none here: those of the lengths
    options: dict[str, Any] = field(default_factory=dict)


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


def logits(length: int, dtype: Any) -> Iterator[Call]:
    """Yield rows narrow, wide and very wide, with ties, -inf and negative zero among them."""
    widest = 2.0**14 if dtype == "float16" else SPREADS[-1]
    for spread in SPREADS:
        x = values((ROWS, length), dtype, spread=min(spread, widest), seed=length)
        yield (x,), {}
    x[0, ::3] = x[0, 0]
    x[1, 1::2] = -np.inf
    x[2, ::2] = -0.0
    yield (x,), {}


def gradients(length: int, dtype: Any) -> Iterator[Call]:
    """Yield probabilities, even and with one near 1, and cotangents for them."""
    dy = values((ROWS, length), dtype, spread=4.0, seed=length + 1)
    # From integers too: the hash of a gradient must not hang on the bits of softmax.
    divisor = np.dtype(dtype).type(min(length, 2**15) if dtype == "float16" else length)
    y = np.abs(values((ROWS, length), dtype, spread=2.0, seed=length)) / divisor
    yield (y, dy), {}
    y *= np.dtype(dtype).type(2.0**-12)
    y[np.arange(ROWS), np.arange(ROWS) % length] = 1 - np.dtype(dtype).type(2.0**-12)
    yield (y, dy), {}


def mask(length: int) -> NDArray[np.bool_]:
    """Return a mask: nothing hidden, all, a half, every third entry, and no pattern."""
    kept: NDArray[np.bool_] = values((ROWS, length), np.float32, seed=length + 2) < 0
    kept[0], kept[1] = True, False
    kept[2], kept[3] = np.arange(length) < (length + 1) // 2, np.arange(length) % 3 != 0
    return kept


def masked(length: int, dtype: Any) -> Iterator[Call]:
    """Yield rows with masks, one a row or the same for all, and NaN and inf hidden by them."""
    kept = mask(length)
    for spread in (4.0, 256.0):
        x = values((ROWS, length), dtype, spread=spread, seed=length)
        yield (x,), {"where": kept[4]}
        x[~kept] = np.resize([np.nan, np.inf, 1.0], (~kept).sum())
        yield (x,), {"where": kept}


def weighted(length: int, dtype: Any) -> Iterator[Call]:
    """Yield rows with weights of either sign and 0, with and without a mask."""
    b = values((ROWS, length), dtype, spread=2.0, seed=length + 3)
    b[1, ::3] = 0
    b[3] = np.abs(b[3])
    for spread in (2.0**-6, 4.0, 256.0):
        x = values((ROWS, length), dtype, spread=spread, seed=length)
        yield (x,), {"b": b, "return_sign": True}
        yield (x,), {"b": b, "return_sign": True, "where": mask(length)}


def scores(length: int, dtype: Any) -> Any:
    """Return rows of logits, one of them nearly certain, one with a NaN."""
    x = values((ROWS, length), dtype, spread=8.0, seed=length)
    x[1, length // 2] = 64
    x[2, length // 3] = np.nan
    return x


def classified(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits with classes, and everything that changes what a class counts."""
    x, labels = scores(length, dtype), (np.arange(ROWS) * 7 + length // 2) % length
    weight = np.abs(values((length,), np.float64, spread=2.0, seed=length + 4)) + 0.125
    ignored = np.where(np.arange(ROWS) == 3, -100, labels)
    plain = {"reduction": "none"}
    yield (x, labels), plain
    yield (x, ignored), {"weight": weight, "z_loss": 0.5, "reduction": "none"}
    yield (x, labels), {"label_smoothing": 0.125, "weight": weight, "reduction": "none"}
    yield (x, labels), {"where": mask(length), "reduction": "none"}
    yield (x[[0, 1, 3]], ignored[[0, 1, 3]]), {"reduction": "mean"}


def smoothed(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits with classes of which a part is spread evenly over all."""
    x, labels = scores(length, dtype), (np.arange(ROWS) * 7 + length // 2) % length
    ignored = np.where(np.arange(ROWS) == 3, -100, labels)
    yield (x, labels), {"label_smoothing": 0.125, "reduction": "none"}
    yield (x, ignored), {"label_smoothing": 1.0, "z_loss": 0.5, "reduction": "none"}
    yield (x[[0, 1, 3]], ignored[[0, 1, 3]]), {"label_smoothing": 0.3}


def distributed(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits with probabilities over the classes, zeros among them."""
    targets = np.abs(values((ROWS, length), np.float64, spread=2.0, seed=length + 5)) / length
    targets[0, ::3] = 0
    yield (scores(length, dtype), targets), {"reduction": "none"}


def independent(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits with labels that do not exclude each other, and weights."""
    t = np.abs(values((ROWS, length), dtype, spread=1.0, seed=length + 6))
    t[0], t[1] = 0, 1
    w = np.abs(values((length,), dtype, spread=2.0, seed=length + 7))
    yield (scores(length, dtype), t), {"reduction": "none"}
    yield (scores(length, dtype), t), {"weight": w, "pos_weight": w + 1, "reduction": "none"}


def elements(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits one by one."""
    for (x,), _ in logits(length, dtype):
        yield (x,), {}


def log_gradients(length: int, dtype: Any) -> Iterator[Call]:
    """Yield log-probabilities, even and with one near 0, and cotangents for them."""
    x = -np.abs(values((ROWS, length), dtype, spread=8.0, seed=length)) - 1
    d = values((ROWS, length), dtype, spread=4.0, seed=length + 1)
    x[1, length // 2] = -(2.0**-14)
    yield (x, d), {}


def sum_gradients(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits, what may be the logarithms of their sums, and cotangents for those."""
    x = values((ROWS, length), dtype, spread=8.0, seed=length)
    lse = values((ROWS, 1), dtype, spread=4.0, seed=length + 1) + 6
    yield (x, lse, values((ROWS, 1), dtype, spread=4.0, seed=length + 2)), {}


def second_gradients(length: int, dtype: Any) -> Iterator[Call]:
    """Yield probabilities with cotangents and tangents."""
    for (y, dy), _ in gradients(length, dtype):
        yield (y, dy, values((ROWS, length), dtype, spread=4.0, seed=length + 8)), {}


def temperature_gradients(length: int, dtype: Any) -> Iterator[Call]:
    """Yield logits with probabilities and cotangents for them."""
    for (y, dy), _ in gradients(length, dtype):
        yield (values((ROWS, length), dtype, spread=8.0, seed=length + 8), y, dy), {}


REDUCED = {"axis": -1, "keepdims": True}
# Without temperatures.
PLAIN: dict[str, Any] = {"temperatures": (None,)}

CORPORA = {
    "softmax": Corpus("softmax", logits, FLOATS, LENGTHS),
    "softmax_vjp": Corpus("softmax_vjp", gradients, FLOATS, LENGTHS),
    "softmax_jvp": Corpus("softmax_jvp", gradients, FLOATS, LENGTHS),
    "softmax half": Corpus("softmax", logits, HALVES),
    "softmax_vjp half": Corpus("softmax_vjp", gradients, HALVES),
    "softmax_jvp half": Corpus("softmax_jvp", gradients, HALVES),
    "log_softmax": Corpus("log_softmax", logits),
    "softmin": Corpus("softmin", logits),
    "logsumexp": Corpus("logsumexp", logits, options=REDUCED, temperatures=(None,)),
    "softmax where": Corpus("softmax", masked),
    "log_softmax where": Corpus("log_softmax", masked),
    "softmin where": Corpus("softmin", masked),
    "logsumexp where": Corpus("logsumexp", masked, options=REDUCED, temperatures=(None,)),
    "logsumexp b": Corpus("logsumexp", weighted, options=REDUCED, temperatures=(None,)),
    "sigmoid": Corpus("sigmoid", elements, **PLAIN),
    "log_sigmoid": Corpus("log_sigmoid", elements, **PLAIN),
    "cross_entropy": Corpus("cross_entropy", classified, **PLAIN),
    "cross_entropy grad": Corpus("cross_entropy_value_and_grad", classified, **PLAIN),
    "cross_entropy smoothed": Corpus("cross_entropy_value_and_grad", smoothed, **PLAIN),
    "cross_entropy soft": Corpus("cross_entropy_value_and_grad", distributed, **PLAIN),
    "kl_divergence": Corpus("kl_divergence_value_and_grad", distributed, **PLAIN),
    "binary_cross_entropy": Corpus("binary_cross_entropy_value_and_grad", independent, **PLAIN),
    "log_softmax_vjp": Corpus("log_softmax_vjp", log_gradients),
    "log_softmax_jvp": Corpus("log_softmax_jvp", log_gradients),
    "logsumexp_vjp": Corpus("logsumexp_vjp", sum_gradients, options={"axis": -1}, **PLAIN),
    "softmax_hvp": Corpus("softmax_hvp", second_gradients),
    "softmax_temperature_vjp": Corpus("softmax_temperature_vjp", temperature_gradients),
}


def digests(name: str, dtype: str) -> Iterator[tuple[str, str]]:
    """Yield what a corpus gives for each length: a key, and the SHA-256 of all its bits."""
    corpus = CORPORA[name]
    function = getattr(softlane, corpus.function)
    temperatures = corpus.temperatures or (
        TEMPERATURES if corpus.lengths is LENGTHS else FEWER_TEMPERATURES
    )
    for length in corpus.lengths:
        digest = hashlib.sha256()
        for arrays, options in corpus.calls(length, dtype):
            for temperature in temperatures:
                softened = {} if temperature is None else {"temperature": temperature}
                results = function(*arrays, **corpus.options, **options, **softened)
                for result in results if isinstance(results, tuple) else (results,):
                    # The sign and payload of NaN are free by IEEE 754; every other bit counts.
                    result = np.where(np.isnan(result), result.dtype.type(np.nan), result)
                    bits = result.view(f"u{result.itemsize}")
                    digest.update(bits.astype(bits.dtype.newbyteorder("<")).tobytes())
        yield f"{name} {dtype} {length}", digest.hexdigest()


def all_digests() -> dict[str, str]:
    """Return every golden hash there is, by its key."""
    return {
        key: digest
        for name, corpus in CORPORA.items()
        for dtype in corpus.dtypes
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
