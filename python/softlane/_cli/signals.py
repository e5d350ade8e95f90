"""Signals that ask for the end of the process: nothing half-done is left behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let signals that ask for the end of the process unwind it, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    named = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    wanted = [each for each in named if signal.getsignal(each) != signal.SIG_IGN]  # as nohup does

    def end(number: int, _: FrameType | None) -> None:
        for each in wanted:  # a second one must not end the clearing up
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, end) for each in wanted}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
