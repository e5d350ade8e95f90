"""`softlane report`: its figures are those of `softlane.calibration` on the rows held out."""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

import softlane
from softlane._cli import main
from softlane.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)


def digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits of scikit-learn's digits by a regression that is too sure, and the truth."""
    datasets = pytest.importorskip("sklearn.datasets")
    linear_model = pytest.importorskip("sklearn.linear_model")
    data: Any = datasets.load_digits()
    x, labels = data.data / 16, data.target
    model = linear_model.LogisticRegression(C=100, max_iter=3000).fit(x[::6], labels[::6])
    return model.decision_function(x), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logits and labels in every kind of file."""
    folder = tmp_path_factory.mktemp("report")
    logits, labels = digits()
    np.save(folder / "logits.npy", logits)
    np.save(folder / "labels.npy", labels)
    np.savez(folder / "both.npz", logits=logits, labels=labels)
    np.savetxt(folder / "logits.csv", logits, delimiter=",")
    np.savetxt(folder / "labels.csv", labels, fmt="%d", encoding="utf-8-sig")  # as Excel does
    np.save(folder / "cube.npy", np.zeros((2, 3, 4)))
    np.save(folder / "half.npy", np.full(len(labels), 0.5))
    np.save(folder / "far.npy", np.full(len(labels), 10))
    np.save(folder / "endless.npy", np.full(len(labels), np.inf))
    (folder / "nothing.csv").write_text("")
    np.save(folder / "one.npy", np.zeros((1, 3)))
    np.save(folder / "zero.npy", np.zeros(1, int))
    (folder / "words.csv").write_text("a,b\n")
    return folder


def report(folder: Path, *arguments: str) -> int:
    """Run the report on files of a folder."""
    known = {path.name for path in folder.iterdir()}
    return main(
        ["report", *(str(folder / a) if a.split(":")[0] in known else a for a in arguments)]
    )


def figures(said: str) -> dict[str, list[str]]:
    """Return the cells of the lines of a report by their first one."""
    rows = (re.split(r"  +", line) for line in said.splitlines())
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(("seed", "holdout"), [(0, 0.5), (3, 0.25)])
def test_the_figures(
    seed: int, holdout: float, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--seed", str(seed), "--holdout", str(holdout)]
    assert report(folder, "logits.npy", "labels.npy", *options) == 0
    said = capsys.readouterr()
    assert said.err == ""
    logits, labels = np.load(folder / "logits.npy"), np.load(folder / "labels.npy")
    order = np.random.default_rng(seed).permutation(len(labels))
    held, fitting = np.split(order, [round(holdout * len(labels))])
    temperature = fit_temperature(logits[fitting], labels[fitting])
    assert temperature > 1.05  # there is something to correct
    assert f"Temperature {temperature:.4f}, fitted on {len(fitting)} rows." in said.out
    assert f"Of the {len(held)} rows held out, 10 classes:" in said.out

    x, truth, cells = logits[held], labels[held], figures(said.out)
    for name, measure in [
        ("negative log-likelihood", negative_log_likelihood),
        ("Brier score", brier_score),
        ("expected calibration error", expected_calibration_error),
    ]:
        expected = [float(measure(x, truth, temperature=t)) for t in (1.0, temperature)]
        assert [float(cell) for cell in cells[name]] == pytest.approx(expected, abs=6e-5)
    accuracy = f"{np.mean(x.argmax(axis=1) == truth):.2%}"
    assert cells["accuracy"] == [accuracy, accuracy]

    wrong = np.flatnonzero(x.argmax(axis=1) != truth)
    assert f"The most confident of {len(wrong)} mistakes:" in said.out
    after = softlane.softmax(x, temperature=temperature).max(axis=1)
    surest = wrong[np.argsort(-after[wrong], kind="stable")][:8]
    for i in surest:
        before = softlane.softmax(x[i]).max()
        wanted = [str(x[i].argmax()), str(truth[i]), f"{before:.2%}", f"{after[i]:.2%}"]
        assert cells[str(held[i])] == wanted


def test_every_kind_of_file_gives_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for arguments in [
        ("logits.npy", "labels.npy"),
        ("both.npz:logits", "both.npz:labels"),
        ("logits.csv", "labels.csv"),
    ]:
        assert report(folder, *arguments) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]


def test_no_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Every row is right, which asks for a temperature of 0: but for one, that is held out.
    logits, labels = np.eye(4)[np.arange(40) % 4], np.arange(40) % 4
    held = np.random.default_rng(0).permutation(40)[:20]
    fitting = np.setdiff1d(np.arange(40), held)
    labels[fitting[0]] = (labels[fitting[0]] + 1) % 4
    np.save(tmp_path / "x.npy", logits)
    np.save(tmp_path / "t.npy", labels)
    assert report(tmp_path, "x.npy", "t.npy") == 0
    assert "No mistakes.\n" in capsys.readouterr().out


def test_rows_are_named_as_the_file_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 4)), rng.integers(0, 4, 40)
    bad = {"label": (logits, labels.copy()), "nan": (logits.copy(), labels)}
    bad["excluded"] = (logits.copy(), labels)
    bad["label"][1][27] = 9
    bad["nan"][0][27, 1] = np.nan
    bad["excluded"][0][27, labels[27]] = -np.inf
    for name, words in [("label", "got 9 at (27,)"), ("nan", "row 27"), ("excluded", "row 27 ")]:
        np.save(tmp_path / "x.npy", bad[name][0])
        np.save(tmp_path / "t.npy", bad[name][1])
        assert report(tmp_path, "x.npy", "t.npy") == 2
        assert words in capsys.readouterr().err


def test_probabilities_instead_of_logits(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities = softlane.softmax(np.load(folder / "logits.npy"))
    np.save(tmp_path / "p.npy", probabilities)
    assert main(["report", str(tmp_path / "p.npy"), str(folder / "labels.npy")]) == 0
    assert re.search(r"^Beware: .*probabilities", capsys.readouterr().out, re.MULTILINE)


def test_the_picture(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = cast(Any, pytest.importorskip("matplotlib.image"))
    png = tmp_path / "picture.png"
    arguments = ["logits.npy", "labels.npy", "--png", str(png)]
    assert report(folder, *arguments) == 0
    assert capsys.readouterr().out.endswith(f"The picture: {png}\n")
    height, width, _ = image.imread(png).shape
    assert width > 1.5 * height
    assert image.imread(png)[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    before = png.read_bytes()
    assert report(folder, *arguments) == 2
    assert "picture.png exists: " in capsys.readouterr().err
    assert png.read_bytes() == before
    assert report(folder, *arguments, "--force") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.npy labels.npy", "missing.npy: No such file or directory"),
        ("cube.npy labels.npy", r"\S+cube.npy has shape \(2, 3, 4\), expected \(rows, classes\)"),
        ("logits.npy logits.npy", r".* has shape \(1797, 10\), expected \(1797,\): a class .*"),
        ("logits.npy zero.npy", r".*zero.npy has shape \(1,\), expected \(1797,\): a class .*"),
        ("logits.npy half.npy", ".*half.npy: labels .*"),
        ("logits.npy far.npy", ".*far.npy: .*10.*"),
        ("logits.npy endless.npy", ".*endless.npy: labels must be from 0 to 9, .*"),
        ("logits.npy nothing.csv", ".*nothing.csv cannot be read as numbers: .*no data.*"),
        ("logits.npy words.csv", ".*words.csv cannot be read as numbers: .*"),
        ("both.npz labels.npy", ".*both.npz holds 'logits', 'labels': choose .*"),
        ("one.npy zero.npy", "1 rows cannot be split: 0 held out of them"),
        ("logits.npy labels.npy --holdout 1", "--holdout is 1.0, expected a share .*"),
        ("logits.npy labels.npy --holdout nan", "--holdout is nan, expected a share .*"),
        ("logits.npy labels.npy --seed -1", "--seed is -1, expected 0 or more"),
        ("logits.npy labels.npy --png no/r.png", "no/r.png cannot be written: .* no folder no"),
        ("logits.npy", r"the following arguments are required: LABELS \(see .* --help\)"),
    ],
)
def test_errors(
    folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = report(folder, *arguments.split())
    except SystemExit as error:  # argparse's way
        status = int(str(error.code))
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert re.fullmatch(f"softlane: {message}\n", said.err), said.err
