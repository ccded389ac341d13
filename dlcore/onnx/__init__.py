"""ONNX files: `export` writes models, `load` makes models of them.

Both need the extra `onnx`: pip install 'dlcore[onnx]'. A file and the model that it is of take the same arrays and give
the same arrays: a model exported from here takes images as [N, H, W, C], and a file from PyTorch gives a model that
takes them as [N, C, H, W]. Inside, each side has its own layout.
"""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ModuleNotFoundError("dlcore.onnx needs onnx: pip install 'dlcore[onnx]'") from None

from .exporting import export
from .importing import load, supported_operators

__all__ = ["export", "load", "supported_operators"]
