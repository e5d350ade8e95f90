"""Where the polynomials and tables of `src/math/exp.rs` come from.

Near-minimax approximations of 2^r on [-1/8, 1/8] with constant term exactly 1. The coefficients are
fitted by least squares at Chebyshev points (relative error) in 60-digit arithmetic, lowest first;
each is rounded to the working precision before the next is fitted, so the later ones absorb its
rounding.

The tables hold 2^(i/4) for i = 0 … 3, and what each loses by rounding, relative to itself.

Run `python tools/exp2_coefficients.py` (needs mpmath) to print them with the error that remains.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60
Rounding = Callable[[mp.mpf], mp.mpf]
HALF_WIDTH = mp.mpf("0.125")


def round_f32(value: mp.mpf) -> mp.mpf:
    """Return the nearest float32."""
    return mp.mpf(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def round_f64(value: mp.mpf) -> mp.mpf:
    """Return the nearest float64."""
    return mp.mpf(float(value))


def chebyshev_points(count: int) -> list[mp.mpf]:
    """Return points between -HALF_WIDTH and HALF_WIDTH, denser towards either end."""
    return [HALF_WIDTH * mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]


def fit(known: list[mp.mpf], degree: int, points: list[mp.mpf]) -> list[mp.mpf]:
    """Return the coefficients from `len(known)` up to `degree`, the lower ones being given."""
    first = len(known)
    rows, targets = [], []
    for r in points:
        exact = mp.mpf(2) ** r
        rows.append([r**k / exact for k in range(first, degree + 1)])
        targets.append(1 - mp.polyval(known[::-1], r) / exact)
    matrix, target = mp.matrix(rows), mp.matrix(targets)
    return list(mp.lu_solve(matrix.T * matrix, matrix.T * target))


def coefficients(degree: int, rounding: Rounding) -> tuple[list[mp.mpf], mp.mpf]:
    """Return the rounded coefficients, the constant term among them, and the largest error."""
    points = chebyshev_points(8 * (degree + 1))
    known = [mp.mpf(1)]
    while len(known) <= degree:
        known.append(rounding(fit(known, degree, points)[0]))
    grid = [HALF_WIDTH * k / 4000 for k in range(-4000, 4001)]
    worst = max(abs(mp.polyval(known[::-1], r) / mp.mpf(2) ** r - 1) for r in grid)
    return known, worst


def table(rounding: Rounding) -> list[tuple[mp.mpf, mp.mpf]]:
    """Return the table rounded, each entry with what it loses by that."""
    exact = [mp.mpf(2) ** (mp.mpf(i) / 4) for i in range(4)]
    entries = [rounding(value) for value in exact]
    return [(t, rounding(value / t - 1)) for t, value in zip(entries, exact, strict=True)]


def main() -> None:
    """Print the coefficients and the table of both types."""
    polynomials = (
        ("f32", 4, round_f32, 24),
        ("f32, short", 3, round_f32, 24),
        ("f64", 8, round_f64, 53),
    )
    for name, degree, rounding, bits in polynomials:
        values, worst = coefficients(degree, rounding)
        error = float(worst * mp.mpf(2) ** bits)
        print(f"{name}: degree {degree}, relative error {error:.4f} x 2^-{bits}")
        digits = 9 if bits == 24 else 17
        for value in values[1:]:
            print(f"    {mp.nstr(value, digits, min_fixed=0, max_fixed=0)}")
        for entry, lost in table(rounding):
            mantissa = int((entry - 1) * mp.mpf(2) ** (bits - 1))
            first, second = (mp.nstr(v, digits, min_fixed=0, max_fixed=0) for v in (entry, lost))
            print(f"    table {first} = 1 + {mantissa:#x} ulp, lost {second}")


if __name__ == "__main__":
    main()
