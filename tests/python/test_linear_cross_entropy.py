"""linear_cross_entropy: against the unfused twin, by any blocks, in little memory."""

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import reference
import softlane
from cases import DTYPES, HALVES, SLACK, layouts, same_bits
from linear_twin import probabilities, problem, twin
from reference import Array
from test_errors import mentions

pytestmark = pytest.mark.filterwarnings("error")

NAN, INF = np.nan, np.inf
value: Any = softlane.linear_cross_entropy  # the options vary as no overload does
value_and_grad: Any = softlane.linear_cross_entropy_value_and_grad

# All rows at once, some rows, one row and some classes, a class at a time.
BLOCKS = (32 << 20, 9_000, 1_000, 1)
BLOCK_IDS = ("one block", "rows", "classes", "single entries")


def close(actual: Any, exact: Array, size: Array, terms: int) -> None:
    """Hold a sum of products against the twin: within what adding so many terms may cost."""
    actual = np.asarray(actual)
    assert actual.shape == exact.shape
    dtype = actual.dtype
    compute = np.dtype(np.float32) if dtype in HALVES else dtype
    bound = np.finfo(compute).eps * (terms + 4) * size + np.finfo(compute).tiny
    if dtype in HALVES:
        bound = bound + 0.51 * reference.ulp(exact, dtype)
    assert np.all(np.abs(actual.astype(np.longdouble) - exact) <= bound)


def holds(x: Array, w: Array, labels: Array, **options: Any) -> Any:
    """Hold loss, lse and gradients against the twin; return what was computed."""
    block = options.pop("block_bytes", BLOCKS[0])
    exact = twin(x, w, labels, **options)
    results = value_and_grad(x, w, labels, return_lse=True, block_bytes=block, **options)
    loss, (dx, dw, dbias), lse = results
    wide = any(a.dtype not in (*HALVES, np.dtype("f4")) for a in (x, w))
    assert loss.dtype == lse.dtype == (np.float64 if wide else np.float32)
    slack = SLACK if wide else 0
    if options.get("reduction") == "none":
        assert reference.error_by_entry(loss, exact.losses) <= 2 + slack
    else:
        assert reference.error_by_entry(np.asarray(loss), np.asarray(exact.loss)) <= 2.6 + slack
    # Where maximum and logarithm cancel, BLAS's own rounding aside, lse is good to the maximum's.
    unit = np.spacing(np.abs(lse).astype(lse.dtype)) + np.finfo(lse.dtype).eps
    assert np.all(np.abs(lse - exact.lse) <= 2 * unit)
    close(dx, exact.dx, exact.sizes[0], w.shape[0])
    close(dw, exact.dw, exact.sizes[1], exact.losses.size)
    assert dx.dtype == (x.dtype if x.dtype.kind != "i" else np.float64)
    assert dw.dtype == (w.dtype if w.dtype.kind != "i" else np.float64)
    if options.get("bias") is None:
        assert dbias is None
    else:
        close(dbias, exact.dbias, exact.sizes[2], exact.losses.size)
        assert dbias.dtype == options["bias"].dtype
    options.pop("dloss", None)
    plain, plain_lse = value(x, w, labels, return_lse=True, block_bytes=block, **options)
    only = value(x, w, labels, block_bytes=block, **options)
    assert same_bits(np.asarray(plain), np.asarray(only))
    assert reference.error_by_entry(np.asarray(plain), np.asarray(exact.loss)) <= 2.6 + slack
    np.testing.assert_array_equal(plain_lse, lse)
    return results


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "smoothed": {"label_smoothing": 0.1},
    "uniform": {"label_smoothing": 1.0, "reduction": "none"},
    "z_loss": {"z_loss": 1e-2},
    "dloss": {"dloss": -3.5},
    "dloss of rows": {"dloss": np.linspace(-1, 2, 40), "reduction": "none"},
    "all": {"label_smoothing": 0.3, "z_loss": 0.1, "reduction": "sum", "dloss": 0.5},
}


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_twin(options: dict[str, Any], weighted: bool, kind: str, block: int) -> None:
    x, w, bias, labels = problem()
    if kind == "probabilities":
        labels = probabilities((40,), 33)
    else:
        labels[[3, 17]] = -100
    if weighted:
        weight = np.random.default_rng(2).random(33)
        weight[5] = 0
        options = options | {"weight": weight}
    holds(x, w, labels, bias=bias, block_bytes=block, **options)


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: Any, block: int) -> None:
    x, w, bias, labels = problem(dtype=dtype)
    for lead in ((40,), (5, 8), (2, 4, 5)):
        holds(x.reshape(*lead, -1), w, labels.reshape(lead), bias=bias, block_bytes=block)
    holds(x, w, labels.astype(np.uint8), block_bytes=block)


def test_mixed_dtypes() -> None:
    x, w, bias, labels = problem(dtype="float32")
    for a, b in [
        ("f4", "f8"),
        ("f8", "f4"),
        ("f2", "f4"),
        ("i4", "f4"),
        (ml_dtypes.bfloat16, "f2"),
    ]:
        whole = np.round(x) if a == "i4" else x
        holds(whole.astype(a), w.astype(b), labels, bias=bias)
    loss, (dx, dw, dbias) = value_and_grad(x, w, labels, bias=bias.astype("f8"))
    assert (loss.dtype, dx.dtype, dw.dtype, dbias.dtype) == ("f8", "f4", "f4", "f8")


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certainty_keeps_its_digits(dtype: str, block: int) -> None:
    # Logits of 0 and -40: losses of 4e-18, and gradients of their size.
    x = np.array([[1.0], [1.0], [2.0]], dtype)
    w = np.array([[0.0], [-40.0], [-50.0]], dtype)
    labels = np.array([0, 1, 0])
    results = holds(x, w, labels, reduction="none", block_bytes=block)
    assert 4e-18 < results[0][0] < 5e-18
    assert results[0][1] == 40
    # Nothing but the first row's own gradient: p - 1 as a difference would be 0.
    _, (_, dw, _) = value_and_grad(x[:1], w, labels[:1], block_bytes=block)
    assert reference.error_by_entry(dw[0], twin(x[:1], w, labels[:1]).dw[0]) <= 4


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
def test_blocks_of_rows_change_no_loss(block: int) -> None:
    # The logits are exact, so that BLAS plays no part: with it, neither do blocks of rows.
    x, w, bias, labels = problem(dtype="float32")
    expected = value(x, w, labels, bias=bias, reduction="none")
    losses = value(x, w, labels, bias=bias, reduction="none", block_bytes=block)
    if block >= 9_000:
        assert same_bits(losses, expected)
        assert value(x, w, labels, bias=bias, block_bytes=block) == value(x, w, labels, bias=bias)
    else:
        assert reference.error_by_entry(losses, expected) <= 3


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
def test_ignored_rows_are_as_if_they_were_not_there(block: int) -> None:
    x, w, bias, labels = problem()
    labels[::3] = 7
    x[::3] = NAN
    options: Any = {"bias": bias, "ignore_index": 7, "block_bytes": block, "return_lse": True}
    loss, (dx, dw, dbias), lse = value_and_grad(x, w, labels, **options)
    kept = np.flatnonzero(labels != 7)
    other = value_and_grad(x[kept], w, labels[kept], **options)
    np.testing.assert_allclose(loss, other[0], rtol=1e-14)
    np.testing.assert_allclose(dx[kept], other[1][0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dw, other[1][1], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dbias, other[1][2], rtol=1e-12, atol=1e-15)
    assert np.all(dx[::3] == 0)
    assert np.isnan(lse[::3]).all()
    assert np.isfinite(lse[kept]).all()
    # None that counts: 0, not NaN.
    x, w, bias, _ = problem()
    for reduction in ("mean", "sum"):
        options |= {"reduction": reduction}
        loss, gradients, _ = value_and_grad(x, w, np.full(40, 7), **options)
        assert loss == 0
        assert not any(g.any() for g in gradients)
    # Rows that count, of no weight at all: 0 / 0.
    loss, (dx, _, _), _ = value_and_grad(
        x, w, np.zeros(40, int), weight=np.zeros(33), **BARE(block)
    )
    assert np.isnan(loss)
    assert np.isnan(dx).all()


def BARE(block: int) -> dict[str, Any]:  # noqa: N802
    return {"block_bytes": block, "return_lse": True}


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
def test_special_rows(block: int) -> None:
    x, w, bias, labels = problem((6,), 9)
    bias[2] = -INF  # a class that cannot be
    labels[:] = [0, 1, 2, 3, 4, 5]
    x[3], x[4] = NAN, INF
    losses, (dx, _, _), lse = value_and_grad(
        x, w, labels, bias=bias, reduction="none", block_bytes=block, return_lse=True
    )
    assert np.isfinite(losses[[0, 1, 5]]).all()
    assert losses[2] == INF
    assert np.isnan(losses[3:5]).all()
    assert np.isfinite(lse[[0, 1, 2, 5]]).all()
    assert np.isnan(dx[3:5]).all()
    # A target of 0 does not count, whatever is there.
    q = np.zeros((6, 9))
    q[:, 0] = 1
    losses = value(x[:3], w, q[:3], bias=bias, reduction="none", block_bytes=block)
    assert np.isfinite(losses).all()
    q[:, 2] = 0.5
    assert np.all(value(x[:3], w, q[:3], bias=bias, reduction="none", block_bytes=block) == INF)


def test_shapes_of_nothing_and_of_one() -> None:
    x, w, _, _ = problem()
    for shape in ((0,), (3, 0)):
        loss, (dx, dw, _) = value_and_grad(np.empty((*shape, 6)), w, np.empty(shape, int))
        assert (loss, dx.shape, dw.any()) == (0, (*shape, 6), False)
        losses = value(np.empty((*shape, 6)), w, np.empty(shape, int), reduction="none")
        assert losses.shape == shape
    loss, (dx, dw, _), lse = value_and_grad(x[0], w, 3, return_lse=True)
    assert np.ndim(loss) == np.ndim(lse) == 0
    assert (dx.shape, dw.shape) == ((6,), (33, 6))
    assert np.ndim(value(x[0], w, 3, reduction="none")) == 0
    # No features at all: the bias alone decides.
    loss = value(np.empty((4, 0)), np.empty((3, 0)), [0, 1, 2, 0], bias=np.zeros(3))
    assert loss == np.log(3)


def test_any_layout() -> None:
    x, w, bias, labels = problem(dtype="float32")
    expected, (dx, dw, _) = value_and_grad(x, w, labels, bias=bias)
    for layout in layouts(2):
        if not layout.keeps_values:
            continue
        loss, gradients = value_and_grad(
            layout.build(x), layout.build(w), labels[::-1].copy()[::-1], bias=bias
        )
        assert loss == expected
        np.testing.assert_allclose(gradients[0], dx, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(gradients[1], dw, rtol=1e-5, atol=1e-7)
    assert value(x.tolist(), w.tolist(), labels.tolist(), bias=bias.tolist()) == pytest.approx(
        expected
    )


def test_threads_change_no_bit() -> None:
    x, w, bias, labels = problem((300,), 3000, dtype="float32")
    results = [value_and_grad(x, w, labels, bias=bias, num_threads=n) for n in (1, 2)]
    assert results[0][0] == results[1][0]
    assert all(same_bits(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


# ------------------------------------------------------------------------------------------ memory


def peak(function: Any, *arguments: Any, **options: Any) -> int:
    """Return the most memory in use during a call, beside what its results take."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = function(*arguments, **options)
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    gradients = results[1] if isinstance(results, tuple) else ()
    return int(most - sum(g.nbytes for g in gradients if g is not None))


@pytest.mark.slow
def test_memory_is_bounded_at_the_size_of_a_language_model() -> None:
    rows, classes, width = 8192, 50257, 64
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, width), np.float32)
    w = rng.standard_normal((classes, width), np.float32)
    labels = rng.integers(0, classes, rows)
    extra = peak(value_and_grad, x, w, labels, bias=np.zeros(classes, np.float32))
    assert extra < 0.05 * rows * classes * 4
    assert extra < (32 << 20) + (2 << 20)


@pytest.mark.parametrize("block", [1 << 20, 200_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_is_bounded_by_block_bytes(dtype: str, block: int) -> None:
    x, w, bias, labels = problem((500,), 4000, 16, dtype)
    aside = 500 * 8 * 20 + 4000 * 8 * 4  # a few numbers a row, and a class
    for function in (value, value_and_grad):
        # Twice: what other threads of the test runner take meanwhile counts, too.
        assert (
            min(peak(function, x, w, labels, bias=bias, block_bytes=block) for _ in range(2))
            < block + aside
        )
    q = np.full((500, 4000), 1 / 4000, dtype)
    options = {"block_bytes": block, "label_smoothing": 0.1}
    assert min(peak(value_and_grad, x, w, q, **options) for _ in range(2)) < block + aside


# --------------------------------------------------------------------------------------- bad input

X, W, _, LABELS = problem((2, 3), 5, 4, "float32")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": np.zeros((), "f4")}, ValueError, ("x", "()", "(..., D)")),
        ({"x": X.astype(complex)}, TypeError, ("x", "complex128")),
        ({"x": np.ma.array(X)}, TypeError, ("x", "MaskedArray")),
        ({"w": W[0]}, ValueError, ("w", "(4,)", "(V, 4)")),
        ({"w": W[:, :3]}, ValueError, ("w", "(5, 3)", "(V, 4)")),
        ({"w": W.astype("M8[s]")}, TypeError, ("w", "datetime64")),
        ({"bias": np.zeros(4)}, ValueError, ("bias", "(4,)", "(5,)")),
        ({"bias": np.zeros((1, 5))}, ValueError, ("bias", "(1, 5)", "(5,)")),
        ({"weight": np.ones(3)}, ValueError, ("weight", "(3,)", "(5,)")),
        ({"weight": [1, 1, -2, 1, 1]}, ValueError, ("weight", "-2.0", "index 2")),
        ({"weight": [1, 1, 1, 1, np.inf]}, ValueError, ("weight", "finite", "inf", "index 4")),
        ({"weight": [1, 1, 1, 1, NAN]}, ValueError, ("weight", "nan", "index 4")),
        ({"weight": np.ones(5, complex)}, TypeError, ("weight", "complex128")),
        ({"labels": np.zeros((2, 3), bool)}, TypeError, ("labels", "bool")),
        ({"labels": np.zeros((3, 2), int)}, ValueError, ("labels", "(3, 2)", "(2, 3)")),
        ({"labels": [[0, 1, 2], [3, 5, 9]]}, IndexError, ("5", "(1, 1)", "0 to 4")),
        ({"labels": [[0, 1, 2], [3, -1, 9]]}, IndexError, ("-1", "(1, 1)", "0 to 4")),
        ({"labels": np.zeros((2, 3, 4))}, ValueError, ("labels", "(2, 3, 4)", "(2, 3, 5)")),
        ({"labels": np.full((2, 3, 5), -0.5)}, ValueError, ("labels", "-0.5", "(0, 0, 0)")),
        ({"labels": np.full((2, 3, 5), NAN)}, ValueError, ("labels", "nan", "(0, 0, 0)")),
        ({"labels": np.full((2, 3, 5), INF)}, ValueError, ("labels", "inf", "(0, 0, 0)")),
        ({"ignore_index": 1.5}, TypeError, ("ignore_index", "float")),
        ({"ignore_index": True}, TypeError, ("ignore_index", "bool")),
        ({"label_smoothing": 1.5}, ValueError, ("label_smoothing", "1.5")),
        ({"label_smoothing": NAN}, ValueError, ("label_smoothing", "nan")),
        ({"label_smoothing": "a"}, TypeError, ("label_smoothing", "str")),
        ({"label_smoothing": np.array([0.1])}, TypeError, ("label_smoothing", "number")),
        ({"ignore_index": np.array([1])}, TypeError, ("ignore_index", "integer")),
        ({"z_loss": -1.0}, ValueError, ("z_loss", "-1.0")),
        ({"z_loss": INF}, ValueError, ("z_loss", "inf")),
        ({"reduction": "avg"}, ValueError, ("reduction", "'avg'", "'mean'")),
        ({"reduction": None}, ValueError, ("reduction", "None", "'mean'")),
        ({"block_bytes": 0}, ValueError, ("block_bytes", "0")),
        ({"block_bytes": 1e6}, TypeError, ("block_bytes", "float")),
        ({"num_threads": 0}, ValueError, ("num_threads", "0")),
        ({"dloss": np.ones(2)}, ValueError, ("dloss", "(2,)", "()")),
        ({"dloss": np.ones(2), "reduction": "none"}, ValueError, ("dloss", "(2,)", "(2, 3)")),
        ({"dloss": 1j}, TypeError, ("dloss", "complex128")),
    ],
    ids=lambda v: ", ".join(v) if isinstance(v, dict) else "",
)
def test_bad_input_is_refused(
    change: dict[str, Any], error: type[Exception], words: tuple[str, ...]
) -> None:
    arguments: dict[str, Any] = {"x": X, "w": W, "labels": LABELS} | change
    arrays = [arguments.pop(name) for name in ("x", "w", "labels")]
    with pytest.raises(error, match=mentions(*words)):
        value_and_grad(*arrays, **arguments)
    if "dloss" not in arguments:
        with pytest.raises(error, match=mentions(*words)):
            value(*arrays, **arguments)


@pytest.mark.parametrize("block", BLOCKS, ids=BLOCK_IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_ratios_of_the_weights_of_a_mean_count(dtype: str, block: int) -> None:
    x, w, _, labels = problem((6,), 5, 4, dtype)
    near = np.array([1.0, 2.0, 0.5, 3.0, 1.5])
    wanted = value_and_grad(x, w, labels, weight=near, block_bytes=block)
    for far in (2.0**-140, 2.0**-1000, 2.0**900, 2.0**1020):
        loss, (dx, dw, _) = value_and_grad(x, w, labels, weight=near * far, block_bytes=block)
        assert loss == wanted[0]
        np.testing.assert_array_equal(dx, wanted[1][0])
        np.testing.assert_array_equal(dw, wanted[1][1])


def test_z_loss_by_blocks_of_classes_is_as_exact_as_by_rows() -> None:
    x, w, _, labels = problem((40,), 30, 4, "float32")
    x, w = np.rint(8 * x) / np.float32(8), np.rint(8 * w) / np.float32(8)  # BLAS rounds nothing
    options: dict[str, Any] = {"z_loss": 1.0, "reduction": "none"}
    logits = (x @ w.T).astype(np.float64)
    wanted = softlane.cross_entropy(logits, labels, **options)
    for block in BLOCKS:
        found = value(x, w, labels, block_bytes=block, **options)
        assert (abs(found - wanted) <= 1.5 * np.spacing(wanted.astype("f4"))).all()


def test_no_classes_whatever_the_blocks() -> None:
    x, w, labels = np.zeros((3, 2)), np.zeros((0, 2)), np.zeros((3, 0))
    wanted = softlane.cross_entropy(np.zeros((3, 0)), labels, reduction="none")
    for block in BLOCKS:
        found = value(x, w, labels, reduction="none", block_bytes=block)
        np.testing.assert_array_equal(found, wanted)


def test_any_integer_may_be_ignored() -> None:
    for ignored in (10**30, -(10**30), 4, np.int8(-3)):
        assert np.isfinite(value(X, W, LABELS, ignore_index=ignored))


# ------------------------------------------------------------------------------------------- peers


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    x, w, bias, labels = problem(dtype="float64")
    labels[3] = -100
    weight = np.random.default_rng(2).random(33)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, bias)]
    loss = torch.nn.functional.cross_entropy(
        tensors[0] @ tensors[1].T + tensors[2],
        torch.tensor(labels),
        weight=torch.tensor(weight),
        label_smoothing=0.1,
    )
    loss.backward()
    ours, gradients = value_and_grad(
        x, w, labels, bias=bias, weight=weight, label_smoothing=0.1, block_bytes=9_000
    )
    np.testing.assert_allclose(ours, loss.item(), rtol=1e-12)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-15)


def test_jax_agrees() -> None:
    jax = pytest.importorskip("jax")
    x, w, bias, labels = problem(dtype="float32")

    def loss(x: Any, w: Any, bias: Any) -> Any:
        logp = jax.nn.log_softmax(x @ w.T + bias)
        return -logp[np.arange(40), labels].mean()

    expected, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(x, w, bias)
    ours, own = value_and_grad(x, w, labels, bias=bias, block_bytes=9_000)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    for gradient, theirs in zip(own, gradients, strict=True):
        np.testing.assert_allclose(gradient, theirs, rtol=1e-4, atol=1e-6)
