"""Columns that fit no cache, alike by each way to the bits of rows."""

from typing import Any

import numpy as np
import pytest

import golden
import softlane as sl
from cases import Function, same_bits
from reference import finfo

# Lines of these meet in few sets of the nearest cache, however short the columns are; the last are
# more than caches hold.
MEETING = [(9, 1024), (12, 4096), (21, 1024), (40, 2048), (12, 90_112)]
FAR_APART = [(20, 30_000), (70, 1024), (256, 512), (1030, 301), (4100, 320), *MEETING]


@pytest.mark.parametrize("shape", FAR_APART, ids=str)
def test_columns_far_apart(
    function: Function, dtype: np.dtype[Any], shape: tuple[int, int]
) -> None:
    # Too long for the nearest cache where they lie, or too many: block by block through a buffer.
    # Not all blocks have columns that need more care.
    rows = function.inputs(golden.values(shape[::-1], dtype))
    rows[0][7:100:50] = np.nan
    rows[0][90] = -np.inf
    rows[0][130, ::3] = finfo(dtype).max
    rows[0][270, 1::2] = np.nan
    options: dict[str, Any] = {}
    if function.takes_where:
        options["where"] = np.random.default_rng(0).random(shape[::-1]) < 0.9
    for masked in ({}, options) if options else ({},):
        expected = function(*rows, **masked)
        turned = {name: mask.T for name, mask in masked.items()}
        for threads in (1, 2):
            columns = [np.ascontiguousarray(a.T) for a in rows]
            result = function(*columns, axis=0, num_threads=threads, **turned)
            assert same_bits(result, expected.T)
            if not function.reduces:
                function(*columns, axis=0, out=columns[0], num_threads=threads, **turned)
                assert same_bits(columns[0], result)
    if not function.reduces:
        middle = [np.stack([a.T, a[::-1].T]) for a in rows]
        result = function(*middle, axis=1)
        assert same_bits(result[0], function(*rows).T)
        assert same_bits(result[1], result[0, :, ::-1])


@pytest.mark.parametrize("kind", ["classes", "smoothed", "probabilities"])
@pytest.mark.parametrize("shape", [*MEETING, (70, 1024)], ids=str)
def test_losses_of_columns_far_apart(
    dtype: np.dtype[Any], shape: tuple[int, int], kind: str
) -> None:
    x = golden.values(shape[::-1], dtype, spread=5.0)
    x[7:100:50] = np.nan
    x[90] = -np.inf
    x[130, ::3] = finfo(dtype).max
    y: Any = np.arange(shape[1]) % shape[0]
    options: dict[str, Any] = {"reduction": "none"}
    if kind == "probabilities":
        y = np.abs(golden.values(shape[::-1], dtype, seed=3))
    elif kind == "smoothed":
        options["label_smoothing"] = 0.2
    loss, gradient = sl.cross_entropy_value_and_grad(x, y, **options)
    turned = y if y.ndim == 1 else np.ascontiguousarray(y.T)
    columns = np.ascontiguousarray(x.T)
    again = sl.cross_entropy_value_and_grad(columns, turned, 0, out=columns, **options)
    assert same_bits(again[0], loss)
    assert same_bits(columns, gradient.T)


LONG = 32_768 + 4_096 + 21


@pytest.mark.parametrize("count", [2, 3, 5, 10, 37, 70])
def test_long_columns(function: Function, dtype: np.dtype[Any], count: int) -> None:
    # Chunk by chunk of several, which need different numbers of passes.
    rows = function.inputs(golden.values((count, LONG), dtype))
    rows[0][1] = np.nan
    rows[0][2 % count, ::7] = -np.inf
    rows[0][3 % count, 1::5] = finfo(dtype).max
    options: dict[str, Any] = {}
    if function.takes_where:
        options["where"] = np.random.default_rng(0).random((count, LONG)) < 0.9
        options["where"][0] = False
    for masked in ({}, options) if options else ({},):
        expected = function(*rows, **masked)
        turned = {name: mask.T for name, mask in masked.items()}
        columns = [np.ascontiguousarray(a.T) for a in rows]
        for threads in (1, 2):
            result = function(*columns, axis=0, num_threads=threads, **turned)
            assert same_bits(result, expected.T)
        spread = [np.repeat(a, 2, 1)[::-1, ::2] for a in columns]
        backwards = {name: mask[::-1] for name, mask in turned.items()}
        again = function(*spread, axis=0, **backwards)
        alike = function(*(a[:, ::-1] for a in rows), **{k: m.T for k, m in backwards.items()})
        assert same_bits(again, alike.T)
        if not function.reduces:
            out = np.zeros((count, 2 * LONG), dtype)[:, ::2].T
            function(*columns, axis=0, out=out, **turned)
            assert same_bits(out, expected.T)
            function(*columns, axis=0, out=columns[0], **turned)
            assert same_bits(columns[0], expected.T)
    middle = [np.stack([a.T, a[::-1].T]) for a in rows]
    result = function(*middle, axis=1)
    assert same_bits(result[0], function(*rows).T)
    assert same_bits(result[1], result[0][..., ::-1])
