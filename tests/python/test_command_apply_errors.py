"""`softlane apply` on what cannot be read or written: one line, exit status 2, nothing touched."""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import processes
from softlane._cli import main

GOOD = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of many kinds, where the command runs."""
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", GOOD)
    whole = Path("good.npy").read_bytes()
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1.0 2.0\n")
    Path("cut.npy").write_bytes(whole[:-1])
    Path("head.npy").write_bytes(whole[:40])
    Path("keys.npy").write_bytes(whole.replace(b"'shape'", b"'shqpe'"))
    np.save("object.npy", np.array([1, "a"], object), allow_pickle=True)
    np.save("fields.npy", np.zeros(3, "i4,f4"))
    np.save("complex.npy", np.zeros(3, "c8"))
    np.save("text_array.npy", np.array(["a"]))
    np.savez("two.npz", a=GOOD, b=GOOD)
    Path("broken.npz").write_bytes(Path("two.npz").read_bytes()[:300])
    Path("text.npz").write_text("1.0 2.0\n")
    Path("token.npy").write_bytes(whole.replace(b"}", b"("))
    np.savez("objects.npz", a=np.array([1, "a"], object))
    np.savez_compressed("damaged.npz", a=np.arange(1000.0))
    with Path("damaged.npz").open("r+b") as damaged:
        damaged.seek(200)
        damaged.write(bytes(100))
    with zipfile.ZipFile("words.npz", "w") as words:
        words.writestr("words.txt", "1.0 2.0\n")
    Path("loop.npy").symlink_to("loop.npy")
    Path("folder").mkdir()
    Path("plain.npz").write_bytes(whole)
    for name, size in (("sum.npy", "10**3"), ("more.npy", f"{1 << 62}, 8")):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({size},), }}\n".encode()
        Path(name).write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    huge = (shutil.disk_usage(tmp_path).free // 4,)
    np.lib.format.open_memmap("huge.npy", "w+", np.dtype("i1"), huge)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.npy", "missing.npy: No such file or directory"),
        ("folder", "folder is a directory, expected a file"),
        ("/dev/null", "/dev/null is no regular file: it cannot be read in blocks"),
        ("empty.npy", "empty.npy is empty"),
        ("text.npy", "text.npy is no .npy file: it begins with b'1.0 2.'"),
        ("cut.npy", "cut.npy is truncated: its 223 bytes do not hold the array of its header"),
        ("head.npy", "head.npy has a header that cannot be read: EOF: .*"),
        ("keys.npy", "keys.npy has a header that cannot be read: .*'shqpe'.*"),
        ("sum.npy", "sum.npy has a header that cannot be read: .*"),
        ("more.npy", "more.npy .*"),
        ("token.npy", "token.npy has a header that cannot be read: .*"),
        (".", r"\. is a directory, expected a file"),
        ("object.npy", "object.npy holds Python objects, expected numbers"),
        ("fields.npy", r"softmax: the array has dtype \[\('f0'.*, expected bool, an integer, .*"),
        ("complex.npy", "softmax: the array has dtype complex64, expected bool, an integer, .*"),
        ("text_array.npy", "softmax: the array has dtype <U1, expected bool, an integer, .*"),
        ("good.npy --axis 2", "softmax: axis 2 is out of bounds for array of dimension 2"),
        ("good.npy --axis all", "--axis is 'all', expected an integer or 'none'"),
        ("good.npy --temperature 0", "softmax: temperature must be a finite number above 0, .*"),
        ("good.npy --temperature nan", "softmax: temperature must be a finite .*, got nan"),
        (
            "good.npy --temperature x",
            r"argument --temperature: .*'x' \(see .* --help\)",
        ),
        ("good.npy --op hardmax", "--op is 'hardmax', expected one of softmax, .*"),
        ("good.npy --op sigmoid --axis 0", "sigmoid is of each entry alone: it has no axis"),
        ("good.npy --op logsumexp --temperature 2", "logsumexp has no temperature; .*"),
        ("good.npy --dtype int8", "--dtype is 'int8', expected one of float16, float32, float64"),
        ("good.npy --threads 0", "softmax: num_threads must be at least 1, got 0"),
        ("good.npy --key a", "good.npy is no .npz file: it has no array by the name 'a'"),
        ("good.npy -o good.npy", "good.npy exists: choose another name, or replace it .*"),
        ("good.npy -o folder", "folder is a directory, expected a file"),
        ("good.npy -o y.npz", "y.npz cannot be written: the output is a plain .npy file"),
        ("good.npy -o loop.npy", "loop.npy.*(link|symbolic).*"),
        ("good.npy -o no/y.npy", "no/y.npy cannot be written: there is no folder no"),
        ("good.npy -f -o /dev/null", "/dev/null is no regular file: it cannot be replaced"),
        ("two.npz", "two.npz holds 'a', 'b': choose with two.npz:NAME"),
        ("two.npz:c", "two.npz holds 'a', 'b', no 'c'"),
        ("broken.npz", "broken.npz cannot be read as an archive of arrays: .*"),
        ("text.npz", "text.npz cannot be read as an archive of arrays: .*"),
        ("objects.npz", "objects.npz holds Python objects, expected numbers"),
        ("damaged.npz", "damaged.npz cannot be read as an archive of arrays: .*"),
        ("words.npz", "words.npz is no .npy file: it begins with b'1.0 2.'"),
        ("plain.npz", "plain.npz is an .npy file by another name"),
        ("huge.npy", r"not enough space in .*: \d+ bytes wanted, \d+ free"),
        ("", r"the following arguments are required: IN.npy \(see softlane apply --help\)"),
    ],
)
def test_errors(
    folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}
    try:
        status = main(["apply", *arguments.split()])
    except SystemExit as error:  # argparse's way
        status = int(str(error.code))
    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert re.fullmatch(f"softlane: {message}\n", said.err), said.err
    assert {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="a limit on files that Linux keeps")
@pytest.mark.parametrize("limits", [[], ["--row-bytes", "1"]], ids=["blocks", "rows"])
def test_a_write_that_fails(limits: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100, 100)))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "from softlane._cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = processes.run("-c", code, "apply", str(tmp_path / "x.npy"), *limits)
    assert done.returncode == 2
    assert done.stderr == f"softlane: {tmp_path / 'x.softmax.npy'}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
