"""The CuPy engine on this machine's GPU: its ceilings, every primitive, and training and inference beside PyTorch's.

    python bench/gpu.py [PART_OF_A_NAME]     only what has that in its name

Times are medians between CUDA events around each call, after it has run often enough to be compiled, recorded and
captured. Every primitive is held against the NumPy engine first. PyTorch (if it is installed with CUDA) computes in
float32 without TF32, as the engine does. On the emulated device the numbers mean nothing, and the heading says so.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import cases
import test_primitives
from contenders import keras_like
from dlcore.backends import get_backend, use_backend

WARM, REPEATS = 6, 30
SIDE, FLOATS = 8192, 256 << 20
# Beside the cases of cases.py: training steps that fill a GPU.
LARGE = {"VGG-16 224² train 32": "VGG-16 224² infer 8", "ResNet-18 224² train 32": "ResNet-18 224² infer 8"}


def main(part: str) -> None:
    import cupy

    engine = get_backend("cupy")
    print(", ".join(f"{key} {value}" for key, value in engine.info().items()))
    emulated = "emulated" in engine.info()["device"]
    if emulated:
        print("EMULATED on the CPU: no number below says anything about a GPU.")
    ceilings(cupy, engine, 256 if emulated else SIDE, 1 << 20 if emulated else FLOATS)
    print("\n| primitive | median, ms |\n|---|---|")
    for case in test_primitives.CASES:
        name = f"{case.primitive}: {case.name}"
        if part in name:
            arguments = checked(engine, case)
            run = getattr(engine, case.primitive)
            print(f"| {name} | {milliseconds(cupy, lambda: run(*arguments)):.4f} |", flush=True)  # noqa: B023
    print("\n| model, task, batch | dlcore, ms | PyTorch, ms |\n|---|---|---|")
    peers = [peer for peer in cases.CASES.values() if peer.task != "layer"]
    if not emulated:
        peers += [replace(cases.CASES[like], name=name, task="train", batch=32) for name, like in LARGE.items()]
    for peer in peers:
        if part in peer.name:
            print(f"| {peer.name} | {ours(cupy, peer):.3f} | {torchs(cupy, peer)} |", flush=True)


def milliseconds(cupy: Any, call: Callable[[], Any]) -> float:
    """The median time of a call."""
    times = []
    for repeat in range(WARM + REPEATS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        if repeat >= WARM:
            times.append(cupy.cuda.get_elapsed_time(start, end))
    return statistics.median(times)


def ceilings(cupy: Any, engine: Any, side: int, floats: int) -> None:
    """What cuBLAS and a copy on the device reach, on noise: products of zeros draw less power and run faster."""
    a, b, c = (cupy.empty((side, side), np.float32) for _ in range(3))
    for matrix in (a, b):
        engine.random_normal(matrix, 0.0, 1.0, 1, 0)
    product = milliseconds(cupy, lambda: cupy.matmul(a, b, out=c))
    source, target = (cupy.zeros(floats, np.float32) for _ in range(2))
    copy = milliseconds(cupy, lambda: target.data.copy_from_device_async(source.data, source.nbytes))
    print(f"cuBLAS, float32, {side}³: {2e-9 * side**3 / product:.1f} TFLOP/s")
    print(f"copy of {4 * floats >> 20} MiB, read and written: {8e-6 * floats / copy:.0f} GB/s")


def checked(engine: Any, case: test_primitives.Case) -> list[Any]:
    """A case's arguments on the device, after the engine has done on others what NumPy does."""
    expected = case.arguments(np.random.default_rng(0))
    arguments = test_primitives._on(engine, case.arguments(np.random.default_rng(0)))
    test_primitives._run(case.primitive, *expected)
    getattr(engine, case.primitive)(*arguments)
    for got, want in zip(arguments, expected, strict=True):
        if isinstance(want, np.ndarray):
            scale = max(float(np.abs(want).max(initial=0)), 1e-30)
            np.testing.assert_allclose(engine.to_numpy(got), want, rtol=1e-4, atol=1e-4 * scale)
    return arguments


def ours(cupy: Any, case: cases.Case) -> float:
    with use_backend("cupy"):
        (build,) = keras_like.variants("dlcore-cupy", 1, case, case.network.weights(), *case.data()).values()
        return milliseconds(cupy, build().step)


def torchs(cupy: Any, case: cases.Case) -> str:
    try:
        import torch

        from contenders import torch as contender
    except ImportError:
        return "not installed"
    if not torch.cuda.is_available():
        return "has no CUDA"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    x, y = case.data()
    formats = [torch.contiguous_format] + [torch.channels_last] * (x.ndim == 4)
    times = []
    for memory in formats:
        net = contender._net("torch", case, case.network.weights(), memory).cuda()
        task = contender._train if case.task == "train" else contender._infer
        run = task(net, case, contender._input(x, memory).cuda(), torch.from_numpy(y).cuda())
        times.append(milliseconds(cupy, run.step))
    return f"{min(times):.3f}"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
