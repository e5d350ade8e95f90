"""The gradient of logsumexp of short types: exact over the whole range, each entry for itself."""

from typing import Any

import mpmath
import numpy as np
import pytest

import golden
import reference
import softlane as sl
from cases import DTYPES, HALVES, rounded, same_bits
from reference import Array

SHORT = tuple(dtype for dtype in DTYPES if dtype != np.float64)


def exact(x: Array, lse: Array, dlse: Array, dtype: Any) -> Array:
    """Return the results for vectors of as many entries."""
    with mpmath.workdps(40):
        columns = zip(x.tolist(), lse.tolist(), dlse.tolist(), strict=True)
        wanted = [mpmath.mpf(d) * mpmath.exp(mpmath.mpf(v) - mpmath.mpf(m)) for v, m, d in columns]
        return reference.from_mpmath(wanted, dtype)


def judge(got: Array, want: Array, dtype: Any) -> None:
    largest, least = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
    if dtype in HALVES:
        assert reference.error_by_entry(got, want) <= 0.51
        return
    size = np.abs(want)
    assert (np.abs(got[size > 1.0001 * largest]) == np.inf).all()
    normal = (size >= least) & (size <= largest)
    assert reference.error_by_entry(got[normal], want[normal]) <= 4
    small = size < least
    step = np.finfo(np.float32).smallest_subnormal
    assert (np.abs(got[small] - want[small]) <= step).all()


@pytest.mark.parametrize("spread", [1.0, 20.0, 100.0])
@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_rows(dtype: Any, spread: float) -> None:
    for length in (1, 5, 16, 33, 300):
        x = golden.values((6, length), dtype, spread=spread, seed=length)
        lse = sl.logsumexp(x, axis=-1)
        dlse = rounded(np.array([1.0, -0.37, 1e-3, 0.0, -3.0, 25.0]), dtype)
        got = sl.logsumexp_vjp(x, lse, dlse, axis=-1)
        for i in range(6):
            want = exact(x[i], np.repeat(lse[i], length), np.repeat(dlse[i], length), dtype)
            judge(got[i], want, dtype)


def test_numbers_far_apart() -> None:
    rng = np.random.default_rng(5)
    count = 6000
    lse = rng.uniform(-100, 100, count).astype(np.float32)
    x = (lse + rng.uniform(-230, 230, count)).astype(np.float32)
    dlse = (rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(-149, 127, count)).astype(
        np.float32
    )
    with np.errstate(all="ignore"):
        got = sl.logsumexp_vjp(x[:, None], lse, dlse, axis=-1)[:, 0]
        judge(got, exact(x, lse, dlse, np.dtype(np.float32)), np.dtype(np.float32))


@pytest.mark.parametrize("length", [1, 3, 16, 40, 3000])
@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_bits_depend_on_an_entry_alone(dtype: Any, length: int) -> None:
    rng = np.random.default_rng(length)
    shape = (37, length)
    x = rounded(rng.choice([1.0, 30.0, 100.0], shape) * rng.standard_normal(shape), dtype)
    special = [np.nan, np.inf, -np.inf, 90.0, -150.0]
    x[rng.random(shape) < 0.1] = rounded(np.array([special[length % 5]]), dtype)[0]
    lse = rounded(5 * rng.standard_normal(37), dtype)
    lse[::9] = np.inf
    lse[1::9] = -np.inf
    dlse = rounded(10.0 ** rng.uniform(-5, 5, 37), dtype)
    dlse[::5] = [0, -np.inf, np.nan, -0.0, 1, 1, 1, 1]
    got = sl.logsumexp_vjp(x, lse, dlse, axis=-1)
    for i in range(37):
        assert same_bits(sl.logsumexp_vjp(x[i], lse[i], dlse[i], axis=-1), got[i])
        one = sl.logsumexp_vjp(x[i, -1:], lse[i], dlse[i], axis=-1)
        assert same_bits(one, got[i, -1:])
    down = sl.logsumexp_vjp(np.ascontiguousarray(x.T), lse, dlse, axis=0)
    assert same_bits(np.ascontiguousarray(down.T), got)
    spaced = np.zeros((37, 2 * length), dtype)[:, ::2]
    spaced[...] = x
    assert same_bits(sl.logsumexp_vjp(spaced, lse, dlse, axis=-1, out=spaced), got)
    cube = np.ascontiguousarray(np.broadcast_to(x[:, None, :], (37, 4, length)))
    many = sl.logsumexp_vjp(cube, lse, dlse, axis=(1, 2))
    assert same_bits(np.ascontiguousarray(many[:, 2]), got)


def test_a_number_for_all_rows() -> None:
    x = golden.values((40, 11), np.dtype(np.float32), spread=4.0)
    lse = sl.logsumexp(x, axis=-1)
    of_arrays = sl.logsumexp_vjp(x, lse, np.full(40, 0.5, np.float32), axis=-1)
    assert same_bits(sl.logsumexp_vjp(x, lse, 0.5, axis=-1), of_arrays)
    # No float32 holds this one.
    tiny = sl.logsumexp_vjp(x + np.float32(80), lse, 1e-60, axis=-1)
    want = 1e-60 * np.exp(x.astype(np.float64) + 80 - lse[:, None].astype(np.float64))
    np.testing.assert_allclose(tiny, want.astype(np.float32), rtol=1e-5)


@pytest.mark.parametrize("before", [0.0, 0.1])
def test_numbers_of_float64_stay_so(before: float) -> None:
    """Whatever they are, and whatever the result replaces."""
    want = np.exp(-0.5)
    assert abs(float(sl.logsumexp_vjp(1.5, 2.0, 1.0)) - want) <= 2e-16
    out = np.array(before)
    sl.logsumexp_vjp(np.array(1.5), np.array(2.0), 1.0, out=out)
    assert abs(float(out) - want) <= 2e-16
