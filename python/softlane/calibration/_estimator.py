"""Temperature scaling around a classifier of scikit-learn, or one that has its methods."""

import warnings
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from softlane import _core
from softlane.calibration._base import Classifier
from softlane.calibration._newton import UndeterminedError
from softlane.calibration._rows import Rows
from softlane.calibration._temperature import best_temperature

_Array: TypeAlias = NDArray[Any]


class TemperatureScaling(Classifier):
    """A fitted classifier with its logits divided by a temperature.

    The classifier itself is never fitted again, and the class of its largest logit stays: only how
    sure it is changes. (`SVC` of more than two classes predicts by votes of pairs, which may be
    another class.) `fit` wants data that the classifier was not fitted on.

    Parameters
    ----------
    estimator : object
        A fitted classifier. Its ``decision_function`` gives the logits: for two classes z stands
        for the logits (0, z). Where it has none they are its log-probabilities, of
        ``predict_log_proba`` or ``predict_proba``, where a probability below the machine epsilon
        counts as that.

    Attributes
    ----------
    temperature_ : float
        What logits are divided by.
    classes_ : numpy.ndarray
        The classifier's classes.
    n_features_in_, feature_names_in_ : int, numpy.ndarray
        Where the classifier has them.

    See Also
    --------
    fit_temperature : The same for logits.

    Notes
    -----
    `sklearn.base.clone` gives an unfitted calibrator around the same fitted classifier, so that
    ``cross_val_predict`` and the like calibrate, but do not train.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import train_test_split
    >>> from softlane.calibration import TemperatureScaling
    >>> X, y = load_digits(return_X_y=True)
    >>> X, X_held_out, y, y_held_out = train_test_split(X, y, random_state=0)
    >>> classifier = LogisticRegression(C=100, max_iter=5000).fit(X, y)
    >>> calibrated = TemperatureScaling(classifier).fit(X_held_out, y_held_out)
    >>> calibrated.temperature_ > 1  # it was too sure of itself
    True
    >>> calibrated.predict_proba(X_held_out[:1]).shape
    (1, 10)
    """

    temperature_: float
    classes_: _Array
    n_features_in_: int
    feature_names_in_: _Array

    if TYPE_CHECKING:  # scikit-learn gives it to every class whose fit takes weights

        def set_fit_request(self, *, sample_weight: bool | str | None = ...) -> Self: ...

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find the temperature that fits held-out data best.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Whatever the classifier takes.
        y : array_like, shape (n,)
            The class of each row, one of the classifier's.
        sample_weight : array_like, shape (n,), optional
            How much each row counts.

        Returns
        -------
        TemperatureScaling
            This one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Where the classifier was not fitted.
        ValueError
            For a class that the classifier does not know, scores that are not one a class, and as
            `fit_temperature`.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Where no temperature is best, for example since every prediction is right: 1 is taken.
        """
        classifier = self._fitted_classifier()
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        classes = np.asarray(classifier.classes_)
        logits = self._logits(X)
        if labels.shape != logits.shape[:1]:
            wanted = f"{logits.shape[:1]}, one class a row of X"
            raise ValueError(f"y has shape {labels.shape}, expected {wanted}")
        known = np.isin(labels, classes)
        if not known.all():
            unknown = labels[~known][0]
            raise ValueError(f"y has the class {unknown!r}, expected one of {classes.tolist()}")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, labels, ensure_non_negative=True)
        order = np.argsort(classes)
        columns = order[np.searchsorted(classes, labels, sorter=order)]
        try:
            temperature = best_temperature(Rows(logits, columns, sample_weight, surely_logits=True))
        except UndeterminedError as error:
            warnings.warn(f"{error}; temperature 1 is taken", ConvergenceWarning, stacklevel=2)
            temperature = 1.0
        self.temperature_ = temperature
        self.classes_ = classes
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(classifier, name):
                setattr(self, name, getattr(classifier, name))
        return self

    def decision_function(self, X: Any) -> _Array:  # noqa: N803
        """Return the logits divided by the temperature.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Whatever the classifier takes.

        Returns
        -------
        numpy.ndarray
            Of shape (n, classes); for two classes of shape (n,), the logit of the second less that
            of the first.
        """
        check_is_fitted(self)
        logits = self._logits(X)
        if len(self.classes_) == 2:
            logits = logits[:, 1] - logits[:, 0]
        return np.asarray(logits / self.temperature_)

    def predict_proba(self, X: Any) -> _Array:  # noqa: N803
        """Return the calibrated probabilities.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Whatever the classifier takes.

        Returns
        -------
        numpy.ndarray, shape (n, classes)
            ``softmax(logits / temperature_)``.
        """
        check_is_fitted(self)
        return _core.softmax(self._logits(X), temperature=self.temperature_)

    def predict_log_proba(self, X: Any) -> _Array:  # noqa: N803
        """Return the logarithms of the calibrated probabilities.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Whatever the classifier takes.

        Returns
        -------
        numpy.ndarray, shape (n, classes)
            Of near certainty a small number, not 0.
        """
        check_is_fitted(self)
        return _core.log_softmax(self._logits(X), temperature=self.temperature_)

    def predict(self, X: Any) -> _Array:  # noqa: N803
        """Return the class of the largest logit, which is that at any temperature.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Whatever the classifier takes.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Of `classes_`.
        """
        check_is_fitted(self)
        return np.asarray(self.classes_[self._logits(X).argmax(axis=1)])

    def _fitted_classifier(self) -> Any:
        if not hasattr(self.estimator, "classes_"):
            raise NotFittedError(
                f"estimator must be a fitted classifier, got {self.estimator!r} without classes_: "
                "fit it first, on other data than TemperatureScaling is fitted on"
            )
        return self.estimator

    def _logits(self, X: Any) -> _Array:  # noqa: N803
        """Return the classifier's logits, of shape (n, classes)."""
        classifier = self._fitted_classifier()
        classes = len(classifier.classes_)
        if hasattr(classifier, "decision_function"):
            logits = np.asarray(classifier.decision_function(X))
            if logits.ndim == 1 and classes == 2:
                logits = np.stack((np.zeros_like(logits), logits), axis=1)
            elif getattr(_innermost(classifier), "decision_function_shape", None) == "ovo":
                # Of three classes there are three pairs: their number would not tell.
                raise ValueError(
                    f"estimator gives scores of shape {logits.shape}, one a pair of classes, "
                    "expected one a class: decision_function_shape='ovr'"
                )
        else:
            with np.errstate(divide="ignore"):
                if hasattr(classifier, "predict_log_proba"):
                    logits = np.asarray(classifier.predict_log_proba(X))
                else:
                    logits = np.log(np.asarray(classifier.predict_proba(X)))
            # A label of probability 0 would leave nothing to fit.
            logits = np.maximum(logits, np.log(np.finfo(logits.dtype).eps))
        if logits.ndim != 2 or logits.shape[1] != classes:
            wanted = f"(n, {classes}), one a class"
            raise ValueError(f"estimator gives scores of shape {logits.shape}, expected {wanted}")
        return logits

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether `fit` was called."""
        return hasattr(self, "temperature_")

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted calibrator; the classifier is not fitted here, so it stays."""
        return type(self)(self.estimator)

    def __sklearn_tags__(self) -> Any:
        """Return the tags: what goes in is up to the classifier."""
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "__sklearn_tags__"):
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _innermost(classifier: Any) -> Any:
    """Return the classifier whose scores these are: the last step, or the best that was found."""
    while True:
        if hasattr(classifier, "best_estimator_"):
            classifier = classifier.best_estimator_
        elif hasattr(classifier, "steps"):
            classifier = classifier.steps[-1][1]
        else:
            return classifier
