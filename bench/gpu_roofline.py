"""What a training step asks of a GPU, on paper: launches, flops and bytes of the CuPy engine, and its least time.

    python bench/gpu_roofline.py

No GPU is needed. The step runs with the engine's own bindings on arrays that nobody fills; instead of being launched,
each kernel and each product of cuBLAS is counted: flops of products, and the bytes of all arrays that it is given, each
read or written once. A launch takes at least as long as the slower of both and as its start; a step, the sum of those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "gpu_emulation"))

import dlcore as dl
import shim
from dlcore import layers
from dlcore.backends.interface import Backend
from dlcore.kernels.cuda import gemm
from dlcore.kernels.cuda.launch import Kernel

# NVIDIA H100 SXM5, data sheet: float32 without tensor cores, memory. Assumed: a kernel in a CUDA graph takes 1.5 µs.
FLOPS, BYTES, LAUNCH = 67e12, 3.35e12, 1.5e-6


class Unfilled(np.ndarray):
    """An array of which only the shape matters. Memory that is not touched is not there."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=0)


class Counting(Backend):
    """The bindings of the CuPy engine on such arrays."""

    name = "counting"
    kernels = "dlcore.kernels.cuda"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Unfilled:
        return Unfilled(shape, dtype)

    zeros = empty

    def asarray(self, host: Any) -> Unfilled:
        return Unfilled(host.shape, host.dtype)

    def on_host(self, function: Callable[..., None], *arrays: Any) -> None:
        pass


def count(model: Any, x: tuple[int, ...]) -> list[tuple[float, float]]:
    """Flops and bytes of every launch in one training step with Adam."""
    launches: list[tuple[float, float]] = []

    def launch(kernel: Kernel, grid: Any, size: int, shared: int, *arguments: Any) -> None:
        names = [parameter.name for parameter in kernel.parameters]
        if kernel.module == "gemm":
            product("", 0, 0, *(arguments[names.index(size)] for size in "nmk"))
            return
        parts = arguments[names.index("steps")] if "t" in names else 1  # a step of a sequence touches no other
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        launches.append((0.0, sum(a.nbytes / (parts if a.ndim == 3 else 1) for a in arrays)))

    def product(name: str, op_b: int, op_a: int, n: int, m: int, k: int, *rest: int) -> None:
        batch = rest[-1] if name.endswith("Batched") else 1
        launches.append((2.0 * batch * m * n * k, 4.0 * batch * (m * k + k * n + m * n)))

    counting = mock.patch.object(Kernel, "_launch", launch), mock.patch.object(gemm, "_call", product)
    with shim.installed(), counting[0], counting[1], dl.use_backend(Counting()):
        network = model()
        network.compile(optimizer="adam", loss="sparse_categorical_crossentropy", run_eagerly=True)
        data = np.zeros(x, np.float32), np.zeros(x[0], np.int32)
        network.train_on_batch(*data)
        launches.clear()
        network.train_on_batch(*data)
    return launches


def lstm() -> Any:
    return dl.Sequential([layers.Input((128, 64)), layers.LSTM(256), layers.Dense(10, activation="softmax")])


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "LeNet-5, 32 of 32 × 32": (lambda: dl.applications.LeNet5(), (32, 32, 32, 1)),
    "VGG-16, 32 of 224 × 224": (lambda: dl.applications.VGG16(), (32, 224, 224, 3)),
    "ResNet-18, 32 of 224 × 224": (lambda: dl.applications.ResNet18(), (32, 224, 224, 3)),
    "LSTM 256, 64 of 128 steps": (lstm, (64, 128, 64)),
}


def main() -> None:
    print("| model, batch | launches | GFLOP | GB | arithmetic | memory | starts | at least | bound by |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (model, x) in MODELS.items():
        launches = count(model, x)
        flops, moved = (sum(column) for column in zip(*launches, strict=True))
        shares = {
            "arithmetic": sum(f / FLOPS for f, b in launches if f / FLOPS > max(b / BYTES, LAUNCH)),
            "memory": sum(b / BYTES for f, b in launches if b / BYTES > max(f / FLOPS, LAUNCH)),
            "starts": sum(LAUNCH for f, b in launches if max(f / FLOPS, b / BYTES) <= LAUNCH),
        }
        total = sum(shares.values())
        cells = [
            f"{flops / 1e9:.2f}",
            f"{moved / 1e9:.3f}",
            f"{1e3 * flops / FLOPS:.3f} ms",
            f"{1e3 * moved / BYTES:.3f} ms",
        ]
        cells += [f"{1e3 * LAUNCH * len(launches):.3f} ms", f"{1e3 * total:.3f} ms"]
        bound = max(shares, key=shares.get)  # type: ignore[arg-type]
        print(f"| {name} | {len(launches)} | {' | '.join(cells)} | {bound} ({shares[bound] / total:.0%}) |", flush=True)


if __name__ == "__main__":
    main()
