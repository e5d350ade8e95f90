"""The gradients of log_softmax and logsumexp, and second derivatives, against 300 digits."""

import itertools
import json
from typing import Any

import mpmath
import numpy as np
import pytest

import golden
import processes
import reference
import softlane as sl
from cases import DTYPES, LAYOUTS, rounded, same_bits
from reference import Array

NAMES = ("log_softmax_vjp", "log_softmax_jvp", "softmax_hvp", "softmax_temperature_vjp")
LSE_NAMES = ("logsumexp_vjp", "logsumexp_vjp_b")


def inputs(name: str, x: Array, axis: Any = -1) -> tuple[Array, ...]:
    """Return what a function takes, for logits."""
    d = golden.values(x.shape, x.dtype, spread=4.0, seed=5)
    v = golden.values(x.shape, x.dtype, spread=4.0, seed=6)
    if name.startswith("log_softmax"):
        return sl.log_softmax(x, axis), d
    if name.startswith("logsumexp"):
        lse = sl.logsumexp(x, axis, keepdims=True)
        return x, lse, golden.values(lse.shape, x.dtype, seed=7)
    y = sl.softmax(x, axis)
    return (x, y, d) if name == "softmax_temperature_vjp" else (y, d, v)


def call(name: str, *arrays: Any, **options: Any) -> Any:
    return getattr(sl, name)(*arrays, **{"axis": -1} | options)


def exact(name: str, rows: list[list[Any]], temperature: float) -> tuple[list[Any], Any]:
    """Return a row of results in mpmath, and the size of its largest term (or of all together)."""
    t = mpmath.mpf(temperature)
    if name.startswith("log_softmax"):
        p = [mpmath.exp(v) for v in rows[0]]
        d = rows[1]
        if name == "log_softmax_vjp":
            total = mpmath.fsum(d)
            result = [(a - q * total) / t for a, q in zip(d, p, strict=True)]
            return result, max(max(map(abs, d)), abs(total) * min(max(p), 1 - max(p))) / t
        top = d[p.index(max(p))]
        mean = mpmath.fsum(q * (a - top) for a, q in zip(d, p, strict=True))
        result = [(a - top - mean) / t for a in d]
        return result, max(map(abs, result))
    if name == "softmax_temperature_vjp":
        b, y, a = rows
    else:
        y, a, b = rows
    top = y.index(max(y))

    def centred(d: list[Any]) -> list[Any]:
        shifted = [v - d[top] for v in d]
        mean = mpmath.fsum(p * v for p, v in zip(y, shifted, strict=True))
        return [v - mean for v in shifted]

    a, b = centred(a), centred(b)
    terms = [p * u * w for p, u, w in zip(y, a, b, strict=True)]
    total = mpmath.fsum(terms)
    if name == "softmax_temperature_vjp":
        return [-total / t**2], mpmath.fsum(map(abs, terms)) / t**2
    result = [(v - p * total) / t**2 for v, p in zip(terms, y, strict=True)]
    return result, max(map(abs, [*terms, max(y) * total])) / t**2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_error(name: str, dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(3)
    for sigma in (1, 5, 20, 100):
        for length in (1, 2, 3, 17, 60):
            for t in (1.0, 0.3):
                x = rounded(sigma * rng.standard_normal(length), dtype)
                arrays = list(inputs(name, x))
                if length == 17:  # a loss of one class
                    arrays[1 if name != "softmax_temperature_vjp" else 2] = rounded(
                        np.eye(17)[int(np.argmax(x))], dtype
                    )
                got = np.atleast_1d(call(name, *arrays, temperature=t)).astype(np.float64)
                with mpmath.workdps(300):
                    rows = [[mpmath.mpf(float(v)) for v in a] for a in arrays]
                    wanted, size = exact(name, rows, t)
                    unit = reference.ulp(np.array([float(size)], np.float64), dtype)[0]
                    pairs = zip(got, wanted, strict=True)
                    error = max(abs(mpmath.mpf(float(g)) - w) for g, w in pairs)
                    assert error <= 4 * float(unit), (sigma, length, t)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_error_of_logsumexp(dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(4)
    for sigma in (1, 20, 1000):
        x, b = (
            rounded(sigma * rng.standard_normal(50), dtype),
            rounded(rng.standard_normal(50), dtype),
        )
        lse, sign = sl.logsumexp(x, b=b, return_sign=True)
        got = sl.logsumexp_vjp(x, lse, 0.7, b=b, sign=sign)
        got_b = sl.logsumexp_vjp_b(x, lse, 0.7, sign=sign)
        with mpmath.workdps(50):
            p = [
                mpmath.mpf(0.7) * int(sign) * mpmath.exp(mpmath.mpf(float(v)) - float(lse))
                for v in x
            ]
            pairs = ((got_b, p), (got, [q * float(w) for q, w in zip(p, b, strict=True)]))
            for result, wanted in pairs:
                want = reference.from_mpmath(wanted, dtype)
                assert reference.error_by_entry(result, want) <= 4


def test_factors_of_logsumexp_may_be_far_apart() -> None:
    rng = np.random.default_rng(5)
    count = 4000
    x, lse = rng.uniform(-900, 900, (2, count))
    b, dlse = rng.choice([-1.0, 1.0], (2, count)) * 2.0 ** rng.uniform(-1074, 1023, (2, count))
    got = sl.logsumexp_vjp(x[:, None], lse, dlse, axis=-1, b=b[:, None])[:, 0]
    with mpmath.workdps(50):
        columns = zip(x, lse, dlse, b, strict=True)
        wanted = [
            mpmath.mpf(d) * mpmath.mpf(w) * mpmath.exp(mpmath.mpf(v) - mpmath.mpf(m))
            for v, m, d, w in columns
        ]
        want = reference.from_mpmath(wanted, np.dtype(np.float64))
    assert 1000 < np.isfinite(got[got != 0]).sum() < 3800
    assert reference.error_by_entry(got, want) <= 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", [*NAMES, *LSE_NAMES])
def test_layouts_and_threads(name: str, dtype: np.dtype[Any]) -> None:
    for length in (1, 5, 16, 100, 4099):
        arrays = inputs(name, golden.values((24, length), dtype))
        expected = call(name, *arrays)
        for i in (0, 23):
            assert same_bits(np.asarray(call(name, *(a[i].copy() for a in arrays))), expected[i])
        for layout in LAYOUTS:
            if layout.min_ndim <= 2 and layout.keeps_values:
                placed = [layout.build(a) for a in arrays]
                turned = [layout.build(a.T) for a in arrays]
                out = np.zeros(expected.shape, dtype)
                assert same_bits(call(name, *placed, num_threads=2), expected)
                assert call(name, *placed, out=out) is out
                assert same_bits(out, expected)
                assert same_bits(call(name, *turned, axis=0).T, expected)
        cube = [a.reshape(2, 12, *a.shape[1:]).transpose(1, 2, 0).copy() for a in arrays]
        result = call(name, *cube, axis=1)
        order = (1, 0) if result.ndim == 2 else (2, 0, 1)
        assert same_bits(result.transpose(order).reshape(expected.shape), expected)


@pytest.mark.parametrize("isa", ["avx2", "portable"])
def test_instruction_sets(isa: str) -> None:
    if isa not in sl.show_config()["isas"]:
        pytest.skip(f"this machine has no {isa}")
    code = "import test_gradients, json; print(json.dumps(test_gradients.hashes()))"
    code = f"import sys; sys.path.insert(0, {str(processes.HERE)!r}); {code}"
    assert json.loads(processes.output(code, SOFTLANE_ISA=isa)) == hashes()


def hashes() -> list[str]:
    """Return all bits of all functions on some rows."""
    names = [*NAMES, *LSE_NAMES]
    return [
        np.ascontiguousarray(call(name, *inputs_of_integers(name, length, dtype))).tobytes().hex()
        for name in names
        for length in (1, 7, 33, 1030)
        for dtype in (np.float32, np.float64)
    ]


def inputs_of_integers(name: str, length: int, dtype: Any) -> tuple[Array, ...]:
    return inputs(name, golden.values((3, length), dtype))


def test_masked_entries() -> None:
    logp = sl.log_softmax(np.array([1.0, -np.inf, 3.0]))
    for function in (sl.log_softmax_vjp, sl.log_softmax_jvp):
        for junk in (np.nan, np.inf, 5.0):
            got = function(logp, [1.0, junk, 2.0])
            assert got[1] == 0
            assert same_bits(got[[0, 2]], function(logp[[0, 2]], [1.0, 2.0]))


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), None], ids=str)
@pytest.mark.parametrize("mask_shape", [(5, 7, 9), (9,), (7, 1), (5, 1, 1), ()], ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_mask_of_logsumexp_vjp(order: tuple[int, ...], mask_shape: Any, axis: Any) -> None:
    # Every element has its own truth value, whatever lies next to it in memory.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 7, 9)).transpose(order).copy().transpose(np.argsort(order))
    mask = rng.random(mask_shape) < 0.6
    b = rng.random(x.shape) + 0.5
    with np.errstate(all="ignore"):
        options: list[dict[str, Any]] = [{}, {"b": b}]
        for given in options:
            lse = sl.logsumexp(x, axis=axis, where=mask, keepdims=True, **given)
            g = rng.standard_normal(lse.shape)
            exact = np.where(mask & np.isfinite(lse), g * given.get("b", 1.0) * np.exp(x - lse), 0)
            lse, g = (np.squeeze(a, axis) if axis is not None else a.reshape(()) for a in (lse, g))
            result = sl.logsumexp_vjp(x, lse, g, axis=axis, where=mask, **given)
            np.testing.assert_allclose(result, exact, rtol=1e-14)
            assert (result[~np.broadcast_to(mask, x.shape)] == 0).all()


def test_special_values_of_logsumexp() -> None:
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(
        sl.logsumexp_vjp([1.0, -inf, inf, nan], inf, 1.0), [0, 0, nan, nan]
    )
    np.testing.assert_array_equal(sl.logsumexp_vjp([1.0, -inf], -inf, -1.0), [-inf, 0])
    np.testing.assert_array_equal(sl.logsumexp_vjp([nan, 0.0], 0.0, 1.0, b=[0.0, 1.0]), [0, 1])
    np.testing.assert_array_equal(
        sl.logsumexp_vjp([nan, 0.0], 0.0, 1.0, where=[False, True]), [0, 1]
    )
    np.testing.assert_array_equal(sl.logsumexp_vjp([1.0, 2.0], inf, 0.0), [0, 0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LSE_NAMES)
def test_special_values_are_those_of_each_entry(name: str, dtype: np.dtype[Any]) -> None:
    # With a mask that leaves nothing out, in rows, columns and strided results, too.
    special = [0.0, 1.0, -np.inf, np.inf, np.nan]
    for x0, x1, lse, dlse in itertools.product(special, special, special[1:], special):
        x = np.array([x0, x1], dtype)
        alone = [call(name, x[i : i + 1], lse, dlse) for i in range(2)]
        for count in (1, 3, 19):
            rows = np.tile(x, (count, 1))
            arrays = [np.full(count, number, dtype) for number in (lse, dlse)]
            for options in ({}, {"where": True}, {"where": np.ones((count, 2), bool)}):
                for result in (
                    call(name, rows, *arrays, **options),
                    call(name, rows, *arrays, **options, out=np.zeros((count, 4), dtype)[:, ::2]),
                    call(name, np.asfortranarray(rows), *arrays, **options),
                ):
                    for i in range(2):
                        assert same_bits(result[:, i], np.tile(alone[i], count))


def test_a_factor_that_is_no_number_is_not_lost() -> None:
    x, nan = np.zeros(3), np.nan
    assert np.isnan(sl.logsumexp_vjp(x, np.inf, nan)).all()
    assert np.isnan(sl.logsumexp_vjp(x, np.inf, 1.0, b=nan)).all()
    assert np.isnan(sl.logsumexp_vjp(x, np.inf, 1.0, sign=nan)).all()
    assert (sl.logsumexp_vjp(x, np.inf, np.inf) == 0).all()


@pytest.mark.parametrize("count", [1, 8, 19])
def test_the_nan_of_a_temperature_is_the_usual_one(count: int) -> None:
    nan = np.copysign(np.nan, -1)
    arrays = (np.array([-19.0, -0.68]), np.array([1e-8, 1.0]), np.array([nan, -np.inf]))
    result = sl.softmax_temperature_vjp(*(np.tile(a, (count, 1)) for a in arrays))
    assert same_bits(result, np.full(count, np.nan))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_nan_of_infinite_cotangents_is_the_usual_one(
    dtype: np.dtype[Any], temperature: float
) -> None:
    rng = np.random.default_rng(0)
    for length in (1, 3, 20, 115, 1000):
        y = sl.softmax(rounded(rng.standard_normal((40, length)), dtype))
        d = rounded(rng.standard_normal(y.shape), dtype)
        d[::2, length // 2] = np.inf
        d[1::4, -1] = -np.inf
        d[1::8, 0] = np.inf
        for name in ("softmax_vjp", "log_softmax_vjp"):
            first = y if name == "softmax_vjp" else sl.log_softmax(y)
            rows = call(name, first, d, temperature=temperature)
            columns = call(name, first.T.copy(), d.T.copy(), axis=0, temperature=temperature)
            assert same_bits(np.ascontiguousarray(columns.T), rows)
            assert not np.signbit(rows[np.isnan(rows)]).any(), (name, length)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_jacobian(dtype: np.dtype[Any]) -> None:
    y = sl.softmax(golden.values((2, 5, 3), dtype), axis=1)
    jacobian = sl.softmax_jacobian(y, axis=1)
    assert jacobian.shape == (2, 3, 5, 5)
    assert jacobian.dtype == dtype
    for i in range(5):
        unit = np.zeros_like(y)
        unit[:, i] = 1
        row = sl.softmax_vjp(y, unit, axis=1)
        assert same_bits(jacobian[:, :, i], row.transpose(0, 2, 1))
    with pytest.raises(TypeError, match="axis"):
        sl.softmax_jacobian(y, axis=(0, 1))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["lse", "dlse"])
def test_wrong_shapes(name: str) -> None:
    arrays: dict[str, Any] = {"lse": np.zeros(3), "dlse": np.zeros(3)}
    arrays[name] = np.zeros(2)
    with pytest.raises(ValueError, match=rf"^{name} has shape"):
        sl.logsumexp_vjp(np.zeros((3, 4)), arrays["lse"], arrays["dlse"], axis=-1)


def test_against_jax() -> None:
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    x, d, v = (golden.values((40,), np.float64, spread=3.0, seed=s) for s in (1, 2, 3))
    softmax = jax.nn.softmax

    def gradient(x: Any) -> Any:
        return jax.vjp(softmax, x)[1](d)[0]

    y = sl.softmax(x)
    np.testing.assert_allclose(
        sl.softmax_hvp(y, d, v), jax.jvp(gradient, (x,), (v,))[1], rtol=1e-10
    )
    slope = jax.grad(lambda t: (softmax(x / t) * d).sum())(1.0)
    np.testing.assert_allclose(sl.softmax_temperature_vjp(x, y, d), slope, rtol=1e-10)
    expected = jax.vjp(jax.nn.log_softmax, x)[1](d)[0]
    np.testing.assert_allclose(sl.log_softmax_vjp(sl.log_softmax(x), d), expected, rtol=1e-10)
