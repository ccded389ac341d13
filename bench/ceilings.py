"""What this machine can do at best: the rate of a large float32 matrix product and of copying memory.

A matrix product of 2048³ by whichever is faster, NumPy's BLAS or the native engine. A copy of 256 MB, one part per
thread; the bytes read and the bytes written both count.

python bench/ceilings.py THREADS SECONDS
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


def fastest(call: Callable[[], object], seconds: float) -> float:
    """The shortest time of a call that is repeated for so long."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def gemm(seconds: float) -> float:
    """Flops per second."""
    from dlcore.backends import BackendUnavailableError, get_backend

    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((1, SIDE, SIDE), np.float32) for _ in range(3))
    best = fastest(lambda: np.matmul(a[0], b[0], out=c[0]), seconds)
    time.sleep(0.5)  # until the BLAS's threads sleep
    try:
        native = get_backend("cython")
        best = min(best, fastest(lambda: native.matmul(a, b, c, False, False), seconds))
    except BackendUnavailableError:
        pass
    return 2 * SIDE**3 / best


def copy(threads: int, seconds: float) -> float:
    """Bytes per second."""
    sources, targets = (np.array_split(np.ones(FLOATS, np.float32), threads) for _ in range(2))
    with ThreadPoolExecutor(threads) as pool:
        best = fastest(lambda: list(pool.map(np.copyto, targets, sources)), seconds)
    return 2 * 4 * FLOATS / best


if __name__ == "__main__":
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    print(json.dumps({"gemm": gemm(seconds), "copy": copy(threads, seconds)}))
