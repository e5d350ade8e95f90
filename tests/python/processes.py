"""Fresh interpreters, for what is decided once a process: environment, fork, signals, limits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OURS = ("SOFTLANE_ISA", "SOFTLANE_NUM_THREADS", "OMP_NUM_THREADS")


def default_signals() -> None:
    """Undo what a parent that ignores signals hands down, such as `nohup`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


# What a child calls before it becomes another program.
FRESH = default_signals if os.name == "posix" else None


def run(
    *arguments: str, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in this suite's folder with no settings but the ones given."""
    clean = {key: value for key, value in os.environ.items() if key not in OURS}
    # The folder first, so that a script given by -c can import the tables.
    path = os.pathsep.join(filter(None, [str(HERE), clean.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        preexec_fn=FRESH,
    )


def output(code: str, timeout: float = 60, **environment: str) -> str:
    """Return what a script prints; fail with its traceback if it fails."""
    done = run("-c", code, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
