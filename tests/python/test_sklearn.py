"""The estimator as scikit-learn wants it: its checks, parameters, warnings, and company."""

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import softlane
from softlane.sklearn import SoftmaxClassifier

IRIS, SPECIES = load_iris(return_X_y=True)
TISSUE, DIAGNOSIS = load_breast_cancer(return_X_y=True)
TWO_AND_THREE = pytest.mark.parametrize(
    ("x", "y"), [(TISSUE, DIAGNOSIS), (IRIS, SPECIES)], ids=["two classes", "three classes"]
)


# The checks skip what needs pandas, and cut max_iter down to where nothing converges.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SoftmaxClassifier(), SoftmaxClassifier(class_weight="balanced")]
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@TWO_AND_THREE
def test_probabilities_are_softmax_of_the_logits(x: Any, y: Any) -> None:
    model = SoftmaxClassifier().fit(x, y)
    logits = model.decision_function(x)
    np.testing.assert_allclose(logits, (x @ model.coef_.T + model.intercept_).squeeze(), rtol=1e-12)
    if logits.ndim == 1:
        np.testing.assert_allclose(
            model.predict_proba(x)[:, 1], softlane.sigmoid(logits), rtol=1e-12
        )
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    np.testing.assert_array_equal(model.predict_proba(x), softlane.softmax(logits))
    np.testing.assert_array_equal(model.predict_log_proba(x), softlane.log_softmax(logits))
    np.testing.assert_array_equal(model.predict(x), logits.argmax(axis=1))
    assert model.score(x, y) > 0.95


@TWO_AND_THREE
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays(x: Any, y: Any, dtype: Any) -> None:
    x = x.astype(dtype)
    model = SoftmaxClassifier().fit(x, y)
    results = model.decision_function(x), model.predict_proba(x), model.predict_log_proba(x)
    assert {r.dtype for r in (model.coef_, model.intercept_, *results)} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.bool_])
def test_other_dtypes_become_float64(dtype: Any) -> None:
    x = (IRIS > 2).astype(dtype)
    model = SoftmaxClassifier().fit(x, SPECIES)
    assert model.coef_.dtype == np.float64
    np.testing.assert_array_equal(
        model.coef_, SoftmaxClassifier().fit(x.astype(float), SPECIES).coef_
    )


def test_attributes() -> None:
    names = np.array(["setosa", "versicolor", "virginica"])
    model = SoftmaxClassifier().fit(IRIS, names[SPECIES])
    assert model.classes_.tolist() == names.tolist()
    assert model.coef_.shape == (3, 4)
    assert model.coef_.flags.c_contiguous
    assert model.intercept_.shape == (3,)
    assert model.n_features_in_ == 4
    assert 1 <= model.n_iter_ <= 20
    assert set(model.predict(IRIS)) == set(names)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(model.intercept_.sum(), 0.0, atol=1e-12)


def test_two_classes_have_one_row() -> None:
    model = SoftmaxClassifier().fit(TISSUE, DIAGNOSIS)
    assert model.coef_.shape == (1, 30)
    assert model.intercept_.shape == (1,)
    assert model.decision_function(TISSUE).shape == DIAGNOSIS.shape


@TWO_AND_THREE
def test_no_intercept(x: Any, y: Any) -> None:
    model = SoftmaxClassifier(fit_intercept=False).fit(x, y)
    assert model.intercept_.tolist() == [0.0] * len(model.intercept_)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"C": 0}, ValueError, r"C must be a finite number above 0, got 0"),
        ({"C": np.nan}, ValueError, r"C must be a finite number above 0, got nan"),
        ({"C": np.inf}, ValueError, r"C must be a finite number above 0, got inf"),
        ({"C": "1"}, TypeError, r"C must be a finite number above 0, got '1'"),
        ({"C": True}, TypeError, r"C must be a finite number above 0, got True"),
        ({"tol": -1e-4}, ValueError, r"tol must be a finite number, at least 0, got -0.0001"),
        ({"tol": None}, TypeError, r"tol must be a finite number, at least 0, got None"),
        ({"max_iter": 0}, ValueError, r"max_iter must be an integer, at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, at least 1, got 1.5"),
        ({"warm_start": "no"}, TypeError, r"warm_start must be True or False, got 'no'"),
        ({"fit_intercept": 1}, TypeError, r"fit_intercept must be True or False, got 1"),
        ({"class_weight": "equal"}, ValueError, r"class_weight must be a dict, .* got 'equal'"),
        ({"class_weight": [1, 2]}, TypeError, r"class_weight must be a dict, .* got \[1, 2\]"),
        ({"class_weight": {1: -1.0}}, ValueError, r"class_weight must be .* at least 0, got -1.0"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, ValueError, r"class_weight is all zero"),
        ({"class_weight": {7: 1.0}}, ValueError, r"classes.* not in class_weight"),
    ],
)
def test_bad_parameters(parameters: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        SoftmaxClassifier(**parameters).fit(IRIS, SPECIES)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((150, 1)), r"sample_weight has shape \(150, 1\), expected \(150,\)"),
        (np.ones(149), r"sample_weight has shape \(149,\), expected \(150,\)"),
        (np.linspace(-0.5, 1, 150), r"sample_weight must be finite and at least 0, got -0.5"),
        (np.full(150, np.nan), r"sample_weight contains NaN"),
        (np.zeros(150), r"sample_weight is all zero"),
    ],
)
def test_bad_weights(weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().fit(IRIS, SPECIES, sample_weight=weight)


def test_weights_that_are_zero_together() -> None:
    with pytest.raises(ValueError, match="together are all zero"):
        SoftmaxClassifier(class_weight={0: 0.0}).fit(IRIS, SPECIES, sample_weight=SPECIES == 0)


def test_weights_whose_sum_is_out_of_range() -> None:
    with pytest.raises(ValueError, match="sum of the weights of samples is too large"):
        SoftmaxClassifier().fit(IRIS, SPECIES, sample_weight=np.full(150, 1e307))
    model = SoftmaxClassifier(class_weight={0: 1e200})
    with pytest.raises(ValueError, match="sum of the weights of samples is too large"):
        model.fit(IRIS, SPECIES, np.full(150, 1e200))


def test_one_class() -> None:
    with pytest.raises(ValueError, match="y has one class alone"):
        SoftmaxClassifier().fit(IRIS, np.zeros(150, int))


def test_predictions_need_a_fit() -> None:
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(SoftmaxClassifier(), method)(IRIS)


def test_a_warning_if_steps_are_too_few() -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=2 steps") as caught:
        model = SoftmaxClassifier(max_iter=2).fit(IRIS, SPECIES)
    assert model.n_iter_ == 2
    assert caught[0].filename == __file__


def test_a_warning_if_rounding_keeps_the_gradient_up() -> None:
    with pytest.warns(ConvergenceWarning, match="for rounding errors"):
        model = SoftmaxClassifier(tol=0.0).fit(IRIS, SPECIES)
    tight = SoftmaxClassifier(tol=1e-12).fit(IRIS, SPECIES)
    np.testing.assert_allclose(model.coef_, tight.coef_, atol=1e-9)


@TWO_AND_THREE
def test_warm_start(x: Any, y: Any) -> None:
    model = SoftmaxClassifier(warm_start=True, tol=1e-8).fit(x, y)
    cold, coef = model.n_iter_, model.coef_
    assert model.fit(x, y).n_iter_ == 0
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-13)
    near = model.set_params(C=1.2).fit(x, y)
    other = clone(model).fit(x, y)
    assert near.n_iter_ < min(cold, other.n_iter_)
    np.testing.assert_allclose(near.coef_, other.coef_, atol=1e-5)


def test_a_cold_start_forgets() -> None:
    model = SoftmaxClassifier().fit(IRIS, SPECIES)
    coef = model.coef_
    assert model.fit(IRIS, SPECIES).coef_.tobytes() == coef.tobytes()
    assert model.n_iter_ > 0


@pytest.mark.parametrize("far", [1e2, 1e6])
def test_warm_start_from_far_away(far: float) -> None:
    # All probabilities are 0 or 1 there: intercepts have no curvature, and a gradient.
    model = SoftmaxClassifier(warm_start=True, tol=1e-8).fit(IRIS, SPECIES)
    coef = model.coef_
    model.coef_ = coef * far + 1.0
    np.testing.assert_allclose(model.fit(IRIS, SPECIES).coef_, coef, atol=1e-5)


@pytest.mark.parametrize(("x", "y"), [(IRIS[:, :3], SPECIES), (IRIS, SPECIES == 1)])
def test_warm_start_from_another_problem(x: Any, y: Any) -> None:
    model = SoftmaxClassifier(warm_start=True).fit(IRIS, SPECIES)
    with pytest.raises(ValueError, match="warm_start needs the features and classes"):
        model.fit(x, y)


def test_pickle() -> None:
    model = SoftmaxClassifier(C=2.0).fit(IRIS, SPECIES)
    again = pickle.loads(pickle.dumps(model))
    assert again.get_params() == model.get_params()
    assert again.predict_proba(IRIS).tobytes() == model.predict_proba(IRIS).tobytes()


def test_in_a_search_over_a_pipeline() -> None:
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier())
    search = GridSearchCV(pipeline, {"softmaxclassifier__C": [1e-4, 1.0]}, scoring="neg_log_loss")
    search.fit(IRIS, SPECIES)
    assert search.best_params_ == {"softmaxclassifier__C": 1.0}
    assert search.score(IRIS, SPECIES) > -0.2


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
import softlane
try:
    import softlane.sklearn
except ImportError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b'pip install "softlane[sklearn]"' in shown.stdout


def test_softlane_alone_imports_neither_scikit_learn_nor_scipy() -> None:
    program = "import sys, softlane; sys.exit('scipy' in sys.modules or 'sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
