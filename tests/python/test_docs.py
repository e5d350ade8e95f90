"""Documentation is tested: every example runs, every parameter and default is the real one.

The docstrings of the extension are C-level, where pytest's own doctest collection does not look.
"""

import ast
import doctest
import inspect
import operator
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import softlane
import softlane.sklearn
from softlane import calibration

STUB = Path(softlane.__file__).with_name("_core.pyi")
README = Path(__file__).parents[2] / "README.md"
# The modules whose names are public; what each name in them is called in the tests' ids.
MODULES = [softlane, calibration]
PUBLIC = [
    f"{module.__name__}.{name}".removeprefix("softlane.")
    for module in MODULES
    for name in sorted(module.__all__)
    if not name.startswith("__")
]
# Documented by their attributes, and shown by what returns them.
RESULTS = {"calibration.ReliabilityCurve"}


def run_examples(text: str, name: str) -> int:
    """Run the ``>>>`` examples of a text; return how many there were."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)
    return result.attempted


def public(name: str) -> Any:
    """Return what has a name in the package."""
    return operator.attrgetter(name)(softlane)


def docstring(name: str) -> str:
    text = public(name).__doc__
    assert text, f"softlane.{name} has no docstring"
    return inspect.cleandoc(text)  # those of Python's own functions are indented


def documented_parameters(text: str) -> list[str]:
    """Return the names in the numpydoc section "Parameters"."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", text, re.M | re.S)
    return re.findall(r"^(\w+) : ", section[1], re.M) if section else []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_examples(module: ModuleType) -> None:
    assert module.__doc__ is not None
    assert run_examples(module.__doc__, module.__name__) > 0


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in RESULTS])
def test_examples(name: str) -> None:
    assert run_examples(docstring(name), name) > 0


@pytest.mark.parametrize("name", ["fit", "decision_function", "predict", "predict_proba"])
def test_parameters_of_the_methods_of_a_calibrator(name: str) -> None:
    method = getattr(calibration.TemperatureScaling, name)
    parameters = [*inspect.signature(method).parameters][1:]
    assert documented_parameters(inspect.cleandoc(method.__doc__)) == parameters


@pytest.mark.parametrize("name", ["update", "result", "softmax", "log_softmax"])
def test_examples_of_the_methods_of_a_state(name: str) -> None:
    method = getattr(softlane.LogSumExpState, name)
    assert run_examples(method.__doc__, name) > 0
    parameters = [*inspect.signature(method).parameters][1:]
    assert documented_parameters(inspect.cleandoc(method.__doc__)) == parameters


def test_examples_and_parameters_of_the_classifier() -> None:
    classifier = softlane.sklearn.SoftmaxClassifier
    for text in (softlane.sklearn.__doc__, classifier.__doc__):
        assert text is not None
        assert run_examples(text, "softlane.sklearn") > 0
    text = inspect.cleandoc(classifier.__doc__ or "")
    parameters = documented_parameters(text)
    assert parameters == [*inspect.signature(classifier).parameters]
    for name, parameter in inspect.signature(classifier).parameters.items():
        line = re.search(rf"^{name} : .*default (.*)$", text, re.M)
        assert line is not None
        assert ast.literal_eval(line[1]) == parameter.default


@pytest.mark.parametrize(
    "name", ["fit", "decision_function", "predict", "predict_proba", "predict_log_proba"]
)
def test_parameters_of_the_methods_of_the_classifier(name: str) -> None:
    method = getattr(softlane.sklearn.SoftmaxClassifier, name)
    parameters = [*inspect.signature(method).parameters][1:]
    assert documented_parameters(inspect.cleandoc(method.__doc__)) == parameters


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in RESULTS])
def test_parameters_are_those_of_the_signature(name: str) -> None:
    signature = inspect.signature(public(name))
    assert documented_parameters(docstring(name)) == list(signature.parameters)


@pytest.mark.parametrize("name", PUBLIC)
def test_summary_is_one_short_sentence(name: str) -> None:
    summary, *rest = docstring(name).splitlines()
    assert summary.endswith(".")
    assert len(summary) <= 100
    assert rest[0] == ""


def stub_defaults(stub: str) -> list[tuple[str, str, object]]:
    """Return function, parameter and default for every default in a stub."""
    found = []
    for function in ast.parse(stub).body:
        if isinstance(function, ast.FunctionDef):
            given = function.args
            positional = [*given.posonlyargs, *given.args]
            pairs = [
                *zip(reversed(positional), reversed(given.defaults), strict=False),
                *zip(given.kwonlyargs, given.kw_defaults, strict=True),
            ]
            found += [
                (function.name, parameter.arg, ast.literal_eval(default))
                for parameter, default in pairs
                if default is not None
            ]
    return found


def test_defaults_of_the_stub_are_those_of_the_signature() -> None:
    # stubtest compares the names in overloads, but not their defaults.
    defaults = stub_defaults(STUB.read_text("utf-8"))
    assert {name for name, _, _ in defaults} == {
        "binary_cross_entropy",
        "binary_cross_entropy_value_and_grad",
        "cross_entropy",
        "cross_entropy_value_and_grad",
        "kl_divergence",
        "kl_divergence_value_and_grad",
        "log_sigmoid",
        "log_softmax",
        "log_softmax_jvp",
        "log_softmax_vjp",
        "logsumexp",
        "logsumexp_vjp",
        "logsumexp_vjp_b",
        "sigmoid",
        "softmax",
        "softmax_hvp",
        "softmax_jacobian",
        "softmax_jvp",
        "softmax_temperature_vjp",
        "softmax_vjp",
        "softmin",
    }
    for name, parameter, default in defaults:
        actual = inspect.signature(getattr(softlane, name)).parameters[parameter].default
        assert (name, parameter, actual) == (name, parameter, default)


def test_readme_examples() -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    # One namespace a snippet: each must stand on its own, as a reader would paste it.
    assert snippets
    for number, snippet in enumerate(snippets, 1):
        assert run_examples(snippet, f"README snippet {number}") > 0


def test_a_wrong_example_fails() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run_examples(">>> 1 + 1\n3\n", "wrong")
