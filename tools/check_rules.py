"""Hold the sources to the house rules of CONTRIBUTING.md.

Each rule is a fact about one file that can be read off its text; each breach is printed as
``file:line: what is wrong``. Standard library only. ``--self-test`` breaks every rule once, in a
copy of nothing but a few lines, and fails unless each breach is found.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# ------------------------------------------------------------------------------ the rules as data

# Which room of src/ may name which other. Arrows go downwards only; `error` is the ground floor.
# The crate root re-exports the public names, so whatever the Python binding needs it finds there.
MAY_IMPORT: dict[str, set[str]] = {
    "error": set(),
    "element": {"error"},
    "layout": {"error"},
    "view": {"element", "error", "layout", "simd"},
    "parallel": {"error"},
    "simd": {"element"},
    "math": {"element", "simd"},
    "kernels": {"element", "math", "simd"},
    "dispatch": {"element", "error", "math", "simd"},
    "ops": {"dispatch", "element", "error", "kernels", "layout", "parallel", "simd", "view"},
    "python": {"dispatch", "element", "error", "layout", "ops", "parallel", "view"},
}
# What Rust tests and benches share stands outside the house and may look into every room of it.
MAY_IMPORT["testing"] = set(MAY_IMPORT) - {"python"}
MAY_USE_THE_ROOT = {"python", "testing"}

# A word that only some files may say: (what, pattern, the files that may).
CONFINED: list[tuple[str, str, str]] = [
    ("PyO3", r"\bpyo3\b", r"src/python/.*|src/lib\.rs"),
    ("NumPy's crate", r"\bnumpy::|\buse numpy\b", r"src/python/.*|src/lib\.rs"),
    ("the thread pool", r"\brayon\b", r"src/parallel\.rs"),
    ("intrinsics", r"\b(?:core|std)::arch::(?!is_\w+_feature_detected)", r"src/simd/[^/]+\.rs"),
    ("feature detection", r"\bis_\w+_feature_detected!", r"src/dispatch\.rs"),
    ("#[target_feature]", r"#\[\s*target_feature\b", r"src/dispatch\.rs"),
    (
        "unsafe",
        r"\bunsafe\b(?!_code|_op_in)",
        r"src/(?:simd|python|view)/.*|src/(?:dispatch|view|parallel)\.rs",
    ),
]
MUST_FORBID_UNSAFE = r"src/(?:kernels|math|layout|ops|error)(?:/.*)?(?:\.rs)?"
MAY_PANIC = r"src/testing\.rs"
PANICS = r"\.unwrap\(\)|\.expect\(|\b(?:todo|unimplemented)!"
LONGEST_FILE = 450
LONGEST_STUB = 700  # one file, whatever it describes

# What no tracked file may say, whatever its language: paths of one machine, hosts of registries.
UNSPEAKABLE: list[tuple[str, str]] = [
    ("a path of one machine", r"(?<![\w.~}$)/-])/(?:work|root|home|tmp)/"),
    ("a registry's host", r"\b(?:pypi\.org|files\.pythonhosted\.org|(?:static\.)?crates\.io)\b"),
]
SELF = "tools/check_rules.py"
MAY_SAY_ANYTHING = {"Cargo.lock", SELF}


# -------------------------------------------------------------------------------- reading a source


@dataclass(frozen=True)
class Breach:
    """One rule broken at one place."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        """Return the breach as editors like to jump to it."""
        return f"{self.path}:{self.line}: {self.what}"


RUST_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
      | (?P<block>/\*)
      | (?P<raw>\b[bc]?r(?P<hashes>\#*)".*?"(?P=hashes))
      | (?P<string>(?:\b[bc])?"(?:\\.|[^"\\])*")
      | (?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\])')""",
    re.VERBOSE | re.DOTALL,
)


def blank(text: str) -> str:
    """Return spaces in place of a text, its lines kept."""
    return re.sub(r"[^\n]", " ", text)


def end_of_block_comment(text: str, start: int) -> int:
    """Return the end of the comment that opens at ``start``; Rust nests them."""
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def code_of(text: str) -> str:
    """Return a Rust source with comments and literals blanked, positions kept."""
    pieces: list[str] = []
    position = 0
    while token := RUST_TOKEN.search(text, position):
        end = token.end() if not token["block"] else end_of_block_comment(text, token.start())
        pieces += [text[position : token.start()], blank(text[token.start() : end])]
        position = end
    return "".join(pieces) + text[position:]


def end_of_item(code: str, start: int) -> int:
    """Return the end of the item that begins at ``start``: its closing brace or semicolon."""
    depth = 0
    for mark in re.compile(r"[{};]").finditer(code, start):
        depth += {"{": 1, "}": -1, ";": 0}[mark[0]]
        if depth == 0:
            return mark.end()
    return len(code)


@dataclass(frozen=True)
class Source:
    """One file, addressed from the root of the repository."""

    path: str
    text: str

    @cached_property
    def code(self) -> str:
        """The Rust code without comments, literals and ``#[cfg(test)]`` items."""
        code = code_of(self.text)
        while test := re.search(r"#\[\s*cfg\(test\)\s*\]", code):
            end = end_of_item(code, test.end())
            code = code[: test.start()] + blank(code[test.start() : end]) + code[end:]
        return code

    @property
    def room(self) -> str:
        """The module directly under the crate root that the file belongs to."""
        return self.path.removeprefix("src/").split("/")[0].removesuffix(".rs")

    @property
    def depth(self) -> int:
        """How many ``super`` lead from the file's module to the crate root."""
        module = Path(self.path).relative_to("src").with_suffix("")
        return len(module.parts) - (module.name == "mod")

    def find(self, pattern: str, *, code: bool = True) -> Iterator[tuple[int, re.Match[str]]]:
        """Yield each match of a pattern and the line it begins on."""
        text = self.code if code else self.text
        for match in re.finditer(pattern, text):
            yield text.count("\n", 0, match.start()) + 1, match


def test_files(sources: list[Source]) -> set[str]:
    """Return the paths of the modules that are declared under ``#[cfg(test)]``."""
    found = set()
    for source in sources:
        inside = Path(source.path)
        folder = inside.parent if inside.stem in {"lib", "mod"} else inside.with_suffix("")
        declared = r"#\[\s*cfg\(test\)\s*\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;"
        for name in re.findall(declared, code_of(source.text)):
            found |= {(folder / f"{name}.rs").as_posix(), (folder / name / "mod.rs").as_posix()}
    return found


# --------------------------------------------------------------------------------------- the rules


def confined_words(source: Source) -> Iterator[Breach]:
    """Check that the words of ``CONFINED`` stay where they may be said."""
    for what, pattern, allowed in CONFINED:
        if not re.fullmatch(allowed, source.path):
            for line, _ in source.find(pattern):
                yield Breach(source.path, line, f"{what} is named outside {allowed}")


def unsafe_is_forbidden(source: Source) -> Iterator[Breach]:
    """Check that safe rooms say so before their first item."""
    opening = r"\A\s*(?:#!\[[^\]]*\]\s*)*?#!\[\s*forbid\(unsafe_code\)\s*\]"
    if re.fullmatch(MUST_FORBID_UNSAFE, source.path) and not re.match(opening, source.code):
        yield Breach(source.path, 1, "#![forbid(unsafe_code)] is missing at the top")


def root_names(tree: str) -> list[str]:
    """Return the first segments of what follows ``crate::``: one name, or those of a group."""
    if not tree.startswith("{"):
        return [tree]
    flat = tree[1:-1]
    while "{" in flat:
        flat = re.sub(r"\{[^{}]*\}", "", flat)
    return [path.strip().split(":")[0].split(" ")[0] for path in flat.split(",") if path.strip()]


def arrows_go_down(source: Source) -> Iterator[Breach]:
    """Check ``crate::`` paths against the table of rooms."""
    if source.path == "src/lib.rs":
        return
    if source.room not in MAY_IMPORT:
        yield Breach(source.path, 1, f"`{source.room}` is a new room: give it a row in {SELF}")
        return
    allowed = MAY_IMPORT[source.room] | {source.room}
    up = "super::" * source.depth
    for line, match in source.find(rf"\b(?:crate::|(?<!::){up})(\w+|\{{[^;]*\}})"):
        for name in root_names(match[1]):
            is_room = name in MAY_IMPORT
            if is_room and name not in allowed:
                yield Breach(source.path, line, f"`{source.room}` must not import `{name}`")
            elif not is_room and source.room not in MAY_USE_THE_ROOT:
                yield Breach(source.path, line, f"`crate::{name}`: name the room it lives in")


def unsafe_is_argued(source: Source) -> Iterator[Breach]:
    """Check that a SAFETY comment stands on or right above every unsafe block and impl.

    The blocks of one item may share an argument: a comment with SAFETY above the item, together
    with the attribute that excuses it from clippy's check of each block.
    """
    lines, code = source.text.splitlines(), source.code.splitlines()
    shared: set[int] = set()
    for number, excuse in source.find(r"#\[allow\(clippy::undocumented_unsafe_blocks\)\]"):
        above = number - 1
        while above > 0 and lines[above - 1].lstrip().startswith("//"):
            above -= 1
        if "SAFETY" in "".join(lines[above : number - 1]):
            item = source.code[excuse.end() : end_of_item(source.code, excuse.end())]
            shared.update(range(number, number + item.count("\n") + 1))
    for number, _ in source.find(r"\bunsafe\s*(?:\{|impl\b)"):
        above = number - 1
        argued = "SAFETY:" in lines[above] or number in shared
        while not argued and above > 0:
            above -= 1
            # Up through the statement that the block is part of, and the comments above it.
            if code[above].rstrip().endswith((";", "{", "}")) or not lines[above].strip():
                break
            argued = "SAFETY:" in lines[above]
        if not argued:
            yield Breach(source.path, number, "unsafe without a SAFETY comment right above it")


def nothing_panics(source: Source) -> Iterator[Breach]:
    """Check that library code returns errors."""
    if not re.fullmatch(MAY_PANIC, source.path):
        for line, match in source.find(PANICS):
            yield Breach(source.path, line, f"`{match[0]}` in library code")


def rooms_are_small(source: Source) -> Iterator[Breach]:
    """Check the length of a source file."""
    length = source.text.count("\n")
    longest = LONGEST_STUB if source.path.endswith(".pyi") else LONGEST_FILE
    if length > longest:
        yield Breach(source.path, length, f"{length} lines ask to be two rooms ({longest})")


def nothing_unspeakable(source: Source) -> Iterator[Breach]:
    """Check that a file could have been written anywhere."""
    for what, pattern in UNSPEAKABLE:
        for line, match in source.find(pattern, code=False):
            yield Breach(source.path, line, f"`{match[0]}` is {what}")


RUST_RULES: list[Callable[[Source], Iterator[Breach]]] = [
    confined_words,
    unsafe_is_forbidden,
    arrows_go_down,
    unsafe_is_argued,
    nothing_panics,
]


# ----------------------------------------------------------------------------------------- the run


def files_of(root: Path) -> list[str]:
    """Return what git tracks or would track; without git, everything but the usual products."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, cwd=root, check=True, capture_output=True).stdout.decode()
        return sorted({name for name in names.split("\0") if name and (root / name).is_file()})
    except (OSError, subprocess.CalledProcessError):
        skipped = {"target", "dist", "__pycache__"}
        found = []
        for folder, folders, files in os.walk(root):
            folders[:] = [f for f in folders if f not in skipped and not f.startswith(".")]
            found += [(Path(folder) / file).relative_to(root).as_posix() for file in files]
        return sorted(found)


def check(root: Path) -> list[Breach]:
    """Return every breach in the tree at ``root``."""
    sources = []
    for name in files_of(root):
        try:
            sources.append(Source(name, (root / name).read_text("utf-8")))
        except UnicodeDecodeError:
            continue  # a picture
    rust = [s for s in sources if s.path.startswith("src/") and s.path.endswith(".rs")]
    tests = test_files(rust)
    breaches: list[Breach] = []
    for source in rust:
        if source.path not in tests:
            for rule in RUST_RULES:
                breaches += rule(source)
    for source in sources:
        if source.path.endswith((".rs", ".py", ".pyi")):
            breaches += rooms_are_small(source)
        if source.path not in MAY_SAY_ANYTHING:
            breaches += nothing_unspeakable(source)
    return breaches


# ----------------------------------------------------------------------------------- the self-test

SAFE_TOP = "#![forbid(unsafe_code)]\n"
EXCUSE = "#[allow(clippy::undocumented_unsafe_blocks)]"
# A file, and the beginning of what must be said about it; nothing where it is in order.
SPECIMENS: list[tuple[str, str, str]] = [
    (
        "src/python/arrays.rs",
        "use pyo3::prelude::*;\nuse numpy::PyArray;\nuse crate::softmax;\n",
        "",
    ),
    ("src/ops/softmax.rs", SAFE_TOP + "use pyo3::prelude::*;\n", "PyO3"),
    ("src/ops/softmax.rs", SAFE_TOP + "fn f(x: numpy::PyArray) {}\n", "NumPy"),
    (
        "src/ops/softmax.rs",
        SAFE_TOP + '// pyo3 and rayon, "unsafe"\n/* /* std::arch:: */ unsafe */\n',
        "",
    ),
    ("src/ops/softmax.rs", SAFE_TOP + "rayon::join(a, b);\n", "the thread pool"),
    ("src/math/exp.rs", SAFE_TOP + "use core::arch::x86_64::*;\n", "intrinsics"),
    ("src/dispatch.rs", "use std::arch::x86_64::_mm_pause;\n", "intrinsics"),
    ("src/dispatch.rs", 'fn f() -> bool { is_x86_feature_detected!("fma") }\n', ""),
    (
        "src/simd/avx2.rs",
        'fn f() -> bool { is_x86_feature_detected!("fma") }\n',
        "feature detection",
    ),
    ("src/simd/avx2.rs", '#[target_feature(enable = "fma")]\nfn f() {}\n', "#[target_feature]"),
    ("src/parallel.rs", "fn f() {\n    // SAFETY: rows are disjoint.\n    unsafe { g() }\n}\n", ""),
    ("src/parallel.rs", "fn f() {\n    unsafe { g() }\n}\n", "unsafe without"),
    (
        "src/simd/avx2.rs",
        f"// SAFETY of all: detected.\n{EXCUSE}\nimpl A {{\n  fn f() {{ unsafe {{ g() }} }}\n}}\n",
        "",
    ),
    (
        "src/simd/avx2.rs",
        f"// Trust us.\n{EXCUSE}\nimpl A {{\n  fn f() {{ unsafe {{ g() }} }}\n}}\n",
        "unsafe without",
    ),
    ("src/parallel.rs", "unsafe impl Send for Rows {}\n", "unsafe without"),
    ("src/element.rs", "unsafe fn f() {}\n", "unsafe is named"),
    ("src/math/sum.rs", "//! Sums.\n" + SAFE_TOP + "use crate::simd::Simd;\n", ""),
    ("src/math/sum.rs", "use crate::simd::Simd;\n", "#![forbid"),
    ("src/simd/mod.rs", "use crate::math::exp;\n", "`simd` must not import `math`"),
    ("src/simd/mod.rs", "use super::math::exp;\n", "`simd` must not import `math`"),
    ("src/simd/avx2.rs", "use super::{Simd, Token};\n", ""),
    ("src/simd/avx2.rs", "use super::super::dispatch::Isa;\n", "`simd` must not import `dispatch`"),
    (
        "src/math/exp.rs",
        SAFE_TOP + "use crate::{simd::{Simd, ops}, ops};\n",
        "`math` must not import `ops`",
    ),
    ("src/math/exp.rs", SAFE_TOP + "use crate::{simd::{Simd, ops}, element::E};\n", ""),
    ("src/math/exp.rs", SAFE_TOP + "use crate::Isa;\n", "`crate::Isa`"),
    ("src/attic.rs", "fn f() {}\n", "`attic` is a new room"),
    ("src/layout.rs", SAFE_TOP + "fn f() { g().unwrap() }\n", "`.unwrap()`"),
    ("src/layout.rs", SAFE_TOP + "fn f() { g().expect(why) }\n", "`.expect(`"),
    ("src/layout.rs", SAFE_TOP + "fn f() { todo!() }\n", "`todo!`"),
    ("src/layout.rs", SAFE_TOP + "#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }\n", ""),
    ("src/layout.rs", SAFE_TOP + "// line\n" * LONGEST_FILE, f"{LONGEST_FILE + 1} lines"),
    ("README.md", "Look into " + "/ro" + "ot/softlane.\n", "`/root/` is a path"),
    ("README.md", "https://" + "py" + "pi.org/project/softlane\n", "`pypi.org` is a registry"),
]


def self_test() -> int:
    """Return 0 if each specimen is judged as it should be."""
    wrong = 0
    for path, text, expected in SPECIMENS:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            said = [breach.what for breach in check(Path(folder))]
        # Exactly the one breach: a rule that fires on everything proves nothing.
        if len(said) != bool(expected) or not all(what.startswith(expected) for what in said):
            print(f"self-test: {path}: expected {expected or 'nothing'!r}, got {said}\n{text}")
            wrong += 1
    right = len(SPECIMENS) - wrong
    print(f"check_rules self-test: {right} of {len(SPECIMENS)} specimens judged right")
    return int(wrong > 0)


def main() -> int:
    """Check the repository, or the checker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--self-test", action="store_true", help="break every rule once")
    if parser.parse_args().self_test:
        return self_test()
    breaches = check(Path(__file__).resolve().parents[1])
    for breach in breaches:
        print(breach)
    print(f"check_rules: {len(breaches)} breaches" if breaches else "check_rules: in order")
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
