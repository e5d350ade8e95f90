"""SciPy's own tests of logsumexp, softmax and log_softmax, run on softlane's.

Each of SciPy's tests is a case here, under its own name, for NumPy alone. A new release of SciPy
brings its new tests along; what cannot hold for softlane is in `EXCLUDED`, with the reason.
"""

import functools
import importlib
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import softlane

# In earlier releases the tests of log_softmax are elsewhere, and written in another way.
pytest.importorskip("scipy", minversion="1.16", reason="needs SciPy 1.16 or later")

MODULE = "scipy.special.tests.test_logsumexp"

COMPLEX = "complex numbers are refused with a TypeError"
PRIVATE = "a private helper of SciPy's"

# (test, text in the id of its parameters): reason. Without a text, the test as a whole.
EXCLUDED = {
    ("test_wrap_radians", ""): PRIVATE,
    ("TestLogSumExp.test_logsumexp_complex_sign", ""): COMPLEX,
    ("TestLogSumExp.test_dtypes_a", "complex"): COMPLEX,
    ("TestLogSumExp.test_dtypes_ab", "complex"): COMPLEX,
    ("TestLogSumExp.test_gh21610", "complex"): COMPLEX,
    ("TestLogSumExp.test_gh21709_small_imaginary", ""): COMPLEX,
    ("TestLogSumExp.test_gh22601_infinite_elements", "j)"): COMPLEX,
    ("TestLogSumExp.test_device", "1j"): COMPLEX,
}

# Marks of SciPy's that speak of other array libraries. pytest must know them, no more.
FOREIGN_MARKS = (
    "array_api_backends",
    "parallel_threads_limit",
    "skip_xp_backends",
    "thread_unsafe",
    "uses_xp_capabilities",
    "xfail_xp_backends",
)


class Adapters:
    """The functions in SciPy's signatures; arguments and results pass through as they are."""

    def __init__(self) -> None:
        self.calls = 0

    def logsumexp(
        self,
        a: Any,
        axis: Any = None,
        b: Any = None,
        keepdims: bool = False,
        return_sign: bool = False,
    ) -> Any:
        return self._silent(
            softlane.logsumexp, a, axis, b=b, keepdims=keepdims, return_sign=return_sign
        )

    def softmax(self, x: Any, axis: Any = None) -> Any:
        return self._silent(softlane.softmax, x, axis)

    def log_softmax(self, x: Any, axis: Any = None) -> Any:
        return self._silent(softlane.log_softmax, x, axis)

    def _silent(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.calls += 1
        # SciPy's tests let SciPy's functions warn; softlane never does.
        with warnings.catch_warnings(action="error"):
            return function(*args, **options)


@dataclass(frozen=True)
class Case:
    """One test of SciPy's, with one set of its parameters."""

    test: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    marks: tuple[pytest.Mark, ...]

    @property
    def parameters(self) -> str:
        texts = (n if isinstance(v, np.ndarray) else str(v) for n, v in self.arguments.items())
        return "-".join(texts)

    @property
    def id(self) -> str:
        return f"{self.test}[{self.parameters}]" if self.arguments else self.test

    @property
    def excluded(self) -> str | None:
        """Why the case is left out, if it is."""
        reasons = (
            reason
            for (test, text), reason in EXCLUDED.items()
            if test == self.test and text in self.parameters
        )
        return next(reasons, None)

    def run(self) -> None:
        """Run it as pytest would, with NumPy for SciPy's fixtures."""
        xp = importlib.import_module("scipy._lib._array_api").array_namespace(np.empty(0))
        fixtures = {"xp": xp, "devices": [*xp.__array_namespace_info__().devices(), None]}
        names = inspect.signature(self.function).parameters.keys() - self.arguments
        self.function(**self.arguments, **{name: fixtures[name] for name in names})


def suite(config: pytest.Config) -> ModuleType:
    """Return SciPy's test module."""
    for mark in FOREIGN_MARKS:
        config.addinivalue_line("markers", f"{mark}: one of SciPy's, without effect here")
    return importlib.import_module(MODULE)


@functools.cache
def all_cases(config: pytest.Config) -> tuple[Case, ...]:
    """Return every test of SciPy's with every set of its parameters."""
    return tuple(_cases(suite(config)))  # once: some parameters are iterators


def _cases(module: ModuleType) -> Iterator[Case]:
    for name, found in vars(module).items():
        if name.startswith("test_"):
            yield from _with_parameters(name, found, _marks(found))
        elif name.startswith("Test"):
            for method, function in inspect.getmembers(found, inspect.isfunction):
                if method.startswith("test_"):
                    marks = _marks(found) + _marks(function)
                    yield from _with_parameters(f"{name}.{method}", getattr(found(), method), marks)


def _marks(marked: Any) -> list[pytest.Mark]:
    return list(getattr(marked, "pytestmark", []))


def _with_parameters(
    test: str, function: Callable[..., Any], marks: list[pytest.Mark]
) -> Iterator[Case]:
    sets = [_parameter_sets(*m.args, **m.kwargs) for m in marks if m.name == "parametrize"]
    other = [m for m in marks if m.name not in ("parametrize", *FOREIGN_MARKS)]
    for combination in itertools.product(*sets):
        arguments = {name: value for some in combination for name, value in some.items()}
        yield Case(test, function, arguments, tuple(other))


def _parameter_sets(names: Any, values: Any) -> list[dict[str, Any]]:
    if isinstance(names, str):
        names = [n.strip() for n in names.split(",")]
    rows = ([v] if len(names) == 1 else v for v in values)
    return [dict(zip(names, row, strict=True)) for row in rows]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted: dict[str, Callable[[Case], bool]] = {
        "kept": lambda case: case.excluded is None,
        "refused": lambda case: case.excluded == COMPLEX,
    }
    for name in wanted.keys() & set(metafunc.fixturenames):
        found = filter(wanted[name], all_cases(metafunc.config))
        metafunc.parametrize(name, [_parameter(case) for case in found])


def _parameter(case: Case) -> Any:
    marks = [getattr(pytest.mark, m.name)(*m.args, **m.kwargs) for m in case.marks]
    return pytest.param(case, id=case.id, marks=marks)


@pytest.fixture
def adapters(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Adapters:
    """Put softlane's functions in place of SciPy's."""
    module, ours = suite(pytestconfig), Adapters()
    for name in ("logsumexp", "softmax", "log_softmax"):
        monkeypatch.setattr(module, name, getattr(ours, name))
    return ours


def test_as_scipy(kept: Case, adapters: Adapters) -> None:
    kept.run()
    assert adapters.calls > 0


def test_refused(refused: Case, adapters: Adapters) -> None:
    with pytest.raises(TypeError, match="complex"):
        refused.run()
    assert adapters.calls == 1


def test_exclusions_exist(pytestconfig: pytest.Config) -> None:
    cases = all_cases(pytestconfig)
    for test, text in EXCLUDED:
        assert any(c.test == test and text in c.parameters for c in cases), (test, text)
    for name in ("TestLogSumExp", "TestSoftmax", "TestLogSoftmax"):
        assert any(c.test.startswith(name) and not c.excluded for c in cases), name
