"""Calibration errors, reliability curves and scores against cases by hand and the plain twins."""

import math
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import calibration_twin as twin
from softlane.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    maximum_calibration_error,
    negative_log_likelihood,
    plot_reliability,
    reliability_curve,
)

Array = NDArray[Any]
FUNCTIONS: list[Callable[..., Any]] = [
    brier_score,
    expected_calibration_error,
    fit_temperature,
    maximum_calibration_error,
    negative_log_likelihood,
    plot_reliability,
    reliability_curve,
]
WITH_TEMPERATURE = [f for f in FUNCTIONS if f is not fit_temperature]
WITH_BINS = [
    expected_calibration_error,
    maximum_calibration_error,
    plot_reliability,
    reliability_curve,
]
WITH_WEIGHT = [
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
]
each = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)


def problem(n: int = 400, classes: int = 6, seed: int = 0) -> tuple[Array, Array]:
    """Return logits that are surer than they should be, and their labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return 2.5 * logits, labels


# What these logits claim: 1/2 twice, of which one is right; 4/5 five times, of which three are.
HALF, FOUR_FIFTHS = [0.0, 0.0], [math.log(4.0), 0.0]
BY_HAND = np.array([HALF] * 2 + [FOUR_FIFTHS] * 5)
LABELS = np.array([0, 1, 0, 0, 0, 1, 1])


# ------------------------------------------------------------------------------------------ by hand


def test_errors_by_hand() -> None:
    assert expected_calibration_error(BY_HAND, LABELS) == pytest.approx(5 / 7 * 0.2)
    assert maximum_calibration_error(BY_HAND, LABELS) == pytest.approx(0.2)
    # All in one bin: mean confidence 5/7, accuracy 4/7.
    assert expected_calibration_error(BY_HAND, LABELS, n_bins=1) == pytest.approx(1 / 7)
    assert maximum_calibration_error(BY_HAND, LABELS, n_bins=1) == pytest.approx(1 / 7)


def test_classwise_error_by_hand() -> None:
    # Class 0 claims 1/2 and 4/5, and comes true in 1/2 and 3/5; class 1 claims 1/2 and 1/5, and
    # comes true in 1/2 and 2/5.
    error = expected_calibration_error(BY_HAND, LABELS, n_bins=3, classwise=True)
    assert error == pytest.approx((5 / 7 * 0.2 + 5 / 7 * 0.2) / 2)


def test_curve_by_hand() -> None:
    curve = reliability_curve(BY_HAND, LABELS, n_bins=5)
    np.testing.assert_allclose(curve.confidence, [np.nan, np.nan, 0.5, 0.8, np.nan])
    np.testing.assert_allclose(curve.accuracy, [np.nan, np.nan, 0.5, 0.6, np.nan])
    np.testing.assert_array_equal(curve.count, [0, 0, 2, 5, 0])
    np.testing.assert_array_equal(curve.edges, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert [str(a.dtype) for a in curve] == ["float64", "float64", "int64", "float64"]


def test_scores_by_hand() -> None:
    logs = [math.log(2)] * 2 + [math.log(5 / 4)] * 3 + [math.log(5)] * 2
    assert negative_log_likelihood(BY_HAND, LABELS) == pytest.approx(sum(logs) / 7)
    squares = [0.5] * 2 + [2 * 0.2**2] * 3 + [2 * 0.8**2] * 2
    assert brier_score(BY_HAND, LABELS) == pytest.approx(sum(squares) / 7)


def test_scores_near_certainty_keep_their_digits() -> None:
    logits = np.array([[40.0, 0.0]], np.float32)
    tiny = math.exp(-40.0)
    assert negative_log_likelihood(logits, [0]) == pytest.approx(tiny, rel=1e-6)
    assert brier_score(logits, [0]) == pytest.approx(2 * tiny**2, rel=1e-6)


def test_certain_and_wrong() -> None:
    logits = np.array([[0.0, -np.inf]])
    assert negative_log_likelihood(logits, [1]) == math.inf
    assert negative_log_likelihood([[0.0, -np.inf], [2.0, 2.0]], [1, 0], weight=[0, 3]) == (
        pytest.approx(math.log(2))
    )
    assert brier_score(logits, [1]) == 2.0
    assert maximum_calibration_error(logits, [1]) == 1.0


# -------------------------------------------------------------------------------------- bins, edges


@pytest.mark.parametrize("n_bins", [2, 4, 8])
def test_a_confidence_on_an_edge_is_in_the_bin_below(n_bins: int) -> None:
    curve = reliability_curve([HALF], [0], n_bins=n_bins)
    assert curve.edges[n_bins // 2] == 0.5
    assert curve.count.tolist() == [int(k == n_bins // 2 - 1) for k in range(n_bins)]


def test_confidence_of_exactly_one_is_in_the_last_bin_and_zero_in_the_first() -> None:
    logits = [[0.0, -np.inf]]
    assert reliability_curve(logits, [0], n_bins=3).count.tolist() == [0, 0, 1]
    # Class 1 claims 0, which is in the first bin, and never comes true.
    assert expected_calibration_error(logits, [0], n_bins=3, classwise=True) == 0.0
    assert expected_calibration_error(logits, [1], n_bins=3, classwise=True) == 1.0


def test_edges_are_the_nearest_floats() -> None:
    edges = reliability_curve(*problem(), n_bins=10).edges
    assert edges.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_quantile_bins_have_equally_many_rows() -> None:
    curve = reliability_curve(*problem(400), n_bins=8, strategy="quantile")
    assert curve.count.tolist() == [50] * 8
    assert ((curve.edges[:-1] <= curve.confidence) & (curve.confidence <= curve.edges[1:])).all()
    assert reliability_curve(*problem(10), n_bins=4, strategy="quantile").count.sum() == 10


@pytest.mark.parametrize("weight", [None, 1.0, 0.1, 1e300])
@pytest.mark.parametrize("classwise", [False, True])
def test_quantile_bins_of_one_row_each(weight: float | None, classwise: bool) -> None:
    # k / n is no float, so that n times it may be above k.
    for n in (35, 49, 98):
        logits, labels = problem(n, 2)
        if not classwise and weight is None:
            curve = reliability_curve(logits, labels, n_bins=n, strategy="quantile")
            assert curve.count.tolist() == [1] * n
        p = twin.probabilities(logits)
        gaps = abs(p - np.eye(2)[labels]) if classwise else abs(p.max(1) - (p.argmax(1) == labels))
        found = expected_calibration_error(
            logits,
            labels,
            n_bins=n,
            strategy="quantile",
            classwise=classwise,
            weight=None if weight is None else np.full(n, weight),
        )
        assert found == pytest.approx(gaps.mean(), rel=1e-12)


def test_equal_confidences_are_never_parted() -> None:
    curve = reliability_curve(BY_HAND, LABELS, n_bins=7, strategy="quantile")
    assert sorted(curve.count.tolist()) == [0, 0, 0, 0, 0, 2, 5]


def test_one_row() -> None:
    for strategy in ("uniform", "quantile"):
        curve = reliability_curve([[0.0, 0.0, 0.0, 0.0]], [0], strategy=strategy)
        assert curve.count.sum() == 1
        assert expected_calibration_error(
            [[0.0, 0.0, 0.0, 0.0]], [0], strategy=strategy, classwise=True
        ) == pytest.approx((0.75 + 3 * 0.25) / 4)


def test_of_tied_classes_the_first_is_predicted() -> None:
    assert reliability_curve([HALF], [0], n_bins=1).accuracy == [1.0]
    assert reliability_curve([HALF], [1], n_bins=1).accuracy == [0.0]


# ------------------------------------------------------------------------------------------- twins


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("n_bins", [1, 3, 15])
@pytest.mark.parametrize("shape", [(400, 6), (3, 2), (30_000, 3)])
def test_errors_are_the_twins(
    temperature: float, strategy: Any, n_bins: int, shape: tuple[int, int]
) -> None:
    logits, labels = problem(*shape)
    options: dict[str, Any] = {"temperature": temperature, "n_bins": n_bins, "strategy": strategy}
    p = twin.probabilities(logits, temperature)
    claims, hits = twin.top_label(p, labels)
    expected = twin.calibration_error(claims, hits, n_bins, strategy)
    assert expected_calibration_error(logits, labels, **options) == pytest.approx(
        expected, abs=1e-12
    )
    filled = [b for b in twin.bins(claims, hits, n_bins, strategy) if len(b[0]) > 0]
    largest = max(abs(claim.mean() - hit.mean()) for claim, hit in filled)
    assert maximum_calibration_error(logits, labels, **options) == pytest.approx(largest, abs=1e-12)
    by_class = [
        twin.calibration_error(p[:, k], (labels == k).astype(float), n_bins, strategy)
        for k in range(p.shape[1])
    ]
    error = expected_calibration_error(logits, labels, classwise=True, **options)
    assert error == pytest.approx(np.mean(by_class), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_scores_are_the_twins(temperature: float, dtype: type[Any], error: float) -> None:
    logits, labels = problem(30_000, 5)
    logits = logits.astype(dtype)
    p = twin.probabilities(logits, temperature)
    nll = negative_log_likelihood(logits, labels, temperature=temperature)
    assert nll == pytest.approx(twin.negative_log_likelihood(p, labels), rel=error)
    brier = brier_score(logits, labels, temperature=temperature)
    assert brier == pytest.approx(twin.brier_score(p, labels), rel=error)


def test_scores_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for classes in (2, 5):
        logits, labels = problem(500, classes)
        p = twin.probabilities(logits)
        assert negative_log_likelihood(logits, labels) == pytest.approx(
            metrics.log_loss(labels, p, labels=range(classes))
        )
        theirs = metrics.brier_score_loss(labels, p[:, 1] if classes == 2 else p)
        assert brier_score(logits, labels) == pytest.approx(theirs * (2 if classes == 2 else 1))


@pytest.mark.parametrize("seed", range(4))
def test_debiased_error_is_what_sampling_gives(seed: int) -> None:
    logits, labels = problem(200, 4, seed)
    claims, hits = twin.top_label(twin.probabilities(logits), labels)
    sampled = twin.sampled_debiased_error(claims, hits, 10, 200_000)
    error = expected_calibration_error(logits, labels, n_bins=10, debiased=True)
    assert error == pytest.approx(sampled, abs=2e-4)
    assert error < expected_calibration_error(logits, labels, n_bins=10)


@pytest.mark.parametrize("classwise", [False, True])
def test_debiased_error_of_the_calibrated_is_nearer_to_zero(classwise: bool) -> None:
    plain, debiased = [], []
    for seed in range(40):
        logits, labels = problem(2000, 4, seed)
        options: dict[str, Any] = {"temperature": 2.5, "classwise": classwise}
        plain.append(expected_calibration_error(logits, labels, **options))
        debiased.append(expected_calibration_error(logits, labels, debiased=True, **options))
    assert min(debiased) >= 0.0
    # For x normal around 0 with spread s, |x| is 0.80 s on average, and with the noise 1.13 s:
    # 2 · 0.80 − 1.13 = 0.47 is left, which is 0.59 of 0.80.
    assert 0.55 < np.mean(debiased) / np.mean(plain) < 0.63


# ----------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("options", [{}, {"strategy": "quantile"}, {"debiased": True}])
@pytest.mark.parametrize("classwise", [False, True])
def test_weights_are_repetitions_in_errors(options: dict[str, Any], classwise: bool) -> None:
    logits, labels = problem(60, 4)
    times = np.random.default_rng(1).integers(0, 4, 60)
    again = np.repeat(logits, times, axis=0), np.repeat(labels, times)
    repeated = expected_calibration_error(*again, classwise=classwise, **options)
    error = expected_calibration_error(logits, labels, classwise=classwise, weight=times, **options)
    assert error == pytest.approx(repeated, abs=1e-14)


@pytest.mark.parametrize("function", [brier_score, negative_log_likelihood])
def test_weights_are_repetitions_in_scores(function: Callable[..., float]) -> None:
    logits, labels = problem(60, 4)
    times = np.random.default_rng(1).integers(0, 4, 60)
    repeated = function(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert function(logits, labels, weight=times) == pytest.approx(repeated, rel=1e-14)


# --------------------------------------------------------------------------------- input and errors


@each
def test_what_goes_in(function: Callable[..., Any]) -> None:
    logits, labels = problem(50, 4)

    def result(logits: Any, labels: Any) -> Array:
        if function is plot_reliability:
            return np.array(
                [bar.get_height() for bar in function(logits, labels, ax=axes()).patches]
            )
        value = function(logits, labels)
        return np.hstack(value if isinstance(value, tuple) else [value])

    expected = result(logits, labels)
    before = logits.copy()
    np.testing.assert_array_equal(result(logits.tolist(), labels.tolist()), expected)
    np.testing.assert_array_equal(
        result(np.asfortranarray(logits), labels.astype(np.uint8)), expected
    )
    np.testing.assert_array_equal(result(logits.astype(">f8"), labels), expected)
    np.testing.assert_array_equal(logits, before)
    short = logits.astype(np.float16)
    np.testing.assert_array_equal(result(short, labels), result(short.astype(np.float32), labels))


def axes() -> Any:
    figure = pytest.importorskip("matplotlib.figure")
    return figure.Figure().subplots()


@each
@pytest.mark.parametrize(
    ("logits", "labels", "error", "why"),
    [
        ([1.0, 2.0], [0], ValueError, r"logits has shape \(2,\), expected \(n, classes\)"),
        (np.zeros((0, 3)), np.zeros(0, int), ValueError, r"logits has shape \(0, 3\)"),
        (np.zeros((3, 0)), [0, 0, 0], ValueError, r"logits has shape \(3, 0\)"),
        (np.eye(3) + 1, [0, 1], ValueError, r"labels has shape \(2,\), expected \(3,\)"),
        (np.eye(3) + 1, [[0], [1], [2]], ValueError, r"labels has shape \(3, 1\), expected \(3,\)"),
        (np.eye(3) + 1, [0, 3, -1], IndexError, r"labels must be from 0 to 2, got 3 at \(1,\)"),
        (np.eye(3) + 1, [0, 1, -1], IndexError, r"labels must be from 0 to 2, got -1 at \(2,\)"),
        (np.eye(3) + 1, [0.0, 1.0, 2.0], TypeError, "labels has dtype float64, expected integers"),
        (np.eye(3) + 1, [True, False, True], TypeError, "labels has dtype bool, expected integers"),
        (np.eye(3, dtype=complex), [0, 1, 2], TypeError, "logits has dtype complex128"),
        (np.array([["a", "b"]]), [0], TypeError, "logits has dtype <U1"),
        (np.ma.ones((2, 2)), [0, 1], TypeError, "logits is a numpy.ma.MaskedArray"),
        ([[0.0, 1.0], [np.nan, 2.0]], [0, 1], ValueError, "logits has NaN in row 1"),
        ([[0.0, 3.0], [0.0, 1.0], [0.0, np.inf]], [1, 0, 1], ValueError, "logits has inf in row 2"),
        ([[0.0, 3.0], [-np.inf] * 2], [0, 1], ValueError, "logits has -inf alone in row 1"),
    ],
)
def test_errors(
    function: Callable[..., Any], logits: Any, labels: Any, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        function(logits, labels)


@each
def test_the_row_of_a_nan_is_named_in_large_arrays(function: Callable[..., Any]) -> None:
    logits = np.random.default_rng(0).normal(size=(70_000, 64)).astype(np.float32)
    logits[60_000, 63] = np.nan
    logits[60_001, 0] = np.inf
    with pytest.raises(ValueError, match="logits has NaN in row 60000, expected finite numbers"):
        function(logits, np.zeros(70_000, int))


@pytest.mark.parametrize("function", WITH_TEMPERATURE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_wrong_temperatures(function: Callable[..., Any], temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        function(BY_HAND, LABELS, temperature=temperature)


@pytest.mark.parametrize("function", WITH_BINS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"n_bins": 0}, ValueError, "n_bins must be at least 1, got 0"),
        ({"n_bins": 2.0}, TypeError, "n_bins must be an integer, got float"),
        ({"n_bins": True}, TypeError, "n_bins must be an integer, got bool"),
        (
            {"strategy": "equal"},
            ValueError,
            "strategy must be 'uniform' or 'quantile', got 'equal'",
        ),
    ],
)
def test_wrong_bins(
    function: Callable[..., Any], options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        function(BY_HAND, LABELS, **options)


@pytest.mark.parametrize("option", ["classwise", "debiased"])
@pytest.mark.parametrize("value", ["no", None, 1])
def test_wrong_switches(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{option} must be True or False, got {value!r}"):
        expected_calibration_error(BY_HAND, LABELS, **{option: value})


@pytest.mark.parametrize("function", WITH_WEIGHT, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("weight", "why"),
    [
        ([1.0, 2.0], r"weight has shape \(2,\), expected \(7,\)"),
        ([1.0, 1.0, -2.0, 1.0, 1.0, 1.0, 1.0], r"weight must be finite.* got -2.0 at \(2,\)"),
        ([1.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0], r"weight must be finite.* got nan at \(1,\)"),
        ([1.0, np.inf, 1.0, 1.0, 1.0, 1.0, 1.0], r"weight must be finite.* got inf at \(1,\)"),
        ([0.0] * 7, "weight must have a sum that is finite and above 0, got 0.0"),
        ([1e308] * 7, "weight must have a sum that is finite and above 0, got inf"),
    ],
)
def test_wrong_weights(function: Callable[..., Any], weight: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        function(BY_HAND, LABELS, weight=weight)


@each
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_probabilities_are_warned_of(function: Callable[..., Any], dtype: type[Any]) -> None:
    logits, labels = problem(50, 4)
    p = twin.probabilities(logits)
    if dtype is np.int64:
        p = np.eye(4)[p.argmax(axis=1)]
    options = {} if function is not plot_reliability else {"ax": axes()}
    with pytest.warns(UserWarning, match=r"look like probabilities.*np\.log") as caught:
        function(p.astype(dtype), labels, **options)
    assert caught[0].filename == __file__
    # One row that is no distribution is enough; and log-probabilities are logits.
    p[49, 0] += 0.1
    function(p, labels, **options)
    if dtype is not np.int64:
        function(np.log(p), labels, **options)


def test_one_class_is_always_right() -> None:
    logits = np.ones((3, 1))
    assert negative_log_likelihood(logits, [0, 0, 0]) == 0.0
    assert expected_calibration_error(logits, [0, 0, 0]) == 0.0
    assert brier_score(logits, [0, 0, 0]) == 0.0


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not plot_reliability])
def test_memory_does_not_grow_with_the_logits(function: Callable[..., Any]) -> None:
    logits = np.random.default_rng(0).normal(size=(40_000, 200)).astype(np.float32)
    labels = logits.argmin(axis=1)
    labels[::2] = logits[::2].argmax(axis=1)
    if function is fit_temperature:
        function = partial(function, weight=np.where(np.arange(40_000) % 2 == 0, 9.0, 1.0))
    tracemalloc.start()
    try:
        function(logits, labels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.2 * logits.nbytes
