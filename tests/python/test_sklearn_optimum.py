"""The estimator's optimum, which is that of `LogisticRegression`, and the derivatives it is of."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression

from softlane.sklearn import SoftmaxClassifier
from softlane.sklearn._objective import Objective

SETS = {
    "iris": load_iris,
    "wine": load_wine,  # features of very different scales
    "digits": load_digits,
    "tissue": load_breast_cancer,  # two classes
}


def load(name: str) -> tuple[Any, Any]:
    x, y = SETS[name](return_X_y=True)
    return (x[:600], y[:600]) if name == "digits" else (x, y)


def loss(model: Any, x: Any, y: Any, weight: Any = None) -> float:
    """Return the objective: NumPy's and SciPy's, in float64."""
    coef, intercept = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    logits = x.astype(np.float64) @ coef.T + intercept
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    of_label = logits[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    losses = logsumexp(logits, axis=1) - of_label
    total = losses.sum() if weight is None else losses @ weight
    return float(model.C * total + 0.5 * (coef**2).sum())


def assert_same_optimum(x: Any, y: Any, weight: Any = None, **parameters: Any) -> None:
    tight = {"tol": 1e-9, "max_iter": 200, **parameters}
    ours = SoftmaxClassifier(**tight).fit(x, y, weight)
    theirs = LogisticRegression(solver="newton-cholesky", **tight).fit(x, y, weight)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-4)
    if parameters.get("class_weight") is None:
        np.testing.assert_allclose(loss(ours, x, y, weight), loss(theirs, x, y, weight), rtol=1e-8)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("c", [1e-3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum(name: str, c: float, fit_intercept: bool) -> None:
    x, y = load(name)
    assert_same_optimum(x, y, C=c, fit_intercept=fit_intercept)


@pytest.mark.parametrize("name", ["iris", "tissue"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, {0: 3.0, 1: 0.5}, "balanced"])
def test_optimum_with_weights(name: str, weighted: bool, class_weight: Any) -> None:
    x, y = load(name)
    weight = np.random.default_rng(1).exponential(size=len(y)) if weighted else None
    if weighted and class_weight == "balanced":
        # Not each version of scikit-learn counts the weights of samples.
        sums = np.bincount(y, weight)
        scaled = weight * (sums.sum() / len(sums) / sums)[y]
        ours = SoftmaxClassifier(class_weight="balanced", tol=1e-9).fit(x, y, weight)
        theirs = SoftmaxClassifier(tol=1e-9).fit(x, y, scaled)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-6)
    else:
        assert_same_optimum(x, y, weight, class_weight=class_weight)


@pytest.mark.parametrize("name", ["iris", "tissue"])
def test_weights_are_as_good_as_repetition(name: str) -> None:
    x, y = load(name)
    times = np.random.default_rng(2).integers(0, 4, len(y))
    weighted = SoftmaxClassifier(tol=1e-10).fit(x, y, times)
    repeated = SoftmaxClassifier(tol=1e-10).fit(x.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["iris", "digits", "tissue"])
def test_float32_has_the_same_optimum(name: str) -> None:
    x, y = load(name)
    x = x.astype(np.float32)
    narrow = SoftmaxClassifier(tol=1e-9).fit(x, y)
    wide = SoftmaxClassifier(tol=1e-9).fit(x.astype(np.float64), y)
    assert narrow.coef_.dtype == np.float32
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(loss(narrow, x, y), loss(wide, x, y), rtol=1e-8)


def test_float32_goes_on_in_float64_where_its_digits_do_not_suffice() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2000, 6)) * [0.1, 0.1, 1, 10, 1e3, 1e3] + 6e4
    y = rng.integers(0, 4, 2000)
    model = SoftmaxClassifier(C=1e4, tol=0.6).fit(x.astype(np.float32), y)  # without a warning
    assert model.n_iter_ < 20
    # The products with such features are beyond the range of float32.
    far = np.float32(3e38) * rng.random((200, 3), np.float32)
    narrow = SoftmaxClassifier(tol=1e33).fit(far, far.argmax(axis=1))
    wide = SoftmaxClassifier(tol=1e33).fit(far.astype(np.float64), far.argmax(axis=1))
    assert narrow.score(far, far.argmax(axis=1)) > 0.9
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=0.01)


@pytest.mark.parametrize("classes", [2, 5])
def test_more_features_than_samples(classes: int) -> None:
    # Too many for the eigenvectors of their Gram matrix.
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 400)) * rng.exponential(size=400)
    assert_same_optimum(x, rng.integers(0, classes, 60))


def test_nearly_no_penalty() -> None:
    x, y = load("iris")
    assert_same_optimum(x, y, C=1e4)
    easy = SoftmaxClassifier(C=1e300).fit(x, y)
    assert easy.score(x, y) > 0.98


def test_features_that_are_far_from_zero_constant_or_of_all_scales() -> None:
    x, y = load("iris")
    awkward = np.hstack([x + 1e4, np.full((len(y), 2), [0.1, 3.0]), np.zeros((len(y), 1))])
    model = SoftmaxClassifier(tol=1e-7).fit(awkward, y)
    plain = SoftmaxClassifier(tol=1e-9).fit(x, y)
    np.testing.assert_allclose(model.coef_[:, :4], plain.coef_, atol=1e-4)
    np.testing.assert_allclose(model.coef_[:, 4:], 0.0, atol=1e-6)

    scales = np.array([1e-6, 1.0, 1e3, 1e6])
    model = SoftmaxClassifier(tol=1e-4, C=1e3).fit(x * scales, y)
    size = np.abs(_gradient(model, x * scales, y)).max()
    assert size <= 1e-4
    assert model.n_iter_ < 32


def _gradient(model: Any, x: Any, y: Any) -> Any:
    """Return the gradient of the mean loss and the penalty, by NumPy."""
    residuals = model.predict_proba(x) - (y[:, None] == model.classes_)
    coef = (residuals.T @ x + model.coef_ / model.C) / len(y)
    return np.hstack([coef, residuals.mean(axis=0)[:, None]])


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
def test_the_gradient_is_as_small_as_tol(tol: float) -> None:
    x, y = load("digits")
    model = SoftmaxClassifier(tol=tol).fit(x, y)
    size = np.abs(_gradient(model, x, y)).max()
    assert 1e-4 * tol < size <= tol


def test_a_class_without_weight() -> None:
    x, y = load("iris")
    model = SoftmaxClassifier(class_weight={0: 0.0}).fit(x, y)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(x)[y > 0, 0].max() < 1e-3


def test_layout_of_x_changes_nothing() -> None:
    x, y = load("iris")
    strided = np.zeros((len(y), 8))[:, ::2]
    strided[...] = x
    wanted = SoftmaxClassifier().fit(x, y).coef_
    for other in (np.asfortranarray(x), strided, x.astype(">f8")):
        np.testing.assert_allclose(SoftmaxClassifier().fit(other, y).coef_, wanted, atol=1e-10)


PROBLEMS = list(itertools.product([2, 4], [True, False], [False, True]))


@pytest.mark.parametrize(("classes", "fit_intercept", "weighted"), PROBLEMS)
def test_derivatives(classes: int, fit_intercept: bool, weighted: bool) -> None:
    rng = np.random.default_rng(4)
    # More rows than a block has.
    x = rng.standard_normal((700, 1100)) * rng.exponential(size=1100) + rng.standard_normal(1100)
    y = rng.integers(0, classes, 700)
    weight = rng.exponential(size=700) if weighted else None
    objective = Objective(x, y, weight, classes, 0.7, fit_intercept=fit_intercept)
    assert objective.size < 700

    def value(point: Any) -> float:
        model = SoftmaxClassifier(C=0.7)
        model.coef_, model.intercept_ = point[:-1].T, point[-1]
        model.classes_ = np.arange(classes)
        return loss(model, x, y, weight) * objective.penalty

    start: Any = rng.standard_normal(objective.point.shape) * 0.02
    start[-1] *= fit_intercept
    v = rng.standard_normal((1100 + fit_intercept, objective.outputs)) * 0.1
    gradient = objective.start_at(start, np.dtype(np.float64))
    product = objective.times_hessian(v)
    step = objective.step_of(v)
    objective.aim(step)

    h = 1e-4
    numeric = (value(start + h * step) - value(start - h * step)) / (2 * h)
    np.testing.assert_allclose(np.vdot(gradient, step), numeric, rtol=1e-6)
    np.testing.assert_allclose(objective.slope(0.0), numeric, rtol=1e-6)
    standard = objective.to_standard(gradient)
    np.testing.assert_allclose(np.vdot(standard, v), numeric, rtol=1e-6)
    back = gradient if fit_intercept else gradient[:-1]
    np.testing.assert_allclose(objective.from_standard(standard), back, atol=1e-12)

    objective.slope(h)
    ahead = objective.to_standard(objective.advance(h))
    np.testing.assert_allclose(objective.point, start + h * step, rtol=1e-14)
    size = np.abs(product).max()
    np.testing.assert_allclose((ahead - standard) / h, product, atol=2e-3 * size)


def test_a_penalty_beyond_all_numbers() -> None:
    x, y = np.eye(3), [0, 1, 2]
    for model, weights in (
        (SoftmaxClassifier(C=5e-324), None),
        (SoftmaxClassifier(), [1e-309] * 3),
    ):
        with pytest.raises(ValueError, match=r"C=.* is too small"):
            model.fit(x, y, sample_weight=weights)
