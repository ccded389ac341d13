"""How near the kernels that are bound by memory come to the memory's own speed, on arrays far larger than caches.

    python bench/bandwidth.py                          prints the table
    python bench/bandwidth.py --output bench/BANDWIDTH.md    writes it too

Bytes: what the algorithm must move, each array once per pass that its definition forces. So one pass over what is read
and what is written, two over x where all of it must be seen before the first result is known (batch normalisation).
What a processor reads merely because it is about to be overwritten does not count, here or in the copy.

Three ceilings, each of the faster of NumPy, a part of the array per thread, and the engine's own primitive: copying
(read and written bytes count), filling with a number that is not zero, for writing takes longer than reading, and
reading (NumPy's product of an array and itself, the engine's sum), for a copy may move more than cores can read. A
kernel can take no less time than its bytes in a copy, nor than its written bytes in a fill, nor than its read bytes in
reading; the share is that time over its own. All are measured in turn, round by round, since a shared machine drifts
by half and more; a share is the median over the rounds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from dlcore.backends import Backend, get_backend

F32 = np.float32


def last_cache() -> int:
    """Bytes of the last cache, 0 where the system does not tell."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().rstrip("K")) << 10 for size in sizes), default=0)


# Arrays of 128 MiB, or of more than the last cache.
SCALE = 1 << (last_cache() // (128 << 20)).bit_length()
M = SCALE * (32 << 20)  # elements of a flat array
IMAGES = (SCALE * 32, 112, 112, 64)
ROWS, COLUMNS = SCALE * 32 * 112 * 112, 64
ENGINES = ("cython", "numba")
ROUNDS, SECONDS = 5, 0.02


class Kernel(NamedTuple):
    name: str
    primitive: str
    passes: str  # what is read and written, in words
    size: int  # bytes, read and written
    arguments: Callable[[Memory], tuple[Any, ...]]
    fused: str = ""  # the name of the last argument, where it is one that only some engines fuse
    written: int = 0  # bytes, where they are more than those that are read
    read: int = 0  # bytes, where they are three times those that are written, or more


class Memory:
    """Arrays of an engine, made once and lent to one kernel after the other."""

    def __init__(self, engine: Backend) -> None:
        self.engine = engine
        self.pool: dict[tuple[Any, ...], list[Any]] = {}
        self.lent: dict[tuple[Any, ...], int] = {}

    def take(self, shape: tuple[int, ...], dtype: Any = F32) -> Any:
        """An array that this kernel does not have yet: numbers between 0 and 1, whole zeros, false and true in turn."""
        key = (shape, np.dtype(dtype))
        held, used = self.pool.setdefault(key, []), self.lent.get(key, 0)
        if used == len(held):
            held.append(self.engine.empty(shape, dtype))
        self.lent[key] = used + 1
        if np.dtype(dtype).kind == "f":
            self.engine.random_uniform(held[used].reshape(-1), 0.1, 1.0, used, 0)
        else:
            held[used][...] = 0
            if np.dtype(dtype) == bool:
                held[used][1::2] = True  # a host may share pages of zeros, which are read more slowly
        return held[used]

    def give_back(self) -> None:
        self.lent.clear()


def flat_kernels() -> Iterator[Kernel]:
    n = (M,)
    for op in ("square", "exp"):
        yield Kernel(f"unary {op}", "unary", "1 read, 1 write", 8 * M, lambda m, op=op: (m.take(n), m.take(n), op))
    for op in ("add", "mul"):
        yield Kernel(
            f"binary {op}", "binary", "2 reads, 1 write", 12 * M,
            lambda m, op=op: (m.take(n), m.take(n), m.take(n), op),
        )  # fmt: skip
    yield Kernel(
        "select", "select", "2 reads and bytes, 1 write", 13 * M,
        lambda m: (m.take(n, bool), m.take(n), m.take(n), m.take(n)),
    )  # fmt: skip
    yield Kernel("fill", "fill", "1 write", 4 * M, lambda m: (m.take(n), 1.5), written=4 * M)
    yield Kernel(
        "reduce sum", "reduce", "1 read", 4 * M, lambda m: (m.take(n).reshape(1, M, 1), m.take((1, 1)), "sum"),
        read=4 * M,
    )  # fmt: skip
    for kind in ("relu", "sigmoid", "tanh", "elu", "gelu"):
        yield Kernel(
            f"activation {kind}", "activation", "1 read, 1 write", 8 * M,
            lambda m, kind=kind: (m.take(n), m.take(n), kind, 1.0),
        )  # fmt: skip
        yield Kernel(
            f"activation_backward {kind}", "activation_backward", "2 reads, 1 write", 12 * M,
            lambda m, kind=kind: (m.take(n), m.take(n), m.take(n), m.take(n), kind, 1.0),
        )  # fmt: skip
    yield Kernel("dropout", "dropout", "1 read, 1 write", 8 * M, lambda m: (m.take(n), m.take(n), 0.5, 7, 0))
    yield Kernel("sgd", "sgd", "2 reads, 1 write", 12 * M, lambda m: (m.take(n), m.take(n), 1e-3))
    yield Kernel(
        "momentum", "momentum", "3 reads, 2 writes", 20 * M,
        lambda m: (m.take(n), m.take(n), m.take(n), 1e-3, 0.9, "classical"),
    )  # fmt: skip
    yield Kernel(
        "adagrad", "adagrad", "3 reads, 2 writes", 20 * M, lambda m: (m.take(n), m.take(n), m.take(n), 1e-3, 1e-7)
    )
    yield Kernel(
        "rmsprop", "rmsprop", "3 reads, 2 writes", 20 * M,
        lambda m: (m.take(n), m.take(n), m.take(n), None, None, 1e-3, 0.9, 0.0, 1e-7),
    )  # fmt: skip
    yield Kernel(
        "adam", "adam", "4 reads, 3 writes", 28 * M,
        lambda m: (m.take(n), m.take(n), m.take(n), m.take(n), None, 1e-3, 0.9, 0.999, 1e-7, 0.0, 1),
    )  # fmt: skip


def row_kernels() -> Iterator[Kernel]:
    x, c, rows = (ROWS, COLUMNS), (COLUMNS,), ROWS * COLUMNS * 4
    logits = (SCALE * (32 << 10), 1000)
    bytes_of_logits = 4 * logits[0] * logits[1]
    yield Kernel(
        "softmax_cross_entropy", "softmax_cross_entropy", "1 read, 1 write", 2 * bytes_of_logits,
        lambda m: (
            m.take(logits), m.take(logits[:1], np.int32), None, m.take(logits[:1]), m.take(logits), 1 / logits[0],
        ),
    )  # fmt: skip
    for name in ("softmax_cross_entropy_dense", "sigmoid_cross_entropy"):
        yield Kernel(
            name, name, "2 reads, 1 write", 3 * bytes_of_logits,
            lambda m: (m.take(logits), m.take(logits), None, m.take(logits[:1]), m.take(logits), 1 / logits[0]),
        )  # fmt: skip
    for name in ("softmax", "log_softmax"):
        yield Kernel(name, name, "1 read, 1 write", 2 * bytes_of_logits, lambda m: (m.take(logits), m.take(logits)))
        yield Kernel(
            f"{name}_backward", f"{name}_backward", "2 reads, 1 write", 3 * bytes_of_logits,
            lambda m: (m.take(logits), m.take(logits), m.take(logits)),
        )  # fmt: skip
    for activation, residual in (("linear", 0), ("relu", 0), ("relu", 1)):
        yield Kernel(
            "batchnorm" + " + relu" * (activation == "relu") + " + residual" * residual, "batchnorm",
            f"{2 + residual} reads, 1 write", (3 + residual) * rows,
            lambda m, a=activation, r=residual: (
                m.take(x), m.take(c), m.take(c), m.take(c), m.take(c), m.take(x), m.take(c), m.take(c), 0.99, 1e-3, a,
                *([m.take(x)] if r else []),
            ),
            "residual" * residual,
            read=3 * rows * residual,
        )  # fmt: skip
    yield Kernel(
        "batchnorm_inference + relu", "batchnorm_inference", "1 read, 1 write", 2 * rows,
        lambda m: (m.take(x), m.take(c), m.take(c), m.take(c), m.take(c), m.take(x), 1e-3, "relu"),
    )  # fmt: skip
    for relu in (False, True):
        yield Kernel(
            "batchnorm_backward" + " + relu" * relu, "batchnorm_backward", "4 reads, 1 write", 5 * rows,
            lambda m, relu=relu: (
                m.take(x), m.take(x), m.take(c), m.take(c), m.take(c), m.take(x), m.take(c), m.take(c), False,
                *([m.take(c)] if relu else []),
            ),
            "relu_beta" * relu,
            read=4 * rows,
        )  # fmt: skip
    wide = (ROWS // 8, 8 * COLUMNS)
    yield Kernel(
        "layernorm", "layernorm", "1 read, 1 write", 2 * rows,
        lambda m: (
            m.take(wide), m.take(wide[1:]), m.take(wide[1:]), m.take(wide), m.take(wide[:1]), m.take(wide[:1]), 1e-3,
        ),
    )  # fmt: skip
    yield Kernel(
        "layernorm_backward", "layernorm_backward", "2 reads, 1 write", 3 * rows,
        lambda m: (
            m.take(wide), m.take(wide), m.take(wide[1:]), m.take(wide[:1]), m.take(wide[:1]), m.take(wide),
            m.take(wide[1:]), m.take(wide[1:]), False,
        ),
    )  # fmt: skip


def pool_kernels() -> Iterator[Kernel]:
    n, h, w, c = IMAGES
    for size, stride in ((2, 2), (3, 2)):
        out = (n, (h - size) // stride + 1, (w - size) // stride + 1, c)
        how = ((size, size), (stride, stride), (0, 0, 0, 0))
        image, pooled = 4 * n * h * w * c, 4 * n * out[1] * out[2] * c
        name = f"{size}×{size} stride {stride}"
        yield Kernel(
            f"max_pool2d {name}", "max_pool2d", "1 read, ¼ write and bytes", image + pooled + pooled // 4,
            lambda m, out=out, how=how: (m.take(IMAGES), m.take(out), m.take(out, np.uint8), *how),
            read=image,
        )  # fmt: skip
        yield Kernel(
            f"max_pool2d_backward {name}", "max_pool2d_backward", "¼ read and bytes, 1 write",
            image + pooled + pooled // 4,
            lambda m, out=out, how=how: (m.take(out), m.take(out, np.uint8), m.take(IMAGES), *how),
            written=image,
        )  # fmt: skip
        yield Kernel(
            f"avg_pool2d {name}", "avg_pool2d", "1 read, ¼ write", image + pooled,
            lambda m, out=out, how=how: (m.take(IMAGES), m.take(out), *how),
            read=image,
        )  # fmt: skip
        yield Kernel(
            f"avg_pool2d_backward {name}", "avg_pool2d_backward", "¼ read, 1 write", image + pooled,
            lambda m, out=out, how=how: (m.take(out), m.take(IMAGES), *how),
            written=image,
        )  # fmt: skip
    yield Kernel(
        "global_avg_pool", "global_avg_pool", "1 read", 4 * n * h * w * c,
        lambda m: (m.take((n, h * w, c)), m.take((n, c))),
        read=4 * n * h * w * c,
    )  # fmt: skip
    yield Kernel(
        "global_avg_pool_backward", "global_avg_pool_backward", "1 write", 4 * n * h * w * c,
        lambda m: (m.take((n, c)), m.take((n, h * w, c))),
        written=4 * n * h * w * c,
    )  # fmt: skip


KERNELS = [*flat_kernels(), *row_kernels(), *pool_kernels()]


class Ceilings:
    """By NumPy and by an engine, measured whenever they are asked for."""

    def __init__(self, engine: Backend, threads: int) -> None:
        self.engine = engine
        self.x, self.y = (engine.empty((M,), F32) for _ in range(2))
        engine.random_uniform(self.x, 0.1, 1.0, 0, 0)
        self.parts = np.array_split(self.y, threads), np.array_split(self.x, threads)
        self.pool = ThreadPoolExecutor(threads)

    def copy(self) -> float:
        """Bytes per second."""
        by_numpy = seconds(lambda: list(self.pool.map(np.copyto, *self.parts)))
        return 8 * M / min(by_numpy, seconds(lambda: self.engine.copy(self.x, self.y)))

    def fill(self) -> float:
        """Bytes per second."""
        by_numpy = seconds(lambda: list(self.pool.map(lambda part: part.fill(1.5), self.parts[0])))
        return 4 * M / min(by_numpy, seconds(lambda: self.engine.fill(self.y, 1.5)))

    def read(self) -> float:
        """Bytes per second."""
        by_numpy = seconds(lambda: list(self.pool.map(np.dot, self.parts[1], self.parts[1])))
        x, total = self.x.reshape(1, M, 1), self.y[:1].reshape(1, 1)
        return 4 * M / min(by_numpy, seconds(lambda: self.engine.reduce(x, total, "sum")))


def seconds(call: Callable[[], Any]) -> float:
    """The median of a few calls, the first of which does not count."""
    call()
    times: list[float] = []
    while len(times) < 2 or sum(times) < SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def measure(engines: list[Backend], threads: int, chosen: str) -> tuple[list[list[str]], str]:
    """Rows of the table, and the medians of the ceilings."""
    ceilings = Ceilings(engines[0], threads)
    memories = {engine.name: Memory(engine) for engine in engines}
    rows, copies, fills, reads = [], [], [], []
    for kernel in KERNELS:
        if chosen not in kernel.name:
            continue
        calls = {}
        for engine in engines:
            if kernel.fused and kernel.fused not in engine.fuses.get(kernel.primitive, ()):
                continue
            names = [*signature(getattr(Backend, kernel.primitive)).parameters][1:]
            values = kernel.arguments(memories[engine.name])
            if kernel.fused:
                names[len(values) - 1 :] = [kernel.fused]
            calls[engine.name] = engine.bind(
                kernel.primitive, dict(zip(names, values, strict=False)), frozenset()
            )  # fmt: skip
        rates: dict[str, list[float]] = {name: [] for name in calls}
        shares: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            copies.append(ceilings.copy())
            fills.append(ceilings.fill())
            reads.append(ceilings.read())
            least = max(kernel.size / copies[-1], kernel.written / fills[-1], kernel.read / reads[-1])
            for name, call in calls.items():
                took = seconds(call)
                rates[name].append(kernel.size / took)
                shares[name].append(least / took)
        for memory in memories.values():
            memory.give_back()
        cells = [
            f"{median(rates[e.name]) / 1e9:.1f} ({median(shares[e.name]):.0%})" if e.name in calls else "—"
            for e in engines
        ]
        rows.append([kernel.name, kernel.passes, *cells])
        print("  ".join(rows[-1]), flush=True)
    copying, filling, reading = (f"{median(rates) / 1e9:.1f} GB/s" for rates in (copies, fills, reads))
    return rows, f"{copying} in copying, {filling} in filling, {reading} in reading {4 * M >> 20} MiB"


def page(rows: list[list[str]], ceilings: str, threads: int) -> str:
    head = ["kernel", "passes", *(f"{name}, GB/s (share of the ceiling)" for name in ENGINES)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
    return f"""# Kernels bound by memory

Written by `bench/bandwidth.py`, whose first lines say how bytes are counted. Only the shares carry over.

- Machine: {processor()}, {threads} threads; {platform.system()} {platform.release()}
- Ceilings: {ceilings}, the medians of the run
- Measured: {datetime.date.today()}

{table}

What bounds the `cython` engine's kernels: dropout, arithmetic (Philox: ten rounds of products for four numbers, the
same bits on every engine); the binary loss, an exponential and a division for each element; log-softmax and the loss
against dense targets, three passes over a row, of which only one overlaps with the next row's reading. A Zen 4 whose
host keeps the two cores on two L3 copies at 45 to 90 GB/s from one second to the next; at 80 and more, arithmetic
bounds more of them (gelu: 22 cycles for a vector of 16), and shares fall to between 45 and 70 %. A Granite Rapids,
whose copying keeps to 46 GB/s, had all at 75 % and more. What only reads or only writes does so as fast as anything
does. The `numba` engine's dropout, normalisation and exponentials are bound by its arithmetic besides.
"""


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="a Markdown file to be written")
    parser.add_argument("--only", default="", help="only kernels with this in their name")
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows, ceilings = measure([get_backend(name) for name in ENGINES], threads, arguments.only)
    print(ceilings)
    if arguments.output:
        arguments.output.write_text(page(rows, ceilings, threads))


if __name__ == "__main__":
    main()
