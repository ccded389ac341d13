"""What this machine can do at best: the rate of a large float32 matrix product and of copying memory.

A matrix product of 2048³ by whichever is faster, NumPy's BLAS or the native engine. A copy of 256 MB, one part per
thread; the bytes read and the bytes written both count.

python bench/ceilings.py THREADS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

SIDE = 2048
FLOATS = 64 << 20


def fastest(call: Callable[[], object], seconds: float = 1.5) -> float:
    """The shortest time of a call that is repeated for so long."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def gemm() -> float:
    """Flops per second."""
    from dlcore.backends import BackendUnavailableError, get_backend

    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((1, SIDE, SIDE), np.float32) for _ in range(3))
    seconds = fastest(lambda: np.matmul(a[0], b[0], out=c[0]))
    time.sleep(0.5)  # until the BLAS's threads sleep
    try:
        native = get_backend("cython")
        seconds = min(seconds, fastest(lambda: native.matmul(a, b, c, False, False)))
    except BackendUnavailableError:
        pass
    return 2 * SIDE**3 / seconds


def copy(threads: int) -> float:
    """Bytes per second."""
    sources, targets = (np.array_split(np.ones(FLOATS, np.float32), threads) for _ in range(2))
    with ThreadPoolExecutor(threads) as pool:
        seconds = fastest(lambda: list(pool.map(np.copyto, targets, sources)))
    return 2 * 4 * FLOATS / seconds


if __name__ == "__main__":
    print(json.dumps({"gemm": gemm(), "copy": copy(int(sys.argv[1]))}))
