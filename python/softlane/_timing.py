"""How long a call takes, for whoever compares."""

import time
from collections.abc import Callable


def seconds_in_block(call: Callable[[], object], count: int) -> float:
    """Return the seconds a call takes in a block of them; the first one only warms the caches."""
    call()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
