"""The Cython + C engine: kernels compiled for this processor, arrays in an arena of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

from .interface import Array, Backend


class CythonBackend(Backend):
    name = "cython"
    kernels = "dlcore.kernels.native"
    fuses: ClassVar = {
        "conv2d": ("residual",),
        "conv2d_backward_input": ("residual", "gate"),
        "batchnorm": ("residual",),
        "batchnorm_backward": ("relu_beta",),
        "avg_pool2d_backward": ("activated",),
    }

    def __init__(self) -> None:
        super().__init__()
        core: Any = import_module("dlcore.kernels.native.core")
        self._conv: Any = import_module("dlcore.kernels.native.conv")
        self._core = core
        self._prepare = {
            "conv2d": self._conv.prepare_conv2d,
            "linear": import_module("dlcore.kernels.native.linear").prepare_linear,
        }
        norm: Any = import_module("dlcore.kernels.native.norm")
        gated = self._conv.conv2d_gated_backward_input
        pool: Any = import_module("dlcore.kernels.native.pool")
        self._fused = {
            ("conv2d_backward_input", "residual"): gated,
            ("conv2d_backward_input", "gate"): gated,
            ("batchnorm", "residual"): norm.batchnorm_residual,
            ("batchnorm_backward", "relu_beta"): norm.batchnorm_relu_backward,
            ("avg_pool2d_backward", "activated"): pool.avg_pool2d_activation_backward,
        }
        # Straight to the arena: one call less for every array made.
        vars(self).update(empty=core.empty, zeros=core.zeros, release=core.release, inlet=core.Inlet)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        try:
            import_module("dlcore.kernels.native.core")
        except ModuleNotFoundError:
            return (
                "the native engine was not built when dlcore was installed; install a C compiler (Debian: "
                "apt install gcc python3-dev; macOS: xcode-select --install), then reinstall: "
                "pip install --force-reinstall --no-deps dlcore"
            )
        except (ImportError, ValueError) as error:
            return f"the native engine does not load: {error}"
        return None

    def info(self) -> dict[str, str]:
        return {"instruction set": self._core.isa, "threads": str(self._core.num_threads())}

    def set_num_threads(self, count: int) -> None:
        self._core.set_num_threads(count)

    def bind(self, name: str, arguments: dict[str, Any], constant: frozenset[str]) -> Callable[[], None]:
        if name in self._prepare and {"w", "b"} <= constant:
            return self._prepare[name](**arguments)
        fused = self._fused.get((name, next(reversed(arguments))))
        if fused is not None:
            return partial(fused, *arguments.values())
        return super().bind(name, arguments, constant)

    def join(self, calls: list[Callable[[], None]]) -> Callable[[], None]:
        heads: list[Any] = []
        for call in calls:
            if heads and isinstance(call, self._core.Prepared) and isinstance(heads[-1], self._core.Prepared):
                heads[-1].join(call)
            else:
                heads.append(call)
        return self._core.Sequence(heads)

    def pools(self, arguments: dict[str, Any], pooled: str) -> bool:
        x, w, y = (arguments[key] for key in "xwy")
        fixed = (arguments[key] for key in ("stride", "padding", "dilation", "groups", "activation"))
        return self._conv.pools(x.shape, w.shape, y.shape, *fixed, x.dtype, pooled)

    def images_in_lanes(self, name: str, arguments: dict[str, Any]) -> int:
        sides = {"conv2d": "xy", "conv2d_backward_input": ("dx", "dz"), "conv2d_backward_weight": ("x", "dz")}.get(name)
        if sides is None or "residual" in arguments:
            return 0
        x, y = (arguments[side] for side in sides)
        w = arguments["dw" if name == "conv2d_backward_weight" else "w"]
        n, h, w_, c = y.shape
        scale = 2 if arguments.get("pooled") else 1
        fixed = (arguments[key] for key in ("stride", "padding", "dilation", "groups"))
        return self._conv.in_lanes(x.shape, w.shape, (n, scale * h, scale * w_, c), *fixed, x.dtype)

    def asarray(self, host: Any) -> Array:
        array = super().asarray(host)
        if not array.flags.writeable or not array.flags.aligned:
            copy = self.empty(array.shape, array.dtype)
            copy[...] = array
            return copy
        return array
