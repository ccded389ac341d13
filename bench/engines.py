"""Numba beside NumPy and the native engine, on every primitive: where is it behind NumPy?

    python bench/engines.py                                 the rows where it is, on one thread and on two
    python bench/engines.py --all --output bench/ENGINES.md     all rows, as a page too

The cases are those of `test_primitives.py` and plain shapes that users meet: small batches, odd sizes, tall and flat
matrices, one row, one column, few channels. The engines take turns in one process, a burst of calls each, and a row's
ratios are medians over the rounds; one that is more than 5 % behind NumPy is measured a second time, longer. A product
on several threads leaves those of NumPy's BLAS spinning for a tenth of a second, so that a pause follows it, and a
longer burst that is not timed, since whoever shares this machine's caches has not paused.
Numba leaves long products, and those with a large operand, to the native engine (`kernels/jit/gemm_native.py`), as it
does wherever that is built.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dlcore.backends import Backend, get_backend
from dlcore.backends.interface import ACTIVATIONS, BINARY_OPS, COMPARE_OPS, REDUCE_OPS, UNARY_OPS
from test_primitives import CASES, F32, Case, _real, _run, _zeros

ENGINES = ("numpy", "numba", "cython")
SIZES = (1, 32, 1000, 5000, 20_000, 100_000, 300_000)
ROUNDS, SECONDS = 3, 0.0005
AGAIN, LONGER = 7, 0.002
PAUSED = 0.01
BEHIND = 1.05
PRODUCTS = ("linear", "matmul", "conv2d", "simple_rnn", "lstm", "gru")
Rng = np.random.Generator


def _positive(r: Rng, *shape: int) -> np.ndarray:
    return np.abs(_real(r, *shape)) + F32(0.1)


def products() -> Iterator[Case]:
    for m, i, o in (
        (1, 2, 8), (4, 8, 1), (1, 64, 64), (8, 64, 64), (32, 10, 10), (32, 100, 10), (1, 784, 128), (32, 784, 128),
        (256, 256, 1), (32, 1, 256), (64, 37, 53), (7, 333, 111), (32, 2048, 10), (2, 512, 512), (1, 4096, 1000),
        (32, 120, 84), (32, 84, 10), (128, 256, 10), (1000, 20, 20), (2000, 64, 1), (10_000, 8, 8), (256, 64, 256),
        (4, 4096, 1000), (8, 2048, 2048), (32, 4096, 1000), (128, 784, 512), (512, 1200, 1200),
    ):  # fmt: skip
        size = f"{m}x{i}x{o}"
        for activation in ("linear", "tanh"):
            yield Case(
                "linear", f"{size} {activation}",
                lambda r, m=m, i=i, o=o, a=activation: (_real(r, m, i), _real(r, i, o), _real(r, o), _zeros(m, o), a),
            )  # fmt: skip
        yield Case(
            "linear_backward_input", size, lambda r, m=m, i=i, o=o: (_real(r, m, o), _real(r, i, o), _zeros(m, i))
        )
        yield Case(
            "linear_backward_weight", size,
            lambda r, m=m, i=i, o=o: (_real(r, m, i), _real(r, m, o), _zeros(i, o), _zeros(o), False),
        )  # fmt: skip
    for b, m, k, n in ((32, 4, 4, 4), (128, 32, 32, 32), (8, 64, 64, 64), (16, 50, 64, 50), (1, 3, 1000, 3)):
        for turned in (False, True):
            yield Case(
                "matmul", f"{b}x({m}x{k}x{n}){' b transposed' * turned}",
                lambda r, b=b, m=m, k=k, n=n, t=turned: (
                    _real(r, b, m, k), _real(r, b, *((n, k) if t else (k, n))), _zeros(b, m, n), False, t,
                ),
            )  # fmt: skip


def elementwise() -> Iterator[Case]:
    for n in SIZES:
        for kind in ACTIVATIONS:
            yield Case("activation", f"{kind} {n}", lambda r, k=kind, n=n: (_real(r, n), _zeros(n), k, 0.3))
            yield Case(
                "activation_backward", f"{kind} {n}",
                lambda r, k=kind, n=n: (_real(r, n), _real(r, n), _positive(r, n), _zeros(n), k, 0.3),
            )  # fmt: skip
        for op in UNARY_OPS:
            yield Case("unary", f"{op} {n}", lambda r, o=op, n=n: (_positive(r, n), _zeros(n), o))
            yield Case(
                "unary_backward", f"{op} {n}",
                lambda r, o=op, n=n: (_real(r, n), _positive(r, n), _positive(r, n), _zeros(n), o),
            )  # fmt: skip
        for op in BINARY_OPS:
            yield Case("binary", f"{op} {n}", lambda r, o=op, n=n: (_positive(r, n), _positive(r, n), _zeros(n), o))
            yield Case(
                "binary", f"{op} a number {n}", lambda r, o=op, n=n: (_positive(r, n), _positive(r, 1), _zeros(n), o)
            )
        for op in COMPARE_OPS:
            yield Case(
                "compare", f"{op} {n}", lambda r, o=op, n=n: (_real(r, n), _real(r, n), _zeros(n, dtype=bool), o)
            )
        yield Case(
            "compare", f"less a number {n}", lambda r, n=n: (_real(r, n), _real(r, 1), _zeros(n, dtype=bool), "less")
        )
        yield Case("select", f"{n}", lambda r, n=n: (_real(r, n) > 0, _real(r, n), _real(r, n), _zeros(n)))
        yield Case("select", f"or a number {n}", lambda r, n=n: (_real(r, n) > 0, _real(r, n), _real(r, 1), _zeros(n)))
        for source in (F32, np.int32, np.uint8, bool):
            yield Case(
                "copy", f"{np.dtype(source)} {n}", lambda r, n=n, s=source: ((9 * _real(r, n)).astype(s), _zeros(n))
            )
        yield Case("copy", f"to int32 {n}", lambda r, n=n: (_real(r, n), _zeros(n, dtype=np.int32)))
        yield Case("fill", f"{n}", lambda r, n=n: (_zeros(n), 1.5))
    for y, b in (
        ((32, 10), (10,)), ((32, 10), (32, 1)), ((128, 256), (256,)), ((1000, 512), (512,)), ((1000, 512), (1000, 1)),
        ((32, 28, 28, 16), (16,)), ((20_000, 3), (3,)), ((64, 100, 100), (100, 100)), ((64, 100, 100), (64, 1, 1)),
    ):  # fmt: skip
        for op in ("add", "maximum"):
            yield Case("binary", f"{op} {y} {b}", lambda r, y=y, b=b, o=op: (_real(r, *y), _real(r, *b), _zeros(*y), o))
        yield Case(
            "compare", f"less {y} {b}",
            lambda r, y=y, b=b: (_real(r, *y), _real(r, *b), _zeros(*y, dtype=bool), "less"),
        )  # fmt: skip
        yield Case("select", f"{y} {b}", lambda r, y=y, b=b: (_real(r, *y) > 0, _real(r, *y), _real(r, *b), _zeros(*y)))
    for shape, axes in (
        ((8, 8), (1, 0)), ((1000, 10), (1, 0)), ((10, 1000), (1, 0)), ((784, 512), (1, 0)), ((257, 129), (1, 0)),
        ((4096, 3), (1, 0)), ((3, 4096), (1, 0)), ((32, 28, 28, 16), (0, 3, 1, 2)), ((32, 3, 32, 32), (0, 2, 3, 1)),
        ((32, 32, 32, 3), (0, 3, 1, 2)), ((32, 50, 4, 16), (0, 2, 1, 3)), ((32, 50, 128), (1, 0, 2)),
        ((128, 64, 3, 3), (2, 3, 1, 0)),
    ):  # fmt: skip
        yield Case(
            "copy", f"{shape} as {axes}",
            lambda r, s=shape, a=axes: ((x := _real(r, *s).transpose(a)), _zeros(*x.shape)),
        )  # fmt: skip
    for name, index in (
        ("half of the columns", np.s_[:, :100]), ("every other column", np.s_[:, ::2]), ("rows reversed", np.s_[::-1]),
    ):  # fmt: skip
        yield Case("copy", name, lambda r, i=index: ((x := _real(r, 1000, 200)[i]), _zeros(*x.shape)))


def reductions() -> Iterator[Case]:
    for a, n, b in (
        (1, 1, 1), (1, 32, 1), (1, 1000, 1), (1, 10_000, 1), (1, 100_000, 1), (32, 10, 1), (1000, 10, 1),
        (10_000, 3, 1), (32, 100, 1), (128, 1000, 1), (8, 50_000, 1), (1, 32, 10), (1, 1000, 10), (1, 100_000, 3),
        (1, 32, 512), (1, 128, 1000), (1, 4096, 256), (32, 49, 64), (32, 784, 3), (100, 2, 50), (1, 2, 100_000),
    ):  # fmt: skip
        for op in REDUCE_OPS:
            yield Case(
                "reduce", f"{op} {a}x{n}x{b}", lambda r, o=op, a=a, n=n, b=b: (_real(r, a, n, b), _zeros(a, b), o)
            )
    for n, c in (
        (1, 10), (32, 10), (1000, 10), (10_000, 3), (128, 100), (16, 256), (512, 256), (8, 1000), (128, 1000),
        (1, 100_000), (8, 50_000), (5000, 17),
    ):  # fmt: skip
        yield Case("argmax", f"{n}x{c}", lambda r, n=n, c=c: (_real(r, n, c), _zeros(n, dtype=np.int32)))
    for n, c in ((1, 10), (32, 10), (1000, 3), (32, 1), (8, 50_000), (512, 128)):
        for name in ("softmax", "log_softmax"):
            yield Case(name, f"{n}x{c}", lambda r, n=n, c=c: (_real(r, n, c), _zeros(n, c)))
            yield Case(
                f"{name}_backward", f"{n}x{c}",
                lambda r, n=n, c=c: (_real(r, n, c), -_positive(r, n, c), _zeros(n, c)),
            )  # fmt: skip
        yield Case(
            "softmax_cross_entropy", f"{n}x{c}",
            lambda r, n=n, c=c: (
                _real(r, n, c), r.integers(0, c, n).astype(np.int32), None, _zeros(n), _zeros(n, c), 1 / n,
            ),
        )  # fmt: skip
        for name in ("softmax_cross_entropy_dense", "sigmoid_cross_entropy"):
            yield Case(
                name, f"{n}x{c}",
                lambda r, n=n, c=c: (_real(r, n, c), r.random((n, c), F32), None, _zeros(n), _zeros(n, c), 1 / n),
            )  # fmt: skip


def layers() -> Iterator[Case]:
    for m, v, d in ((4, 10, 4), (320, 20, 8), (2000, 1000, 1), (6400, 20_000, 128)):
        ids = np.random.default_rng(0).integers(0, v, m).astype(np.int32)
        size = f"{m} of {v}x{d}"
        yield Case("embedding", size, lambda r, i=ids, m=m, v=v, d=d: (i.copy(), _real(r, v, d), _zeros(m, d)))
        yield Case(
            "embedding_backward", size,
            lambda r, i=ids, m=m, v=v, d=d: (_real(r, m, d), i.copy(), _zeros(v, d), False),
        )  # fmt: skip
    for rows, c in ((4, 2), (32, 10), (32, 1), (25_088, 6), (392, 512), (8, 1000)):
        size = f"{rows}x{c}"
        yield Case(
            "batchnorm", size,
            lambda r, n=rows, c=c: (
                _real(r, n, c), _real(r, c), _real(r, c), _zeros(c), np.ones(c, F32), _zeros(n, c), _zeros(c),
                _zeros(c), 0.99, 1e-3, "linear",
            ),
        )  # fmt: skip
        yield Case(
            "batchnorm_inference", size,
            lambda r, n=rows, c=c: (
                _real(r, n, c), _real(r, c), _real(r, c), _zeros(c), np.ones(c, F32), _zeros(n, c), 1e-3, "linear",
            ),
        )  # fmt: skip
        yield Case(
            "layernorm", size,
            lambda r, n=rows, c=c: (
                _real(r, n, c), _real(r, c), _real(r, c), _zeros(n, c), _zeros(n), _zeros(n), 1e-3,
            ),
        )  # fmt: skip
    for x, size, stride, pad in (
        ((1, 8, 8, 1), 2, 2, 0), ((32, 12, 12, 16), 2, 2, 0), ((4, 28, 28, 24), 3, 1, 1), ((2, 9, 9, 5), 3, 2, 1),
        ((32, 7, 7, 64), 7, 7, 0),
    ):  # fmt: skip
        side = (x[1] + 2 * pad - size) // stride + 1
        y = (x[0], side, side, x[3])
        how = ((size, size), (stride, stride), (pad,) * 4)
        name = f"{x} {size}x{size} stride {stride}"

        def backward(r: Rng, x: Any = x, y: Any = y, how: Any = how) -> tuple[Any, ...]:
            index = _zeros(*y, dtype=np.uint8)
            _run("max_pool2d", _real(r, *x), _zeros(*y), index, *how)
            return _real(r, *y), index, _zeros(*x), *how

        yield Case(
            "max_pool2d", name,
            lambda r, x=x, y=y, how=how: (_real(r, *x), _zeros(*y), _zeros(*y, dtype=np.uint8), *how),
        )  # fmt: skip
        yield Case("max_pool2d_backward", name, backward)
        yield Case("avg_pool2d", name, lambda r, x=x, y=y, how=how: (_real(r, *x), _zeros(*y), *how))
        yield Case("avg_pool2d_backward", name, lambda r, x=x, y=y, how=how: (_real(r, *y), _zeros(*x), *how))
    for n, s, c in ((1, 4, 4), (32, 49, 3), (2, 10_000, 8), (1, 49, 2048)):
        size = f"{n}x{s}x{c}"
        yield Case("global_avg_pool", size, lambda r, n=n, s=s, c=c: (_real(r, n, s, c), _zeros(n, c)))
        yield Case("global_avg_pool_backward", size, lambda r, n=n, s=s, c=c: (_real(r, n, c), _zeros(n, s, c)))
        yield Case(
            "global_max_pool", size,
            lambda r, n=n, s=s, c=c: (_real(r, n, s, c), _zeros(n, c), _zeros(n, c, dtype=np.int32)),
        )  # fmt: skip
    for x, k, features, stride, pad, groups in (
        ((1, 8, 8, 1), 3, 4, 1, 0, 1), ((32, 28, 28, 1), 3, 32, 1, 0, 1), ((8, 14, 14, 32), 3, 64, 1, 1, 1),
        ((1, 5, 5, 3), 1, 4, 1, 0, 1), ((2, 15, 15, 7), 3, 9, 1, 1, 1), ((4, 14, 14, 32), 3, 32, 1, 1, 4),
        ((4, 28, 28, 5), 3, 5, 1, 1, 5), ((4, 10, 10, 4), 10, 10, 1, 0, 1),
    ):  # fmt: skip
        side = (x[1] + 2 * pad - k) // stride + 1
        y, w = (x[0], side, side, features), (k, k, x[3] // groups, features)
        how = ((stride, stride), (pad,) * 4, (1, 1), groups)
        name = f"{x} {k}x{k} {features} filters, {groups} groups"
        yield Case(
            "conv2d", name,
            lambda r, x=x, w=w, y=y, how=how: (
                _real(r, *x), _real(r, *w), _real(r, w[3]), _zeros(*y), *how, "linear",
            ),
        )  # fmt: skip
        yield Case(
            "conv2d_backward_input", name,
            lambda r, x=x, w=w, y=y, how=how: (_real(r, *y), _real(r, *w), _zeros(*x), *how),
        )  # fmt: skip
        yield Case(
            "conv2d_backward_weight", name,
            lambda r, x=x, w=w, y=y, how=how: (
                _real(r, *x), _real(r, *y), _zeros(*w), _zeros(w[3]), *how, False,
            ),
        )  # fmt: skip


def flat_buffers() -> Iterator[Case]:
    for n in SIZES:
        yield Case("random_uniform", f"{n}", lambda r, n=n: (_zeros(n), 0.0, 1.0, 7, 0))
        yield Case("random_normal", f"{n}", lambda r, n=n: (_zeros(n), 0.0, 1.0, 7, 0))
        yield Case("dropout", f"{n}", lambda r, n=n: (_real(r, n), _zeros(n), 0.5, 7, 0))
        yield Case("sgd", f"{n}", lambda r, n=n: (_real(r, n), _real(r, n), 1e-3))
        yield Case("momentum", f"{n}", lambda r, n=n: (_real(r, n), _real(r, n), _zeros(n), 1e-3, 0.9, "nesterov"))
        yield Case("adagrad", f"{n}", lambda r, n=n: (_real(r, n), _real(r, n), _zeros(n), 1e-3, 1e-7))
        yield Case(
            "rmsprop", f"{n}",
            lambda r, n=n: (_real(r, n), _real(r, n), _zeros(n), _zeros(n), _zeros(n), 1e-3, 0.9, 0.9, 1e-7),
        )  # fmt: skip
        yield Case(
            "adam", f"{n}",
            lambda r, n=n: (_real(r, n), _real(r, n), _zeros(n), _zeros(n), None, 1e-3, 0.9, 0.999, 1e-7, 0.01, 1),
        )  # fmt: skip


ALL = [*CASES, *products(), *elementwise(), *reductions(), *layers(), *flat_buffers()]


def _placed(engine: Backend, case: Case) -> list[Any]:
    """The case's arguments where the engine would have them; views stay views."""
    placed = []
    for a in case.arguments(np.random.default_rng(0)):
        if isinstance(a, np.ndarray) and a.flags.c_contiguous:
            placed.append(engine.empty(a.shape, a.dtype))
            placed[-1][...] = a
        else:
            placed.append(a)
    return placed


def _burst(run: Callable[..., None], arguments: list[Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run(*arguments)
    return (time.perf_counter() - start) / count


def measure(case: Case, engines: list[Backend], rounds: int, seconds: float, threads: int) -> dict[str, list[float]]:
    """Seconds a call takes, by engine and round."""
    calls = {}
    for engine in engines:
        run, arguments = getattr(engine, case.primitive), _placed(engine, case)
        run(*arguments)
        least = min(_burst(run, arguments, 1) for _ in range(3))
        calls[engine.name] = run, arguments, max(1, int(seconds / least))
    spins = threads > 1 and case.primitive.startswith(PRODUCTS)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (run, arguments, count) in calls.items():
            paused = spins and name != "numpy"
            _burst(run, arguments, count * (int(PAUSED / seconds) if paused else 1))  # wakes its threads
            times[name].append(_burst(run, arguments, count))
            if spins and name == "numpy":
                time.sleep(0.25)
    return times


def behind(times: dict[str, list[float]], other: str) -> float:
    return median(a / b for a, b in zip(times["numba"], times[other], strict=True))


def table(threads: int, chosen: str, everything: bool) -> list[list[str]]:
    engines = [get_backend(name) for name in ENGINES]
    for engine in engines:
        engine.set_num_threads(threads)  # Numba's also tells NumPy's BLAS
    rows, count = [], 0
    for case in ALL:
        if chosen not in f"{case.primitive}: {case.name}":
            continue
        count += 1
        with np.errstate(all="ignore"):
            times = measure(case, engines, ROUNDS, SECONDS, threads)
            if behind(times, "numpy") > BEHIND:
                times = measure(case, engines, AGAIN, LONGER, threads)
        if everything or behind(times, "numpy") > BEHIND:
            microseconds = [f"{median(times[name]) * 1e6:.2f}" for name in ENGINES]
            ratios = [f"{behind(times, other):.2f}" for other in ("numpy", "cython")]
            rows.append([f"{case.primitive}: {case.name}", *microseconds, *ratios])
            print("  ".join(rows[-1]), flush=True)
    print(f"{threads} threads: {count} cases", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="a Markdown file to be written")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--all", action="store_true", help="also the rows where Numba is not behind")
    arguments = parser.parse_args()
    page = "# Engines\n\nWritten by `bench/engines.py`; microseconds a call.\n"
    head = ["case", *ENGINES, "numba / numpy", "numba / cython"]
    for threads in arguments.threads:
        rows = table(threads, arguments.only, arguments.all)
        page += f"\n## {threads} threads\n\n"
        page += "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"
    if arguments.output:
        arguments.output.write_text(page)


if __name__ == "__main__":
    main()
