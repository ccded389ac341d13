"""Files: models and weights as safetensors, configs as JSON, and weights from PyTorch's state dicts."""

from __future__ import annotations

from typing import Any

__all__ = ["load_torch_weights"]


def __getattr__(name: str) -> Any:
    if name != "load_torch_weights":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .torchvision import load_torch_weights

    return load_torch_weights
