"""From a `Model` to an ONNX file.

The file takes and gives what the model does, images as [N, H, W, C]. Within it, images lie as ONNX wants them,
[N, C, H, W]: each value remembers in which order its axes lie, and a Transpose is written only where an operator needs
another one, for most networks once at the entry and once before a Flatten.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ..models import Model
from .layers import Writer


def export(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write a model as an ONNX file (opset 20), as it computes at inference.

    Args:
        model: a built graph of layers (`Sequential`, or made from inputs and outputs).
        filepath: a path that ends in ".onnx".
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: the model is not built or no graph, or a layer has no counterpart in ONNX; the message says which.
        FileExistsError: the file exists and overwrite is False.
    """
    path = Path(filepath)
    if path.suffix != ".onnx":
        raise ValueError(f"filepath must end in '.onnx', got {str(filepath)!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite=True replaces it")
    if getattr(model, "_graph", None) is None:
        raise ValueError(
            f"{getattr(model, '_said', repr(model))} cannot be exported: it must be a built graph of layers, a "
            "Sequential with its Input or a Model made from inputs and outputs"
        )
    with model._at_home():
        proto = Writer().model(model)
    try:
        data = proto.SerializeToString()
    except Exception as error:  # protobuf's implementations have different ones
        raise ValueError(f"model {model.name!r} is too large for one ONNX file, which holds up to 2 GB") from error
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
