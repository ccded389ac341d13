"""dlcore: deep learning with Keras's names, on interchangeable engines (NumPy, Numba, Cython + C, CuPy + CUDA).

Every name is imported at its first use, so that `import dlcore` costs little more than `import numpy`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        activations,
        applications,
        backends,
        callbacks,
        config,
        constraints,
        datasets,
        functional,
        initializers,
        io,
        layers,
        losses,
        metrics,
        models,
        onnx,
        ops,
        optimizers,
        plots,
        preprocessing,
        random,
        regularizers,
        saving,
        sklearn,
        training,
        utils,
    )
    from .backends import BackendUnavailableError, available_backends, use_backend
    from .constraints import Constraint
    from .diagnosis import diagnose
    from .initializers import Initializer
    from .layers import Input, InputSpec, Layer
    from .losses import Loss
    from .metrics import Metric
    from .models import Model, Sequential, load_model
    from .optimizers import Optimizer
    from .random import set_seed as set_random_seed
    from .regularizers import Regularizer
    from .symbolic import SymbolicTensor as KerasTensor
    from .tensor import Tensor, Variable, from_dlpack, no_grad

__version__ = "0.1.0"

_MODULES = (
    "activations",
    "applications",
    "backends",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "functional",
    "initializers",
    "io",
    "layers",
    "losses",
    "metrics",
    "models",
    "onnx",
    "ops",
    "optimizers",
    "plots",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "sklearn",
    "training",
    "utils",
)
_NAMES = {  # public name -> (module, its name there)
    "Tensor": ("tensor", "Tensor"),
    "Variable": ("tensor", "Variable"),
    "no_grad": ("tensor", "no_grad"),
    "from_dlpack": ("tensor", "from_dlpack"),
    "Sequential": ("models", "Sequential"),
    "Model": ("models", "Model"),
    "load_model": ("models", "load_model"),
    "Input": ("layers", "Input"),
    "InputSpec": ("layers", "InputSpec"),
    "Layer": ("layers", "Layer"),
    "Loss": ("losses", "Loss"),
    "Metric": ("metrics", "Metric"),
    "Optimizer": ("optimizers", "Optimizer"),
    "Initializer": ("initializers", "Initializer"),
    "Regularizer": ("regularizers", "Regularizer"),
    "Constraint": ("constraints", "Constraint"),
    "KerasTensor": ("symbolic", "SymbolicTensor"),
    "use_backend": ("backends", "use_backend"),
    "available_backends": ("backends", "available_backends"),
    "BackendUnavailableError": ("backends", "BackendUnavailableError"),
    "set_random_seed": ("random", "set_seed"),
    "diagnose": ("diagnosis", "diagnose"),
}

__all__ = ["__version__", "backend", "set_num_threads", "warmup", *_NAMES, *_MODULES]


def backend() -> str:
    """Name of the engine that is active here and now."""
    from .backends import current

    return current().name


def set_num_threads(count: int) -> None:
    """Let the active engine, and every engine started later, use `count` threads, or as many of these as it can: the
    native engine takes 64 at most.

    Raises:
        ValueError: count is not a positive whole number.
    """
    import os

    from .backends import current

    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a positive whole number, got {count!r}")
    current().set_num_threads(count)
    os.environ["DLCORE_NUM_THREADS"] = str(count)


def warmup(backend: str | None = None, dtypes: tuple[str, ...] = ("float32",)) -> float:
    """Compile every kernel of an engine ahead of time, or load it from the cache on disk, so that no first step has to.

    Only engines that compile at run time have anything to do: a minute or so where their cache is empty, half a second
    otherwise.

    Args:
        backend: an engine's name; the active one if None.
        dtypes: "float32" and "float64", or one of them.

    Returns:
        The seconds that it took.

    Raises:
        ValueError: the engine is unknown, or a type is another one.
        BackendUnavailableError: the engine cannot run here.
    """
    from time import perf_counter

    import numpy as np

    from .backends import current, get_backend

    for dtype in dtypes:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtypes must name float32 or float64, got {dtype!r}")
    engine = current() if backend is None else get_backend(backend)
    start = perf_counter()
    engine.warmup(tuple(np.dtype(dtype) for dtype in dtypes))
    return perf_counter() - start


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module, attribute = _NAMES[name]
        value = getattr(import_module(f".{module}", __name__), attribute)
    elif name in _MODULES:
        value = import_module(f".{name}", __name__)
    else:
        from difflib import get_close_matches

        close = [] if name.startswith("_") else get_close_matches(name, __all__, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
