"""The same bits, whatever the machine does.

A row's result may depend on its values, the operation, the dtype and the options: not on the
instruction set, threads, batch, neighbours, axis, layout, or where it is written.
"""

import functools
import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
import processes
import softlane
from cases import (
    BY_NAME,
    DTYPES,
    FUNCTIONS,
    HALVES,
    LAYOUTS,
    Function,
    Layout,
    same_bits,
)
from reference import Array, finfo, from_rows, to_rows

ISAS = ("avx512", "avx2", "portable")
LENGTHS = (*range(1, 19), 31, 32, 33, 63, 64, 65, 100, 127, 129, 192, 193, 257, 600, 1030, 4099)
NEIGHBOURS = 24
# What gives no array; the values of losses that are recorded with their gradients; what is made of
# other functions.
NOT_RECORDED = {
    *("__version__", "get_num_threads", "set_num_threads", "show_config", "threads"),
    *("binary_cross_entropy", "kl_divergence", "logsumexp_vjp_b", "softmax_jacobian"),
    *("LogSumExpState", "linear_cross_entropy", "linear_cross_entropy_value_and_grad"),
}
FEWER_LENGTHS = (1, 2, 3, 7, 16, 17, 33, 64, 100, 257, 1030, 4099)
BATCHES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, NEIGHBOURS)
TEMPERATURES = (1.0, 0.3)


@functools.cache
def inputs(name: str, dtype: np.dtype[Any], length: int) -> tuple[Array, ...]:
    """Return a batch of rows, each with a spread of its own."""
    largest = [13, 15] if dtype == np.float16 else [30, 90]
    spreads = 2.0 ** np.resize([-4, 1, 3, 5, 7, *largest], NEIGHBOURS)
    x = golden.values((NEIGHBOURS, length), dtype, spread=1.0, seed=length)
    return BY_NAME[name].inputs((x * spreads[:, None]).astype(dtype))


@functools.cache
def alone(name: str, dtype: np.dtype[Any], length: int, temperature: float = 1.0) -> Array:
    """Return what each row of the batch gives when it is the only one, on one thread."""
    function = BY_NAME[name]
    rows = zip(*inputs(name, dtype, length), strict=True)
    options = {"temperature": temperature, "num_threads": 1}
    return np.stack([function(*(r.copy() for r in row), **options) for row in rows])


# Instruction sets and golden hashes


@functools.cache
def hashes(isa: str, threads: str) -> dict[str, str]:
    done = processes.run(
        str(processes.HERE / "golden.py"),
        timeout=300,
        SOFTLANE_ISA=isa,
        SOFTLANE_NUM_THREADS=threads,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


def available(isa: str) -> str:
    if isa not in softlane.show_config()["isas"]:
        pytest.skip(f"this machine has no {isa}")
    return isa


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("isa", ISAS)
def test_golden(isa: str, threads: str) -> None:
    expected: dict[str, str] = json.loads(golden.GOLDEN.read_text(encoding="utf-8"))
    actual = hashes(available(isa), threads)
    assert sorted(actual) == sorted(expected), "golden.json is not of this corpus: see golden.py"
    changed = [key for key in expected if actual[key] != expected[key]]
    assert not changed, f"{len(changed)} of {len(expected)} hashes changed: {changed[:10]} ..."


def test_golden_covers_every_function() -> None:
    recorded = {(c.function, dtype) for c in golden.CORPORA.values() for dtype in c.dtypes}
    assert recorded >= {(f.name, str(dtype)) for f in FUNCTIONS for dtype in DTYPES}
    assert recorded == {(name, str(dtype)) for name, _ in recorded for dtype in DTYPES}
    assert {name for name, _ in recorded} | NOT_RECORDED == set(softlane.__all__)
    masked = {c.function for c in golden.CORPORA.values() if c.calls is golden.masked}
    assert masked == {f.name for f in FUNCTIONS if f.takes_where}
    for lengths in (golden.LENGTHS, golden.FEWER_LENGTHS):
        assert len(lengths) == len(set(lengths))


def test_the_corpus_is_what_it_was() -> None:
    # The generator of splitmix64 started at 0, as published.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    float64 = golden.values((3,), np.float64, spread=1.0)
    assert [int(v * 2**52) for v in float64] == [(z >> 11) - 2**52 for z in published]
    float32 = golden.values((3,), np.float32, spread=1.0)
    assert [int(v * 2**23) for v in float32] == [(z >> 40) - 2**23 for z in published]


# Rows around the lengths at which loops begin and end, and columns, some with what is no number.
MIXED = """
import hashlib
import numpy as np
import softlane as sl

rng = np.random.default_rng(5)
digest = hashlib.blake2b()
for length in (*range(17, 70), 95, 97, 112, 128, 129, *range(1020, 1029), 1040, 2050, 4100, 8200):
    x = (rng.standard_normal((19, length)) * 2.0 ** rng.integers(-3, 8, (19, 1))).astype("f4")
    for row, value in enumerate([np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40]):
        x[3 * row, rng.integers(length)] = value
    x[4, rng.integers(length, size=length // 2)] = -np.inf
    labels = rng.integers(length, size=19)
    for axis, array in ((-1, x), (0, np.ascontiguousarray(x.T)), (0, x[:, 1:].T)):
        for function in (sl.softmax, sl.log_softmax, sl.logsumexp, sl.softmin):
            digest.update(function(array, axis=axis).tobytes())
        digest.update(sl.softmax(array, axis=axis, temperature=0.3).tobytes())
        digest.update(sl.log_softmax(array, axis=axis, temperature=7.0).tobytes())
        place = array.copy()
        digest.update(sl.softmax(place, axis=axis, out=place).tobytes())
    digest.update(sl.cross_entropy_value_and_grad(x, labels, reduction="none")[1].tobytes())
    digest.update(sl.cross_entropy(x, labels, reduction="none").tobytes())
print(digest.hexdigest())
"""


@functools.cache
def mixed(isa: str) -> str:
    return processes.output(MIXED, timeout=300, SOFTLANE_ISA=isa)


@pytest.mark.parametrize("isa", ISAS[:-1])
def test_mixed_rows_and_columns(isa: str) -> None:
    assert mixed(available(isa)) == mixed("portable")


@pytest.mark.parametrize("isa", ISAS)
def test_isa_is_pinned(isa: str) -> None:
    code = "import softlane; print(softlane.show_config()['isa'])"
    assert processes.output(code, SOFTLANE_ISA=available(isa)) == isa


def test_the_best_isa_is_the_default() -> None:
    code = "import softlane; c = softlane.show_config(); print(c['isa'] == c['isas'][0])"
    assert processes.output(code) == "True"
    known = softlane.show_config()["isas"]
    assert known == [isa for isa in ISAS if isa in known]
    assert "portable" in known


@pytest.mark.parametrize("isa", ["avx1024", "AVX2 ", "none", "sse2,avx2"])
def test_unknown_isa(isa: str) -> None:
    done = processes.run("-c", "import softlane", SOFTLANE_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError"))
    for word in ("SOFTLANE_ISA", isa.strip(), *ISAS):
        assert word in last


@pytest.mark.parametrize("isa", ISAS)
def test_unavailable_isa(isa: str) -> None:
    if isa in softlane.show_config()["isas"]:
        pytest.skip(f"this machine has {isa}")
    done = processes.run("-c", "import softlane", SOFTLANE_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("ImportError", "ValueError"))
    assert "SOFTLANE_ISA" in last
    assert isa in last


# Batches


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_batch_and_position(
    function: Function, dtype: np.dtype[Any], length: int, temperature: float
) -> None:
    if temperature not in function.temperatures(TEMPERATURES):
        pytest.skip(f"{function.name} has no temperature")
    arrays = inputs(function.name, dtype, length)
    expected = alone(function.name, dtype, length, temperature)
    for batch in BATCHES:
        for start in range(0, NEIGHBOURS - batch + 1, max(1, batch // 2)):
            part = slice(start, start + batch)
            rows = [a[part] for a in arrays]
            assert same_bits(function(*rows, temperature=temperature), expected[part])
            columns = [np.ascontiguousarray(a[part].T) for a in arrays]
            down = function(*columns, axis=0, temperature=temperature)
            assert same_bits(down.T, expected[part])


@pytest.mark.parametrize("length", FEWER_LENGTHS)
def test_threads(function: Function, dtype: np.dtype[Any], length: int) -> None:
    # Enough work for threads to be worth it, in rows that do not divide evenly among them.
    if dtype in HALVES and length not in FEWER_LENGTHS[1::3]:
        pytest.skip("the same ways as float32")
    times = 1 + 1_100_000 // (NEIGHBOURS * length)
    expected = np.tile(alone(function.name, dtype, length), (times, 1))
    arrays = [np.tile(a, (times, 1)) for a in inputs(function.name, dtype, length)]
    columns = [np.ascontiguousarray(a.T) for a in arrays]
    for threads in (1, 2, 3, 5):
        assert same_bits(function(*arrays, num_threads=threads), expected)
        assert same_bits(function(*columns, axis=0, num_threads=threads).T, expected)


@pytest.mark.parametrize("length", [65_536, 100_003, 1_000_003])
def test_one_long_row_shared_by_threads(
    function: Function, dtype: np.dtype[Any], length: int
) -> None:
    arrays = function.inputs(golden.values((length,), dtype, spread=16.0))
    expected = function(*arrays, num_threads=1)
    column = [np.repeat(a[:, None], 2, 1) for a in arrays]
    for threads in (2, 3, 4, 7):
        assert same_bits(function(*arrays, num_threads=threads), expected)
        assert same_bits(function(*column, axis=0, num_threads=threads)[:, 1], expected)
        backwards = [a[::-1].copy()[::-1] for a in arrays]
        assert same_bits(function(*backwards, num_threads=threads), expected)


# Where a row lies, and where it goes

SPLITS = {
    1: (1, 1),
    12: (3, 4),
    33: (3, 11),
    64: (8, 8),
    100: (50, 2),
    1030: (103, 10),
    4099: (1, 4099),
}


@pytest.mark.parametrize("length", list(SPLITS))
@pytest.mark.parametrize(
    "layout", [x for x in LAYOUTS if x.keeps_values], ids=lambda layout: layout.name
)
def test_layout_axis_and_place(
    function: Function, dtype: np.dtype[Any], layout: Layout, length: int
) -> None:
    arrays = inputs(function.name, dtype, length)
    expected = alone(function.name, dtype, length)
    batch = {1: (NEIGHBOURS,), 2: (6, 4), 0: ()}
    # Every way to spread row and batch over the axes of up to four dimensions.
    for kept, reduced in itertools.product((1, 2), (1, 2)):
        row = SPLITS[length] if reduced == 2 else (length,)
        ndim = kept + reduced
        if ndim < layout.min_ndim:
            continue
        for axis in itertools.combinations(range(ndim), reduced):
            lengths = iter(row)
            others = iter(batch[kept])
            shape = tuple(next(lengths) if a in axis else next(others) for a in range(ndim))
            placed = [layout.build(from_rows(a, shape, axis)) for a in arrays]
            for threads in (1, 2):
                result = function(*placed, axis=axis, num_threads=threads)
                assert same_bits(to_rows(result, axis), expected)
            assert same_bits(function(*placed, axis=axis[::-1]), result)  # a set, not a sequence
            if layout.writable:
                out = layout.build(np.zeros(result.shape, dtype))
                function(*placed, axis=axis, out=out)
                assert same_bits(out, result)
            if layout.writable and not function.reduces:
                function(*placed, axis=axis, out=placed[0])
                assert same_bits(placed[0], result)


def test_broadcast(function: Function, dtype: np.dtype[Any]) -> None:
    for length in LENGTHS:
        arrays = inputs(function.name, dtype, length)
        for i in (0, NEIGHBOURS - 1):
            rows = [np.broadcast_to(a[i], (9, length)) for a in arrays]
            row = alone(function.name, dtype, length)[i]
            expected = np.broadcast_to(row, (9, *row.shape))
            assert same_bits(function(*rows), expected)
            assert same_bits(function(*(r.T for r in rows), axis=0).T, expected)


def test_whole_array_is_one_row(function: Function, dtype: np.dtype[Any]) -> None:
    for shape in ((4, 9), (1, 50), (50, 1), (7, 3, 5), (2, 3, 4, 5), (33, 65)):
        arrays = function.inputs(golden.values(shape, dtype), None)
        expected = function(*(a.ravel() for a in arrays))
        expected = expected.reshape(function.result_shape(shape, None))
        assert same_bits(function(*arrays, axis=None), expected)
        for order in itertools.permutations(range(len(shape))):
            # Memory in another order, the same array.
            shuffled = [a.transpose(order).copy().transpose(np.argsort(order)) for a in arrays]
            assert same_bits(function(*shuffled, axis=None), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_neighbours_that_are_not_numbers(
    function: Function, dtype: np.dtype[Any], length: int
) -> None:
    expected = alone(function.name, dtype, length)
    for junk in (np.nan, np.inf, -np.inf, finfo(dtype).max, finfo(dtype).smallest_subnormal):
        arrays = [a.copy() for a in inputs(function.name, dtype, length)]
        for a in arrays:
            a[::2] = junk
        assert same_bits(function(*arrays)[1::2], expected[1::2])
        columns = [np.ascontiguousarray(a.T) for a in arrays]
        assert same_bits(function(*columns, axis=0)[:, 1::2].T, expected[1::2])


def test_repeated_calls(function: Function) -> None:
    for dtype in DTYPES:
        arrays = inputs(function.name, dtype, 1030)
        first = function(*arrays)
        for _ in range(20):
            assert same_bits(function(*arrays), first)


def test_the_comparison_sees_one_bit(dtype: np.dtype[Any]) -> None:
    x = golden.values((3, 4), dtype)
    y = x.copy()
    y[2, 3] = np.nextafter(y[2, 3], dtype.type(np.inf))
    assert same_bits(x, np.asfortranarray(x))
    assert not same_bits(x, y)
    assert not same_bits(np.zeros(2, dtype), -np.zeros(2, dtype))


@pytest.mark.parametrize(
    ("seed", "length", "row"),
    [(7, 4104, 862), (14, 4111, 623), (19, 4100, 705), (39, 4104, 310), (48, 4097, 479)],
)
def test_a_last_chunk_of_less_than_a_vector(seed: int, length: int, row: int) -> None:
    # Rows, five of sixty thousand, that show whether it is added up alone as it is among others.
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((1000, length)) * 0.5).astype(np.float32)[row - 1 : row + 2]
    x[:, :4096] -= 20
    alone = np.stack([softlane.softmax(one) for one in x])
    assert same_bits(softlane.softmax(x, num_threads=1), alone)


def cancelling(classes: int) -> dict[str, Callable[[slice], Array]]:
    """Return sums in float64 whose terms cancel, so that bits of their second parts are seen."""
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((400, classes))
    y = softlane.softmax(x)
    d = rng.standard_normal(x.shape)
    d[:, -1] = (y * d)[:, :-1].sum(-1) / y[:, :-1].sum(-1)
    return {
        "softmax_vjp": lambda i: softlane.softmax_vjp(y[i], d[i]),
        "softmax_jvp": lambda i: softlane.softmax_jvp(y[i], d[i]),
        "columns": lambda i: softlane.softmax_vjp(y[i].T, d[i].T, axis=0).T,
        "log_softmax_vjp": lambda i: softlane.log_softmax_vjp(np.log(y[i]), d[i]),
        "softmax_hvp": lambda i: softlane.softmax_hvp(y[i], d[i], x[i]),
        "kl_divergence": lambda i: softlane.kl_divergence(x[i], y[i], reduction="none"),
        "cross_entropy": lambda i: softlane.cross_entropy(x[i], y[i], reduction="none"),
    }


@pytest.mark.parametrize("classes", range(2, 10))
def test_few_classes_among_other_rows(classes: int) -> None:
    for name, function in cancelling(classes).items():
        alone = np.concatenate([function(slice(i, i + 1)) for i in range(400)])
        assert same_bits(function(slice(None)), alone), name


@pytest.mark.parametrize("classes", [17, 192, 200, 256, 333, 512, 700, 1000, 1024, 1025])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_kinds_of_rows_among_each_other(dtype: Any, classes: int) -> None:
    x = golden.values((53, classes), np.dtype(dtype), spread=4.0, seed=classes)
    x[3, 5], x[7, 2], x[11], x[19, 1:] = np.nan, np.inf, -np.inf, -np.inf
    x[20:24] -= 20
    x[20:24, 9] = 1  # the others come to little
    x[24, :4] = 30  # ties
    x[29] *= 1e30  # far from the ordinary way
    x[31] = 2.5
    labels = np.arange(53) % classes
    given = x.copy()
    functions: dict[str, Callable[[slice], Any]] = {
        "softmax": lambda i: softlane.softmax(x[i]),
        "log_softmax": lambda i: softlane.log_softmax(x[i]),
        "in place": lambda i: softlane.log_softmax(given[i], out=given[i]),
        "gradient": lambda i: softlane.cross_entropy_value_and_grad(
            x[i], labels[i], reduction="none"
        )[1],
        "loss": lambda i: softlane.cross_entropy_value_and_grad(
            x[i], labels[i], reduction="none", z_loss=0.1
        )[0],
    }
    for name, function in functions.items():
        alone = np.concatenate([function(slice(i, i + 1)) for i in range(53)])
        given[:] = x
        assert same_bits(function(slice(None)), alone), name


@pytest.mark.parametrize("length", [2, 10, 5000])
@pytest.mark.parametrize("rows", [1, 5, 64, 65, 200])
@pytest.mark.parametrize("dtype", ["?", "i1", ">i4", "u8", "f2", "<f4", ">f4", "f8", ">f8"])
def test_operands_that_repeat_along_a_row(dtype: str, rows: int, length: int) -> None:
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, length))
    whole = (3 * rng.standard_normal(3 * rows)).astype(dtype)
    for each in (whole[:rows], whole[::3], whole[rows - 1 :: -1], np.broadcast_to(whole[:1], rows)):
        repeated = np.broadcast_to(each[:, None], x.shape)
        copied = np.ascontiguousarray(repeated)
        for first in (x, x.astype(np.float32)):
            got, want = (softlane.softmax_vjp(first, d) for d in (repeated, copied))
            assert same_bits(got, want)
        assert same_bits(softlane.softmin(repeated), softlane.softmin(copied))
        mask = rng.random(x.shape) < 0.7
        assert same_bits(
            softlane.softmax(repeated, where=mask), softlane.softmax(copied, where=mask)
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [5, 17, 31, 32, 40, 63, 64, 100, 129, 192, 193, 256, 260])
def test_the_first_of_equal_probabilities(length: int, dtype: str) -> None:
    # What is beside the largest counts, and which that is must not depend on the way.
    rng = np.random.default_rng(length)
    y = softlane.softmax(rng.integers(-3, 1, (40, length)).astype(dtype))
    y[3] = 1 / length
    y[4, ::2] = np.nan
    y[5] = 0
    dy = (rng.standard_normal(y.shape) * 10.0 ** rng.integers(-3, 9, (40, 1))).astype(dtype)
    dy[6, y[6].argmax()] = np.inf
    dy[7] = finfo(np.dtype(dtype)).max
    single = np.stack([softlane.softmax_vjp(a, b) for a, b in zip(y, dy, strict=True)])
    assert same_bits(softlane.softmax_vjp(y, dy), single)
    columns = softlane.softmax_vjp(np.asfortranarray(y), np.asfortranarray(dy))
    assert same_bits(columns, single)
    turned = softlane.softmax_vjp(y.T.copy(), dy.T.copy(), axis=0)
    assert same_bits(turned, single.T)
