"""Softmax regression as a scikit-learn estimator.

>>> from sklearn.datasets import load_iris
>>> from softlane.sklearn import SoftmaxClassifier
>>> X, y = load_iris(return_X_y=True)
>>> print(SoftmaxClassifier().fit(X, y).score(X, y))
0.9733333333333334

Needs scikit-learn and SciPy: ``pip install "softlane[sklearn]"``.
"""

try:
    import scipy.linalg
    import sklearn.base  # noqa: F401
except ImportError as error:
    raise ImportError(
        'softlane.sklearn needs scikit-learn and SciPy: pip install "softlane[sklearn]"'
    ) from error

from softlane.sklearn._classifier import SoftmaxClassifier

__all__ = ["SoftmaxClassifier"]
