"""What the demo says is so: its figures, its picture, and the command that shows them."""

import pickle
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

import processes

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("scipy")
pytest.importorskip("sklearn")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import SubFigure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from softlane._demo import blocks, picture
from softlane._demo.attributes import HAS
from softlane._demo.data import Digits, load
from softlane._demo.lessons import Lessons

pytestmark = pytest.mark.slow


# The command, which also keeps what it teaches: to learn it all once more would take half a minute.
KEEPING = """
import pickle, sys
from softlane._cli import main
from softlane._demo import show

def keeping(teach=show.teach, **options):
    lessons = teach(**options)
    with open(sys.argv[1], "wb") as file:
        pickle.dump(lessons, file)
    return lessons

show.teach = keeping
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Demo:
    """A run of the command, and where it left what."""

    done: CompletedProcess[str]
    picture: Path
    lessons: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole of it, as a user runs it."""
    folder = tmp_path_factory.mktemp("demo")
    output, kept = folder / "seen.png", folder / "lessons"
    arguments = [str(kept), "demo", "--output", str(output)]
    # In an old code page, which may cost the blocks of the images, but nothing else.
    done = processes.run("-c", KEEPING, *arguments, timeout=600, PYTHONIOENCODING="ascii")
    return Demo(done, output, kept)


@pytest.fixture(scope="module")
def lessons(demo: Demo) -> Lessons:
    """All of them, as the demo has them."""
    with demo.lessons.open("rb") as file:
        taught: Lessons = pickle.load(file)
    return taught


def test_the_parts_of_the_data_have_nothing_in_common() -> None:
    training, test = load()
    assert (len(training), len(test)) == (1347, 450)
    assert training.images.min() == 0
    assert training.images.max() == 1
    count = 1000
    numbered = Digits(np.arange(count, dtype=np.float32).reshape(-1, 1, 1), np.arange(count) % 10)
    first, second = numbered.split(300)
    assert len(first) == 300
    assert set(np.bincount(first.labels)) == {30}
    both = np.concatenate([first.images, second.images]).ravel()
    np.testing.assert_array_equal(np.sort(both), np.arange(count))


def test_the_network_learns_to_read(lessons: Lessons) -> None:
    lesson = lessons.learning
    assert lesson.accuracy_before < 0.3
    assert lesson.accuracy >= 0.98
    assert lesson.accuracy == np.mean(lesson.logits.argmax(axis=-1) == lesson.test.labels)
    parts = [part.mean() for part in np.array_split(lesson.losses, 5)]
    assert all(later < earlier for earlier, later in pairwise(parts))
    assert lesson.losses[0] > 1
    assert lesson.losses[-1] < 0.05


def test_two_classes_are_sure_of_nonsense_and_a_third_repairs_it(lessons: Lessons) -> None:
    lesson = lessons.neither
    assert lesson.accuracy >= 0.96
    assert lesson.sure_of_two >= 0.6
    assert lesson.sure_of_three <= 0.03
    assert lesson.accuracy_of_three >= 0.97
    assert not np.isin(lesson.test.labels[lesson.strangers], (4, 9)).any()


def test_sigmoid_says_several_things_at_once(lessons: Lessons) -> None:
    lesson = lessons.attributes
    assert lesson.right_by_sigmoid >= 0.93
    assert lesson.right_by_softmax <= 0.85
    np.testing.assert_allclose(lesson.softmax.sum(axis=-1), 1, rtol=1e-6)
    eight, one = lesson.example(8), lesson.example(1)
    assert HAS[8].all()
    assert not HAS[1].any()
    assert (lesson.sigmoid[eight] > 0.5).all()
    assert (lesson.sigmoid[one] < 0.5).all()
    assert lesson.softmax[eight].min() < 0.5


def test_argmax_has_steps_and_softmax_a_slope(lessons: Lessons) -> None:
    lesson = lessons.slope
    assert lesson.flat >= 0.85
    assert np.ptp(lesson.errors) > 0
    near = np.abs(lesson.weights - lesson.path[0]).argsort()[:3]
    assert set(lesson.errors[near]) == {lesson.start_errors}
    # Cross-entropy is convex in a weight of the last layer, and its slope is what backward says.
    assert np.diff(lesson.losses, 2).min() > 0
    between = np.interp(lesson.path, lesson.weights, np.gradient(lesson.losses, lesson.weights))
    np.testing.assert_allclose(lesson.slopes, between, rtol=1e-3)
    assert (np.diff(lesson.path_losses) < 0).all()
    assert lesson.path_losses[-1] < 0.75 * lesson.path_losses[0]


def test_a_temperature_repairs_overconfidence(lessons: Lessons) -> None:
    lesson = lessons.confidence
    before, after = lesson.error(), lesson.error(lesson.temperature)
    assert before > 0.08
    assert after < before / 2
    assert lesson.temperature > 1.3
    # Nothing of what the network or the temperature has seen is measured.
    assert lesson.seen + lesson.held_out + len(lesson.labels) == 1797


def test_every_word_of_the_picture_can_be_read(
    lessons: Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[tuple[str, Bbox]] = []
    draw: Any = Text.draw

    # Asked of what is drawn: there are labels of ticks outside the axes, too, which are not.
    def judged(text: Text, renderer: Any) -> None:
        if text.get_visible() and text.get_text().strip():
            part = text.axes.figure if text.axes else text.figure
            assert isinstance(part, SubFigure)
            box, card = text.get_window_extent(renderer), part.bbox
            assert float(text.get_fontsize()) >= 11, text
            assert card.x0 + 16 <= box.x0, text
            assert box.x1 <= card.x1 - 16, text
            assert card.y0 <= box.y0, text
            assert box.y1 <= card.y1, text
            words.append((text.get_text(), box))
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", judged)
    canvas: Any = FigureCanvasAgg(picture.figure(lessons))
    canvas.draw()
    assert len(words) > 60
    for index, (text, box) in enumerate(words):
        for other, another in words[:index]:
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert min(wide, high) < 4, (text, other)


COMMAND = "import sys; from softlane._cli import main; sys.exit(main(sys.argv[1:]))"


def test_the_command_shows_it_all_and_writes_the_picture(demo: Demo) -> None:
    done = demo.done
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for lesson in range(1, 6):
        assert f"\n{lesson}  " in done.stdout
    assert "SciPy" in done.stdout
    header = demo.picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (2400, 1650)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", " is a directory, expected a file\n"),
        ("nowhere/seen.png", "seen.png cannot be written: there is no folder "),
        (f"{300 * 'n'}.png", "name too long"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(
    tmp_path: Path, place: str, message: str
) -> None:
    done = processes.run("-c", COMMAND, "demo", "--output", str(tmp_path / place))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith(f"softlane: {tmp_path / place}")
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_blocks_have_the_size_of_what_they_show() -> None:
    assert blocks.curve([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8) == blocks.LEVELS
    assert blocks.curve([1.0, 1.0], 3) == "▁▁▁"
    shown = blocks.bars("", ["a", "b"], np.array([0.5, 0.0], np.float32), ["red", "red"])
    assert shown.plain == "a ████      50%\nb"
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    large = blocks.enlarge(image, 20)
    assert large.shape == (20, 20)
    assert large[0, 0] == image[0, 0]
    assert large[-1, -1] == image[-1, -1]
    assert len(blocks.half_blocks(image).plain.splitlines()) == 10
