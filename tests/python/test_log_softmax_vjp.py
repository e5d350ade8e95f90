"""log_softmax_vjp in float32, computed in that type: hard rows, and the rules of float64."""

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest

import reference
import softlane as sl
from cases import DTYPES, rounded, same_bits
from reference import Array

LENGTHS = (1, 2, 3, 10, 16, 17, 100, 1000)


def exact(logp: Array, d: Array) -> list[Any]:
    """Return a row of the gradient in mpmath."""
    total = mpmath.fsum(map(mpmath.mpf, d.astype(float)))
    return [
        mpmath.mpf(float(a)) - mpmath.exp(mpmath.mpf(float(x))) * total
        for x, a in zip(logp, d, strict=True)
    ]


def rows(length: int, dtype: np.dtype[Any]) -> dict[str, tuple[Array, Array]]:
    """Return log-probabilities with cotangents of which the gradient is a small difference."""
    rng = np.random.default_rng(length)
    logp = sl.log_softmax(rounded(2 * rng.standard_normal(length), dtype))
    even = sl.log_softmax(np.zeros(length, dtype))
    p = np.exp(logp.astype(np.float64))
    sure = sl.log_softmax(rounded(np.where(np.arange(length) == length // 2, 9.0, 0.0), dtype))
    return {
        "even": (even, np.ones(length, dtype)),
        "even, large": (even, np.full(length, 3e4, dtype)),
        "like the probabilities": (logp, rounded(p, dtype)),
        "and large": (logp, rounded(-1000 * p, dtype)),
        "sure, of one class": (sure, rounded(-1.0 * (np.arange(length) == length // 2), dtype)),
        "sure, like it": (sure, rounded(np.exp(sure.astype(np.float64)), dtype)),
        "some alike": (logp, rounded(np.where(p > p.mean(), p, rng.random(length)), dtype)),
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_small_differences(length: int, dtype: np.dtype[Any]) -> None:
    for name, (logp, d) in rows(length, dtype).items():
        got = sl.log_softmax_vjp(logp, d).astype(np.float64)
        with mpmath.workdps(40):
            wanted = exact(logp, d)
            largest = float(max(map(abs, wanted)))
            cotangent = float(abs(d).max())
            p = np.exp(logp.astype(np.float64))
            if p.max() > 0.5:
                # A likely class is good for dy of the others, and what it lacks of the sum.
                rare = np.arange(length) != p.argmax()
                terms = [abs(d[rare]).max(initial=0), abs(float(d.sum())) * (1 - p.max())]
                largest = max(largest, *map(float, terms))
            # A float64 exponential is good for the largest of what is subtracted.
            unit = reference.ulp(np.array([largest]), dtype)[0]
            unit = max(unit, np.spacing(cotangent) / 4)
            worst = max(abs(mpmath.mpf(g) - w) for g, w in zip(got, wanted, strict=True))
        assert worst <= 4 * unit, f"{name}: {float(worst / unit)}"


@pytest.mark.parametrize("length", LENGTHS)
def test_hard_rows_in_any_layout(length: int) -> None:
    hard = rows(length, np.dtype(np.float32)).values()
    logp = np.concatenate([np.tile(x, (5, 1)) for x, _ in hard])
    d = np.concatenate([np.tile(d, (5, 1)) for _, d in hard])
    logp[3::7, : length // 2] = -np.inf
    d[6::11, -1] = 3e38
    d[8::17, -1] = np.inf
    logp[9::18, 0] = np.nan
    logp[5::23, 0] = 90
    one_by_one = np.array([sl.log_softmax_vjp(a, b) for a, b in zip(logp, d, strict=True)])
    for count in (1, 15, 16, len(logp)):
        got = sl.log_softmax_vjp(logp[:count], d[:count])
        assert same_bits(got, one_by_one[:count])
    columns = sl.log_softmax_vjp(np.asfortranarray(logp), d, out=np.zeros_like(d, order="F"))
    assert same_bits(columns, one_by_one)
    axis_0 = sl.log_softmax_vjp(logp.T.copy(), d.T.copy(), axis=0)
    assert same_bits(np.ascontiguousarray(axis_0.T), one_by_one)
    strided = sl.log_softmax_vjp(np.repeat(logp, 2, 1)[:, ::2], d, out=np.zeros_like(d))
    assert same_bits(strided, one_by_one)


def test_cotangents_of_any_size() -> None:
    rng = np.random.default_rng(8)
    for power in (-149, -130, -100, 0, 60, 99, 100, 110, 126):
        for length in LENGTHS:
            logp = sl.log_softmax((5 * rng.standard_normal((20, length))).astype(np.float32))
            d = np.ldexp(rng.uniform(-1.9, 1.9, (20, length)), power).astype(np.float32)
            got = sl.log_softmax_vjp(logp, d)
            # The sum in exact arithmetic, and the rest in float64.
            total = np.array([[float(sum(map(mpmath.mpf, row.astype(float))))] for row in d])
            wanted = d.astype(np.float64) - np.exp(logp.astype(np.float64)) * total
            size = np.maximum(abs(d).max(1), abs(wanted).max(1)).astype(np.float64)
            unit = reference.ulp(size, np.dtype(np.float32))[:, None]
            with np.errstate(over="ignore"):
                overflows = np.isinf(wanted.astype(np.float32))
            assert (got[overflows] == np.sign(wanted[overflows]) * np.inf).all()
            assert (abs(got - wanted)[~overflows] <= (4 * unit + 0 * wanted)[~overflows]).all()


def test_special_values_are_those_of_float64() -> None:
    logs, cotangents = (-np.inf, -0.5, 0.0, 60.0, np.nan), (0.0, 1.5, np.inf, -np.inf, np.nan)
    entries = list(itertools.product(logs, cotangents))
    rows = np.array(list(itertools.product(entries, entries)))
    with np.errstate(all="ignore"):
        expected = sl.log_softmax_vjp(rows[:, :, 0].copy(), rows[:, :, 1].copy())
        expected = expected.astype(np.float32)
    for count in (1, 16, len(rows)):
        part = rows[:count].astype(np.float32)
        got = sl.log_softmax_vjp(part[:, :, 0].copy(), part[:, :, 1].copy())
        np.testing.assert_allclose(got, expected[:count], rtol=1e-6)
        assert not np.signbit(got[np.isnan(got)]).any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 16, 40])
def test_a_likely_class_keeps_its_digits(dtype: np.dtype[Any], rows: int) -> None:
    for log_of_likely, rare in ((-1e-20, -46), (-1e-13, -30), (-1e-9, -20.7), (-1e-4, -9.2)):
        for large, small in ((1, 3), (-1, 3), (1, 0), (0, 1), (1e4, -1)):
            logp = np.tile(rounded(np.array([log_of_likely, rare]), dtype), (rows, 1))
            d = np.tile(rounded(np.array([large, -small * log_of_likely]), dtype), (rows, 1))
            with mpmath.workdps(60):
                wanted = exact(logp[0], d[0])
                sizes = (abs(log_of_likely * large), abs(small * log_of_likely))
                unit = reference.ulp(np.array([max(sizes)]), dtype)[0]
                for got in (
                    sl.log_softmax_vjp(logp, d)[-1],
                    sl.log_softmax_vjp(np.asfortranarray(logp), np.asfortranarray(d))[0],
                ):
                    error = abs(mpmath.mpf(float(got[0])) - wanted[0])
                    assert error <= 4 * unit, (log_of_likely, large, small, float(error / unit))


@pytest.mark.parametrize("temperature", [1e-3, 0.3, 0.5, 1.7, 4.0, 3e30, 1e31, 1e-31, 1e40])
def test_temperatures(temperature: float) -> None:
    rng = np.random.default_rng(12)
    for length in LENGTHS:
        logp = sl.log_softmax((3 * rng.standard_normal((20, length))).astype(np.float32))
        d = rng.standard_normal((20, length)).astype(np.float32)
        logp[5, 0] = -np.inf
        got = sl.log_softmax_vjp(logp, d, temperature=temperature)
        rows = np.array(
            [
                sl.log_softmax_vjp(a, b, temperature=temperature)
                for a, b in zip(logp, d, strict=True)
            ]
        )
        assert same_bits(got, rows)
        columns = sl.log_softmax_vjp(logp.T.copy(), d.T.copy(), axis=0, temperature=temperature)
        assert same_bits(np.ascontiguousarray(columns.T), rows)
        exists = np.isfinite(logp)
        assert (got[~exists] == 0).all()
        d = np.where(exists, d, 0).astype(np.float64)
        # Exact enough: sums of float32 numbers, and the rest, in float64.
        terms = (d, np.exp(logp.astype(np.float64)) * d.sum(-1, keepdims=True))
        with np.errstate(over="ignore"):
            wanted = np.where(exists, terms[0] - terms[1], 0) / temperature
            largest = np.maximum(*map(abs, terms)).max(-1, keepdims=True) / temperature
            finite = abs(wanted) < 3.4e38
            unit = reference.ulp(np.minimum(largest, 3.4e38), np.dtype(np.float32))
        assert (abs(got - wanted) <= 4 * unit)[finite].all()
        assert np.isinf(got[~finite]).all()


def test_temperatures_bring_extremes_back() -> None:
    f = np.float32
    three = np.log(np.array([0.98, 0.01, 0.01], f))
    cases = [
        (three, [-3e38, 3e38, 3e38], 1000.0),
        (three, [-3e38, 3e38, 3e38], 2.0),
        (np.array([100.0, -1.0, 0.0], f), [1.0, -0.5, 0.25], 1e10),
        (np.array([-10.3, 28.5, 35.0], f), [3.3e25, 1.0, 1.0], 2.0**99),
        (np.log(np.full(4, 0.25, f)), [1e-45, 0.0, 0.0, 0.0], 1e-10),
        (np.log(np.array([0.5, 0.25, 0.25], f)), [1e-42, 3e-42, -1e-42], 1e-3),
        (three, [0.0, 0.0, 0.0], 0.5),
    ]
    for logp, cotangent, temperature in cases:
        d = np.array(cotangent, f)
        wide = sl.log_softmax_vjp(
            logp.astype(np.float64), d.astype(np.float64), temperature=temperature
        )
        unit = reference.ulp(abs(wide).max(keepdims=True), np.dtype(f))
        for count in (1, 16, 40):
            rows, beside = np.tile(logp, (count, 1)), np.tile(d, (count, 1))
            got = sl.log_softmax_vjp(rows, beside, temperature=temperature)
            assert (abs(got - wide) <= 2 * unit).all(), (cotangent, temperature)
            columns = sl.log_softmax_vjp(
                rows.T.copy(), beside.T.copy(), axis=0, temperature=temperature
            )
            assert same_bits(np.ascontiguousarray(columns.T), got)
