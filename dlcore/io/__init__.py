"""Files: models and weights as safetensors, configs as JSON, and weights from PyTorch's and Keras's files."""

from __future__ import annotations

from typing import Any

__all__ = ["files_for", "load_keras_weights", "load_torch_weights"]


def files_for(filepath: Any) -> Any:
    """The module that reads and writes files of this name: Keras's for ".keras" and ".h5", else safetensors."""
    if str(filepath).endswith((".keras", ".h5")):
        from . import keras_files

        return keras_files
    from . import safetensors

    return safetensors


def __getattr__(name: str) -> Any:
    if name == "load_torch_weights":
        from .torchvision import load_torch_weights

        return load_torch_weights
    if name == "load_keras_weights":
        from .keras_files import load_keras_weights

        return load_keras_weights
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
