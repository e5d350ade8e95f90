"""Prove on the emitted assembly that every kernel is inlined into its SIMD boundary.

A kernel function that the compiler declines to inline is compiled without the boundary's features:
its intrinsics become calls, its arithmetic legacy SSE, and the speed is gone without a word. This
reads the assembly of the extension, as it was built, and fails on the traces of it.

``--self-test`` doctors a small assembly once for each trace, and fails unless each is found.
``--assembly FILE`` reads another file than the last build's. Standard library only.
"""

import argparse
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# ---------------------------------------------------------------------------- the patterns as data


@dataclass(frozen=True)
class Boundary:
    """The functions with one instruction set's features, and what proves it was used."""

    isa: str
    symbol: str
    register: str

    @property
    def proof(self) -> str:
        """Return what an fma at full width looks like."""
        return rf"^{FMA}.*%?{self.register}"

    @property
    def sum(self) -> str:
        """Return what a sum at full width looks like."""
        return rf"^v(?:add|sub)p[sd]\b.*%?{self.register}"


FMA = r"vfn?m(?:add|sub)\d*p[sd]\b"
BOUNDARIES = [
    Boundary("avx512", r"dispatch_avx512_f(?:32|64)", "zmm"),
    Boundary("avx2", r"dispatch_avx2_f(?:32|64)", "ymm"),
]
# Kernels that convert, negate or mask have no fma: what they do instead. And some do nothing.
ARITHMETIC = r"^v(?:fn?m|add|sub|mul|div|max|min)\w*p[sd]\b"
# What adds and no more has no fma either.
PRODUCT = r"^v(?:fn?m|mul|div|max|min)\w*p[sd]\b"
CONVERSION = r"^v(?:cvt|pmov|p?blend|ptestn?m|pcmp)"

# An intrinsic that became a function of its own.
INTRINSIC = r"core_arch|\b_mm(?:256|512)?_\w+"
# The two by which the standard library's feature detection asks the processor. It runs before any
# boundary is entered, so there they may stay functions.
DETECTION = r"core_arch3x86(?:5cpuid|5xsave)"
# What lives below the boundary, in either mangling: a path with a length before each name.
# Fixed point is integers only, and so rare that it may be called; so is what is computed alone in
# another type.
BELOW = (
    r"(?:8softlane|B\w*_)"
    r"(?:4simd|4math(?!5fixed|8fixed192|7exp_sum)"
    r"|7kernels(?!16log_softmax_grad7entries6settle|14logsumexp_grad5short5alone))"
)
# What is written in assembly needs no boundary's features, and is called.
WRITTEN = r"4simd8avx2_exp\d+exp_(?:columns_|rows_)?run_f(?:32|64)"
# So is what asks for cache lines: its one instruction is every processor's.
ASKING = r"4simd(?:5tiles|6panels)[\w$.]*\d+prefetch_(?:rows|group)"
CALLED = f"{WRITTEN}|{ASKING}"
# Mathematics that the kernels do themselves: the trace of an fma or exp that stayed a function.
LIBM = r"^(?:fma|exp|exp2|ldexp|round|rint|floor)f?$"

_FLOAT = (
    r"(?:add|sub|mul|div|max|min|sqrt|and|andn|or|xor|cmp\w*|shuf|blendv?|round|hadd|unpck[lh])"
)
LEGACY_SSE = re.compile(rf"^(?:{_FLOAT}p[sd]|mov[au]p[sd]|movdq[au]|cvt\w*p[sdi]\w*)\b")
CALL = re.compile(r"^(?:callq?|jmpq?)\s+\*?(?P<target>[A-Za-z_][\w.$]*)")


# --------------------------------------------------------------------------------- reading the text


@dataclass
class Function:
    """One function of the assembly: its symbol and its instructions, with their lines."""

    symbol: str
    line: int
    instructions: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_forwarding(self) -> bool:
        """Whether two equal bodies were merged, and this one only jumps to the other."""
        return len(self.instructions) == 1 and self.instructions[0][1].startswith("jmp")


def functions_of(text: str) -> Iterator[Function]:
    """Yield the functions of an assembly in AT&T or Intel syntax, ELF, Mach-O or COFF."""
    current: Function | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        label = re.match(r'"?([A-Za-z_?$.][^\s":]*)"?:', raw)
        if label and not re.match(r"\.?L|ltmp|\$", label[1]):
            if current:
                yield current
            current = Function(label[1], number)
        elif current and line and line[0] not in ".#;/@" and not line.endswith(":"):
            current.instructions.append((number, " ".join(line.split())))
    if current:
        yield current


# ---------------------------------------------------------------------------------------- the check


def is_stray(symbol: str, *, inside: bool = False) -> bool:
    """Tell whether a symbol is an intrinsic that should not be a function."""
    is_detection = not inside and re.search(DETECTION, symbol)
    return bool(re.search(INTRINSIC, symbol)) and not is_detection


def check(text: str) -> list[str]:
    """Return what is wrong with an assembly, a line each."""
    wrong = []
    seen = {boundary.isa: 0 for boundary in BOUNDARIES}
    for function in functions_of(text):
        inside = [b for b in BOUNDARIES if re.search(b.symbol, function.symbol)]
        if is_stray(function.symbol):
            wrong.append(f"line {function.line}: an intrinsic was not inlined: {function.symbol}")
        for number, instruction in function.instructions:
            call = CALL.match(instruction)
            if call and is_stray(call["target"], inside=bool(inside)):
                wrong.append(f"line {number}: call of an intrinsic: {call['target']}")
            is_below = call and re.search(BELOW, call["target"])
            if inside and call and is_below and not re.search(CALLED, call["target"]):
                wrong.append(f"line {number}: {inside[0].isa} kernel calls {call['target']}")
            if inside and call and re.search(LIBM, call["target"]):
                wrong.append(f"line {number}: {inside[0].isa} kernel calls {call['target']}")
            if inside and LEGACY_SSE.match(instruction):
                wrong.append(f"line {number}: legacy SSE in {function.symbol}: {instruction}")
        if re.search(WRITTEN, function.symbol) and not any(
            re.search(BOUNDARIES[1].proof, i) for _, i in function.instructions
        ):
            wrong.append(f"line {function.line}: no avx2 fma in {function.symbol}")
        for boundary in inside:
            if not function.instructions or function.is_forwarding:
                continue
            seen[boundary.isa] += 1
            has = [
                any(re.search(pattern, i) for _, i in function.instructions)
                for pattern in (boundary.proof, CONVERSION, ARITHMETIC)
            ]
            adds = any(re.search(boundary.sum, i) for _, i in function.instructions)
            multiplies = any(re.search(PRODUCT, i) for _, i in function.instructions)
            if has == [False, False, True] and (multiplies or not adds):
                wrong.append(f"line {function.line}: no {boundary.isa} fma in {function.symbol}")
    # A check that found nothing to look at has proved nothing.
    wrong += [f"no {isa} boundary in the assembly" for isa, count in seen.items() if not count]
    return wrong


def emitted(root: Path) -> Path:
    """Return the assembly that the last build with ``--emit asm`` left, which `make test` makes."""
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    found = sorted(target.glob("release/deps/softlane*.s"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"check_assembly: no assembly in {target}: run `make check`")
    return found[-1]


# ------------------------------------------------------------------------------------ the self-test

CLEAN = """\
\t.type\t_ZN8softlane8dispatch19dispatch_avx512_f3217h0123456789abcdefE,@function
_ZN8softlane8dispatch19dispatch_avx512_f3217h0123456789abcdefE:
\t.cfi_startproc
\tvmovups\t(%rdi), %zmm0
.LBB0_1:
\tvfmadd213ps\t%zmm2, %zmm1, %zmm0
\tcallq\t_ZN4core9panicking5panic17h0123456789abcdefE
\tvzeroupper
\tretq
_ZN8softlane8dispatch17dispatch_avx2_f3217h0123456789abcdefE:
\tvfnmadd231ps\t(%rdi), %ymm1, %ymm0
\tretq
_ZN8softlane8dispatch17dispatch_portable17h0123456789abcdefE:
\tmulps\t%xmm1, %xmm0
\tcallq\tfmaf
\tretq
"""
# What to put in place of what, and the beginning of what must be said about it.
DOCTORED = [
    ("vzeroupper", "vzeroupper", ""),
    (
        "vmovups\t(%rdi), %zmm0",
        "callq\t_ZN4core9core_arch3x867avx512f10_mm512_add17h01E",
        "call of",
    ),
    ("vmovups\t(%rdi), %zmm0", "callq\t_mm512_add_ps", "call of"),
    ("_ZN8softlane8dispatch17dispatch_portable17h", "_ZN4core9core_arch3x863avx3foo17h", "an intr"),
    (
        "_ZN8softlane8dispatch17dispatch_portable17h",
        "_ZN4core9core_arch3x865xsave7__xgetbv17h",
        "",
    ),
    ("callq\tfmaf", "callq\t_RNvNtNtNtCs1_4core9core_arch3x865xsave7__xgetbv", ""),
    (
        "vmovups\t(%rdi), %zmm0",
        "callq\t_RNvNtNtNtCs1_4core9core_arch3x865xsave7__xgetbv",
        "call of",
    ),
    ("vmovups\t(%rdi), %zmm0", "callq\t_ZN8softlane4math3exp3exp17h01E", "avx512 kernel calls"),
    ("vfnmadd231ps\t(%rdi), %ymm1", "callq\t_RNvNtCs1_8softlane7kernels3run", "avx2 kernel calls"),
    (
        "vfnmadd231ps\t(%rdi), %ymm1",
        "vfmadd231ps %ymm0, %ymm1, %ymm2\n\tcallq\t_ZN8softlane4simd8avx2_exp11exp_run_f3217h01E",
        "",
    ),
    (
        "vfnmadd231ps\t(%rdi), %ymm1",
        "vfmadd231ps %ymm0, %ymm1, %ymm2\n"
        "\tcallq\t_ZN8softlane4simd8avx2_exp16exp_rows_run_f3217h01E",
        "",
    ),
    (
        "_ZN8softlane8dispatch17dispatch_portable17h",
        "_ZN8softlane4simd8avx2_exp19exp_columns_run_f6417h",
        "no avx2 fma",
    ),
    ("vmovups\t(%rdi), %zmm0", "callq\t*fmaf@GOTPCREL(%rip)", "avx512 kernel calls fmaf"),
    ("vmovups\t(%rdi), %zmm0", "mulps\t%xmm0, %xmm1", "legacy SSE"),
    ("vmovups\t(%rdi), %zmm0", "movaps\t%xmm0, %xmm1", "legacy SSE"),
    ("%zmm2, %zmm1, %zmm0", "%ymm2, %ymm1, %ymm0", "no avx512 fma"),
    ("vfnmadd231ps", "vmulps", "no avx2 fma"),
    ("vfnmadd231ps\t(%rdi), %ymm1", "vcvtph2ps\t(%rdi)", ""),
    ("vfnmadd231ps\t(%rdi), %ymm1", "vmovups\t(%rdi)", ""),
    ("vfnmadd231ps\t(%rdi), %ymm1", "vaddps\t(%rdi), %ymm1", ""),
    ("vfnmadd231ps\t(%rdi), %ymm1, %ymm0", "vaddps\t(%rdi), %xmm1, %xmm0", "no avx2 fma"),
    ("vmovups\t(%rdi), %zmm0", "callq\t_ZN8softlane4math5fixed5Fixed2ln17h01E", ""),
    ("dispatch_avx2_f32", "dispatch_sse_f32", "no avx2 boundary"),
]


def self_test() -> int:
    """Return 0 if each doctored assembly is judged as it should be."""
    wrong = 0
    for old, new, expected in DOCTORED:
        assert old in CLEAN
        said = [re.sub(r"^line \d+: ", "", what) for what in check(CLEAN.replace(old, new))]
        if bool(said) != bool(expected) or (said and not said[0].startswith(expected)):
            print(f"self-test: {old!r} -> {new!r}: expected {expected or 'nothing'!r}, got {said}")
            wrong += 1
    print(f"check_assembly self-test: {len(DOCTORED) - wrong} of {len(DOCTORED)} judged right")
    return int(wrong > 0)


def main() -> int:
    """Check the extension's assembly, or the checker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--self-test", action="store_true", help="doctor a small assembly")
    parser.add_argument("--assembly", type=Path, metavar="FILE", help="read this file")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.assembly is None and platform.machine().lower() not in {"x86_64", "amd64"}:
        print("check_assembly: no x86 boundaries on this machine, nothing to check")
        return 0
    path = arguments.assembly or emitted(Path(__file__).resolve().parents[1])
    text = path.read_text("utf-8")
    wrong = check(text)
    for what in wrong:
        print(f"{path}: {what}")
    kernels = sum(
        bool(re.search(b.symbol, f.symbol)) for f in functions_of(text) for b in BOUNDARIES
    )
    print(f"check_assembly: {len(wrong)} faults" if wrong else f"check_assembly: {kernels} kernels")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
