"""Temperature scaling around classifiers of scikit-learn."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.estimator_checks import estimator_checks_generator

from softlane.calibration import (
    TemperatureScaling,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)

Array = NDArray[Any]
Split = tuple[Array, Array, Array, Array, Array, Array]


@pytest.fixture(scope="module")
def digits() -> Split:
    """Data to train with, to calibrate with and to test with, and their labels."""
    X, y = load_digits(return_X_y=True)  # noqa: N806
    X = X / 16 + np.random.default_rng(0).normal(0, 0.35, X.shape)  # noqa: N806
    train, rest, y_train, y_rest = train_test_split(X, y, train_size=300, random_state=0)
    held_out, test, y_held_out, y_test = train_test_split(rest, y_rest, random_state=0)
    return train, y_train, held_out, y_held_out, test, y_test


@pytest.fixture(scope="module")
def overconfident(digits: Split) -> Any:
    return LogisticRegression(C=1000, max_iter=5000).fit(*digits[:2])


def test_the_error_is_more_than_halved(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, test, y_test = digits
    calibrated = TemperatureScaling(overconfident).fit(held_out, y_held_out)
    logits, scaled = overconfident.decision_function(test), calibrated.decision_function(test)
    assert calibrated.temperature_ > 1
    before = expected_calibration_error(logits, y_test)
    assert expected_calibration_error(scaled, y_test) < 0.5 * before
    assert negative_log_likelihood(scaled, y_test) < negative_log_likelihood(logits, y_test)
    np.testing.assert_array_equal(calibrated.predict(test), overconfident.predict(test))


def test_probabilities_follow_from_the_logits(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, test, _ = digits
    calibrated = TemperatureScaling(overconfident).fit(held_out, y_held_out)
    logits = overconfident.decision_function(held_out)
    assert calibrated.temperature_ == fit_temperature(logits, y_held_out)
    p = calibrated.predict_proba(test)
    exps = np.exp(overconfident.decision_function(test) / calibrated.temperature_)
    np.testing.assert_allclose(p, exps / exps.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(
        calibrated.predict_log_proba(test), np.log(p), rtol=1e-12, atol=1e-15
    )
    assert calibrated.n_features_in_ == 64
    np.testing.assert_array_equal(calibrated.classes_, np.arange(10))


def test_scikit_learn_finds_the_same_temperature(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, test, _ = digits
    try:
        theirs = CalibratedClassifierCV(FrozenEstimator(overconfident), method="temperature", cv=2)
        theirs.fit(held_out, y_held_out)
    except (ImportError, ValueError):
        pytest.skip("this scikit-learn has no temperature scaling")
    # They fit on the whole of it where the estimator is frozen: one calibrated classifier.
    assert len(theirs.calibrated_classifiers_) == 1
    calibrated = TemperatureScaling(overconfident).fit(held_out, y_held_out)
    np.testing.assert_allclose(
        calibrated.predict_proba(test), theirs.predict_proba(test), atol=1e-6
    )


@pytest.mark.parametrize(
    "labels", [np.array(["no", "yes"]), np.array([-1, 1]), np.array([False, True])]
)
def test_two_classes(digits: Split, labels: Array) -> None:
    train, y_train, held_out, y_held_out, test, _ = digits
    classifier = LinearSVC(C=100, max_iter=20_000).fit(train, labels[(y_train > 4).astype(int)])
    calibrated = TemperatureScaling(classifier).fit(held_out, labels[(y_held_out > 4).astype(int)])
    scores = classifier.decision_function(test)
    p = calibrated.predict_proba(test)
    assert p.shape == (len(test), 2)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-scores / calibrated.temperature_)))
    np.testing.assert_allclose(calibrated.decision_function(test), scores / calibrated.temperature_)
    np.testing.assert_array_equal(calibrated.predict(test), classifier.predict(test))
    np.testing.assert_array_equal(calibrated.classes_, labels)


@pytest.mark.parametrize("classifier", [GaussianNB(), RandomForestClassifier(random_state=0)])
def test_classifiers_without_scores(digits: Split, classifier: Any) -> None:
    train, y_train, held_out, y_held_out, test, y_test = digits
    classifier = clone(classifier).fit(train, y_train)
    calibrated = TemperatureScaling(classifier).fit(held_out, y_held_out)
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(classifier.predict_proba(test)), np.log(np.finfo(float).eps))
    scaled = logits / calibrated.temperature_
    np.testing.assert_allclose(calibrated.decision_function(test), scaled, rtol=1e-6)
    assert negative_log_likelihood(scaled, y_test) < negative_log_likelihood(logits, y_test)


def test_a_classifier_that_is_none_of_scikit_learn() -> None:
    class Scores:
        classes_ = ("b", "a", "c")  # in no order

        def decision_function(self, X: Any) -> Any:  # noqa: N803
            return [[2, 0, 0]] * len(X)

    calibrated = TemperatureScaling(Scores()).fit([[0]] * 4, list("bbba"))
    # 3 of 4 are the first class: exp(2 / T) = 3 * 2.
    assert calibrated.temperature_ == pytest.approx(2 / np.log(6))
    assert calibrated.predict_proba([[0]])[0] == pytest.approx([3 / 4, 1 / 8, 1 / 8])
    assert calibrated.decision_function([[0]])[0] == pytest.approx([np.log(6), 0, 0])
    assert calibrated.predict([[0]]).tolist() == ["b"]
    assert not hasattr(calibrated, "n_features_in_")


def test_a_pipeline_and_columns_with_names(digits: Split) -> None:
    train, y_train, held_out, y_held_out, test, _ = digits
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    calibrated = TemperatureScaling(pipeline.fit(train, y_train)).fit(held_out, y_held_out)
    assert calibrated.predict_proba(test).shape == (len(test), 10)


def test_weights_are_repetitions(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, _, _ = digits
    times = np.random.default_rng(0).integers(0, 3, len(held_out))
    weighted = TemperatureScaling(overconfident).fit(held_out, y_held_out, sample_weight=times)
    repeated = TemperatureScaling(overconfident).fit(
        np.repeat(held_out, times, axis=0), np.repeat(y_held_out, times)
    )
    assert weighted.temperature_ == pytest.approx(repeated.temperature_, rel=1e-9)


def test_without_a_best_temperature_it_stays_one(digits: Split, overconfident: Any) -> None:
    train, y_train, held_out, _, _, _ = digits
    with pytest.warns(
        ConvergenceWarning, match="every label has the largest.*temperature 1 is taken"
    ) as caught:
        calibrated = TemperatureScaling(overconfident).fit(train, y_train)
    assert caught[0].filename == __file__
    assert calibrated.temperature_ == 1.0
    worst = overconfident.decision_function(held_out).argmin(axis=1)
    with pytest.warns(ConvergenceWarning, match="no larger logits.*temperature 1 is taken"):
        assert TemperatureScaling(overconfident).fit(held_out, worst).temperature_ == 1.0


def test_a_clone_keeps_the_classifier(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, _, _ = digits
    calibrated = TemperatureScaling(overconfident).fit(held_out, y_held_out)
    copy = clone(calibrated)
    assert copy.estimator is overconfident
    assert not hasattr(copy, "temperature_")
    p = cross_val_predict(calibrated, held_out, y_held_out, cv=3, method="predict_proba")
    error = expected_calibration_error(np.log(p), y_held_out)
    assert error < expected_calibration_error(overconfident.decision_function(held_out), y_held_out)


def test_pickle(digits: Split, overconfident: Any) -> None:
    _, _, held_out, y_held_out, test, _ = digits
    calibrated = TemperatureScaling(overconfident).fit(held_out, y_held_out)
    again = pickle.loads(pickle.dumps(calibrated))
    np.testing.assert_array_equal(again.predict_proba(test), calibrated.predict_proba(test))


def test_errors(digits: Split, overconfident: Any) -> None:
    train, y_train, held_out, y_held_out, test, _ = digits
    with pytest.raises(NotFittedError, match="estimator must be a fitted classifier"):
        TemperatureScaling(LogisticRegression()).fit(held_out, y_held_out)
    with pytest.raises(NotFittedError):
        TemperatureScaling(overconfident).predict(test)
    with pytest.raises(ValueError, match=r"y has the class .*77.*, expected one of \[0, 1, 2"):
        TemperatureScaling(overconfident).fit(held_out[:2], [3, 77])
    with pytest.raises(ValueError, match=r"y has shape \(.*\), expected"):
        TemperatureScaling(overconfident).fit(held_out, y_held_out[1:])
    for classes in (3, 10):  # three classes have three pairs
        chosen, y_chosen = train[y_train < classes], y_train[y_train < classes]
        pairs = SVC(decision_function_shape="ovo").fit(chosen, y_chosen)
        piped = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo"))
        searched = GridSearchCV(SVC(decision_function_shape="ovo"), {"C": [1.0]}, cv=2)
        for classifier in (
            pairs,
            piped.fit(chosen, y_chosen),
            searched.fit(chosen, y_chosen),
            FrozenEstimator(piped),
        ):
            wanted = r"scores of shape \(.*\), one a pair of classes, exp"
            with pytest.raises(ValueError, match=wanted):
                TemperatureScaling(classifier).fit(chosen, y_chosen)


def test_scores_of_a_wrong_shape() -> None:
    class Scores:
        classes_ = (0, 1, 2)

        def decision_function(self, X: Any) -> Any:  # noqa: N803
            return np.zeros((len(X), 2))

    with pytest.raises(ValueError, match=r"estimator gives scores of shape \(4, 2\), expected"):
        TemperatureScaling(Scores()).fit([[0]] * 4, [0, 1, 2, 0])


class FitsBoth(TemperatureScaling):
    """A calibrator that fits its classifier, too: scikit-learn's checks bring data of their own."""

    def __init__(self, estimator: Any = None) -> None:
        super().__init__(estimator)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
        self.fitted_ = LogisticRegression(tol=1e-12).fit(X, y, sample_weight)
        return super().fit(X, y, sample_weight)

    def _fitted_classifier(self) -> Any:
        return self.fitted_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True  # LogisticRegression's
        return tags


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [(e, c) for e, c in estimator_checks_generator(FitsBoth())],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_without_scikit_learn_the_error_names_the_extra() -> None:
    script = """
import sys
sys.modules["sklearn"] = None
import softlane.calibration as calibration
calibration.fit_temperature([[2, 0], [2, 0], [2, 0]], [0, 0, 1])
try:
    calibration.TemperatureScaling
except ImportError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == 'TemperatureScaling needs scikit-learn: pip install "softlane[sklearn]"\n'


def test_importing_calibration_is_light() -> None:
    script = "import sys, softlane.calibration; print({'sklearn', 'matplotlib'} & {*sys.modules})"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout == "set()\n"
