"""The temperature: known ones are found, in few passes; where there is none the error says why."""

from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

import calibration_twin as twin
import softlane
from softlane.calibration import brier_score, fit_temperature, negative_log_likelihood
from softlane.calibration._rows import Rows
from softlane.calibration._temperature import fitted

Array = NDArray[Any]


def every_label(logits: Array, temperature: float) -> tuple[Array, Array, Array]:
    """Return each row with every label, weighted by its probability at a temperature.

    The expected loss is then least at that temperature, exactly.
    """
    n, classes = logits.shape
    p = twin.probabilities(logits, temperature)
    return np.repeat(logits, classes, axis=0), np.tile(np.arange(classes), n), p.ravel()


def drawn(rng: np.random.Generator, logits: Array, temperature: float) -> NDArray[np.integer[Any]]:
    """Return labels drawn from the softmax of logits: Gumbel's trick."""
    return np.asarray((logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1))


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1.0, 2.5, 40.0])
@pytest.mark.parametrize(("n", "classes"), [(1, 2), (3, 7), (200, 10), (20, 300)])
def test_known_temperature(temperature: float, n: int, classes: int) -> None:
    logits = np.random.default_rng(classes).normal(3.0, 2.0, (n, classes))
    z, labels, weight = every_label(logits, temperature)
    found = fit_temperature(z, labels, weight=weight)
    assert abs(found / temperature - 1.0) < 1e-9


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("n", "error"), [(300, 1e-9), (3000, 1e-6)])
def test_known_temperature_of_short_floats(
    dtype: type[Any], offset: float, n: int, error: float
) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(offset, 4.0, (n, 20)).astype(dtype)
    z, labels, weight = every_label(logits.astype(np.float64), 1.7)
    assert abs(fit_temperature(z.astype(dtype), labels, weight=weight) / 1.7 - 1.0) < error


def test_bfloat16() -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(200, 10)).astype(bfloat16)
    wide = logits.astype(np.float64)
    labels = drawn(rng, wide, 0.8)
    assert fit_temperature(logits, labels) == fit_temperature(wide, labels)


def test_two_classes_by_hand() -> None:
    # Odds of 2 to 1 that come true 3 times out of 4: log 3 is wanted where log 2 is claimed.
    logits = np.log([[2.0, 1.0]] * 4)
    assert abs(fit_temperature(logits, [0, 0, 1, 0]) - np.log(2) / np.log(3)) < 1e-12


@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_what_a_row_has_in_common_does_not_count(shift: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.integers(-8, 8, (500, 5)).astype(np.float32)  # sums with the shift are exact
    labels = drawn(rng, logits, 3.0)
    assert fit_temperature(logits + np.float32(shift), labels) == fit_temperature(logits, labels)


def test_scaled_logits_have_a_scaled_temperature() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(400, 6))
    labels = drawn(rng, logits, 0.7)
    found = fit_temperature(logits, labels)
    for scale in (2.0**-300, 2.0**-20, 2.0**20, 2.0**300):
        assert abs(fit_temperature(logits * scale, labels) / (found * scale) - 1.0) < 1e-9


def test_many_rows_begin_with_some() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(60_000, 80)).astype(np.float32) * 3
    labels = drawn(rng, logits, 1.7)
    weight = np.ones(len(labels))

    def passes() -> int:
        search = fitted(Rows(logits, labels))
        wide = logits.astype(np.float64)
        assert abs(twin.slope_of_loss(wide, labels, weight, 1 / search.beta)) < 1e-7
        return search.gaps.passes

    assert passes() == 2
    # Every twentieth row says that there is no best temperature; or that it is another one.
    labels[::20] = logits[::20].argmax(axis=1)
    assert passes() > 2
    logits[::20] = 0.0
    assert passes() > 2
    logits[::20] = rng.normal(size=(3000, 80)) * 1000
    labels[::20] = drawn(rng, logits[::20], 1000.0)
    passes()


def test_rows_to_begin_with_may_all_be_without_weight() -> None:
    rng = np.random.default_rng(11)
    logits = rng.normal(size=(60_000, 80)).astype(np.float32)
    labels = drawn(rng, logits, 1.7)
    weight = np.ones(len(labels))
    weight[::20] = 0.0
    found = fit_temperature(logits, labels, weight=weight)
    counted = weight > 0.0
    assert found == pytest.approx(fit_temperature(logits[counted], labels[counted]), rel=1e-6)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, classes = draw(st.integers(1, 60)), draw(st.integers(2, 40))
    logits = rng.normal(size=(n, classes))
    if draw(st.booleans()):
        logits = -np.log(rng.random((n, classes))) * np.sign(logits)  # longer tails
    logits = (logits + draw(st.floats(-3, 3))) * 10.0 ** draw(st.floats(-4, 4))
    labels = drawn(rng, logits, 10.0 ** draw(st.floats(-2, 2)) * logits.std())
    weight = rng.random(n) if draw(st.booleans()) else np.ones(n)
    return logits, labels, weight


@hypothesis.given(problems())
def test_least_loss_in_few_passes(problem: tuple[Array, Array, Array]) -> None:
    logits, labels, weight = problem
    rows = Rows(logits, labels, weight)
    at_label = logits[np.arange(len(labels)), labels]
    why = None
    if (at_label == logits.max(axis=1)).all():
        why = "every label has the largest logit"
    elif weight @ (at_label - logits.mean(axis=1)) <= 0.0:
        why = "no larger logits than the other classes"
    if why is not None:
        with pytest.raises(ValueError, match=why):
            fit_temperature(logits, labels, weight=weight)
        return
    search = fitted(rows)
    # One pass is at beta = 0, where the search begins.
    assert search.gaps.passes - 1 < 10
    assert abs(twin.slope_of_loss(logits, labels, weight, 1 / search.beta)) < 1e-9


def test_few_passes_for_a_single_wrong_row_of_skewed_logits() -> None:
    # One large logit a row: the loss is nearly straight, then bends where few rows decide.
    rng = np.random.default_rng(10)
    steps = []
    for _ in range(100):
        logits = rng.exponential(size=(rng.choice([2, 20]), rng.choice([100, 1000]))) ** 2
        labels = logits.argmax(axis=1)
        labels[0] = logits[0].argsort()[rng.integers(logits.shape[1] * 2 // 3, logits.shape[1] - 1)]
        search = fitted(Rows(logits, labels))
        assert abs(twin.slope_of_loss(logits, labels, np.ones(len(labels)), 1 / search.beta)) < 1e-9
        steps.append(search.gaps.passes - 1)
    assert max(steps) < 10
    assert np.mean(steps) < 6


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(50, 4))
    labels = drawn(rng, logits, 2.0)
    times = rng.integers(0, 4, 50)
    repeated = fit_temperature(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert abs(fit_temperature(logits, labels, weight=times) / repeated - 1.0) < 1e-12


def test_excluded_classes_do_not_count() -> None:
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(100, 4))
    labels = drawn(rng, logits, 2.0)
    wide = np.full((100, 9), -np.inf)
    places = np.array([1, 2, 5, 8])
    wide[:, places] = logits
    assert fit_temperature(wide, places[labels]) == pytest.approx(
        fit_temperature(logits, labels), rel=1e-12
    )


def test_an_excluded_label_that_does_not_count() -> None:
    logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, -np.inf]])
    expected = fit_temperature(logits[:3], [0, 0, 1])
    assert fit_temperature(logits, [0, 0, 1, 1], weight=[1, 1, 1, 0]) == pytest.approx(expected)


def test_integers_are_taken_as_float64() -> None:
    logits = np.array([[2, 1], [2, 1], [1, 2]], np.uint8)
    assert fit_temperature(logits, [0, 0, 0]) == fit_temperature(logits.astype(float), [0, 0, 0])


def test_threads_layout_and_byte_order_change_nothing() -> None:
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(3000, 50)).astype(np.float32)
    labels = drawn(rng, logits, 1.3)
    found = fit_temperature(logits, labels)
    assert fit_temperature(np.asfortranarray(logits), labels) == found
    assert fit_temperature(logits.astype(">f4"), labels.astype(">i2")) == found
    for threads in (1, 2, 7):
        with softlane.threads(threads):
            assert fit_temperature(logits, labels) == found


def test_it_is_the_least_loss() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(300, 5))
    labels = drawn(rng, logits, 0.6)
    best = fit_temperature(logits, labels)
    least = negative_log_likelihood(logits, labels, temperature=best)
    for other in (best * 1.001, best / 1.001):
        assert negative_log_likelihood(logits, labels, temperature=other) > least


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("logits", "labels", "why"),
    [
        ([[1, 2], [3, -4]], [1, 0], "every label has the largest logit"),
        ([[1, 2], [3, -4]], [0, 1], "no larger logits than the other classes"),
        ([[1, 2, 0], [1, 2, 0], [1, 2, 0]], [0, 1, 2], "no larger logits than the other classes"),
        ([[1, 1], [2, 2]], [1, 0], "the logits of every row are equal"),
        ([[1], [2]], [0, 0], "the logits of every row are equal"),
        (
            [[1, 2], [0, -np.inf]],
            [0, 1],
            r"row 1 has the label 1, which its logit of -inf excludes",
        ),
    ],
)
def test_no_temperature_is_best(
    dtype: type[Any], logits: list[list[float]], labels: list[int], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        fit_temperature(np.array(logits, dtype), labels)


@pytest.mark.parametrize("size", [1e308, 1e200, 1e-160, 1e-300])
def test_logits_whose_squares_are_out_of_range(size: float) -> None:
    with pytest.raises(ValueError, match="beyond the range of float64"):
        fit_temperature([[size, 0.0], [0.0, size]], [0, 0], weight=[2.0, 1.0])


def test_gaps_whose_ratio_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="beyond the range of float64"):
        fit_temperature([[1e100, 0.0], [1e-300, 0.0]], [0, 1])


@pytest.mark.parametrize("size", [1e140, 1e30, 1e-30, 1e-140])
def test_logits_whose_squares_are_in_range(size: float) -> None:
    found = fit_temperature([[size, 0.0], [0.0, size]], [0, 0], weight=[2.0, 1.0])
    assert found == pytest.approx(size / np.log(2), rel=1e-9)


@pytest.mark.parametrize("size", [1e307, 1e-307])
def test_only_ratios_of_weights_count(size: float) -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(5, 3)) * 4, np.array([0, 1, 2, 0, 1])
    weight = np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    assert fit_temperature(logits, labels, weight=weight * size) == pytest.approx(
        fit_temperature(logits, labels, weight=weight), rel=1e-9
    )
    for measure in (negative_log_likelihood, brier_score):
        wanted = measure(logits, labels, weight=weight)
        assert measure(logits, labels, weight=weight * size) == pytest.approx(wanted, rel=1e-14)
