"""Weights from a PyTorch state dict in a .safetensors file, with torchvision's names and layouts.

What differs: a convolution's kernel is OIHW there and HWIO here; a dense layer's is [out, in] and [in, out], and where
it follows a Flatten, its inputs come there channel by channel and here pixel by pixel; batch normalisation says weight,
bias, running_mean and running_var for gamma, beta, moving_mean and moving_variance.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import BatchNormalization, Conv2D, Dense, DepthwiseConv2D, Flatten, Layer
from ..tensor import Variable

if TYPE_CHECKING:
    from ..models import Model

_HEADS = ("classifier", "fc", "head")


def load_torch_weights(
    model: Model, filepath: Any, names: dict[str, str] | None = None, skip_mismatch: bool = False
) -> dict[str, list[str]]:
    """Read a state dict into a model of Conv2D, DepthwiseConv2D, Dense and BatchNormalization layers.

    A module goes to the layer that has its name with "_" for "." (as the ResNets here are named). Where no layer has,
    the modules with weights go to the layers with weights one by one, in the order of their numbers, classifier last
    (as VGG and AlexNet need it).

    Args:
        model: a built graph of layers.
        filepath: a .safetensors file, as `safetensors.torch.save_file(module.state_dict(), …)` writes it.
        names: layer's name -> module's name, for those that neither rule finds.
        skip_mismatch: leave weights alone whose shape differs (a replaced head) or that the file lacks, with a warning.

    Returns:
        Names of layers' weights: "loaded", "skipped" (in the model only, or of another shape); "unused": tensors of the
        file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or a weight does not fit; the model is unchanged then.
    """
    path = Path(filepath)
    modules = _modules(path)
    layers = [layer for layer in model._flatten_layers() if layer._own_variables]
    if not layers:
        raise ValueError(f"{model._said} has no weights yet: build it or call it first")
    chosen = _matched(layers, modules, names or {})
    report: dict[str, list[str]] = {"loaded": [], "skipped": [], "unused": []}
    fitting: list[tuple[Variable, np.ndarray]] = []
    used: set[str] = set()
    for layer in layers:
        module = chosen.get(layer.name)
        for variable, key, convert in _weights(layer, model):
            name = f"{layer.name}/{variable.name.rpartition('/')[2]}"
            value = None if module is None else modules[module].get(key)
            if value is not None:
                used.add(f"{module}.{key}" if module else key)
            try:
                value = None if value is None else np.ascontiguousarray(convert(value))
            except ValueError:  # another number of axes or pixels
                value = np.empty(value.shape)
            if value is not None and value.shape == tuple(variable.shape):
                report["loaded"].append(name)
                fitting.append((variable, value))
            elif skip_mismatch:
                report["skipped"].append(name)
            else:
                found = "is missing" if value is None else f"has shape {value.shape}"
                raise ValueError(f"{path}: {key} of {module!r} {found}, {name} needs {tuple(variable.shape)}")
    stored = [f"{module}.{key}" if module else key for module, part in modules.items() for key in part]
    report["unused"] = sorted(name for name in stored if name not in used and not name.endswith("num_batches_tracked"))
    if not fitting:
        raise ValueError(f"{path} holds nothing that fits {model._said}; its modules are {list(modules)[:5]} …")
    with model._at_home():
        for variable, value in fitting:
            variable.assign(value)
    if report["skipped"]:
        warnings.warn(f"weights left as they were: {', '.join(report['skipped'])}", stacklevel=2)
    return report


def _modules(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """module -> its tensors, modules in the order of their numbers, the classifier last."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is no sound safetensors file: {error}") from None

    def place(module: str) -> tuple:
        parts = re.split(r"(\d+)", module)
        return module.split(".")[0] in _HEADS, [int(part) if part.isdigit() else part for part in parts]

    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        module, _, key = name.rpartition(".")
        found.setdefault(module, {})[key] = value
    return {module: found[module] for module in sorted(found, key=place)}


def _matched(layers: list[Layer], modules: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    """layer's name -> module's name."""
    unknown = sorted(set(names) - {layer.name for layer in layers}) + sorted(set(names.values()) - set(modules))
    if unknown:
        raise ValueError(f"names: there is no {unknown[0]!r} in the model or in the file")
    plain = {module.replace(".", "_"): module for module in modules}
    by_name = {layer.name: plain[layer.name] for layer in layers if layer.name in plain}
    if not by_name and not names:
        return {layer.name: module for layer, module in zip(layers, modules, strict=False)}
    return by_name | names


def _weights(layer: Layer, model: Any) -> list[tuple[Variable, str, Any]]:
    """(variable, key in the module, how to convert) for each weight of a layer."""

    def same(value: np.ndarray) -> np.ndarray:
        return value

    pairs: list[tuple[Variable | None, str, Any]]
    if isinstance(layer, Conv2D):
        pairs = [(layer.kernel, "weight", lambda w: w.transpose(2, 3, 1, 0)), (layer.bias, "bias", same)]
    elif isinstance(layer, DepthwiseConv2D):
        pairs = [
            (layer.kernel, "weight", lambda w: w.transpose(2, 3, 1, 0).reshape(layer.kernel.shape)),
            (layer.bias, "bias", same),
        ]
    elif isinstance(layer, Dense):
        pixels = _flattened(layer, model)
        pairs = [(layer.kernel, "weight", lambda w: _dense(w, pixels)), (layer.bias, "bias", same)]
    elif isinstance(layer, BatchNormalization):
        pairs = [
            (layer.gamma, "weight", same),
            (layer.beta, "bias", same),
            (layer.moving_mean, "running_mean", same),
            (layer.moving_variance, "running_var", same),
        ]
    else:
        raise ValueError(f"{layer._said} cannot be read from a PyTorch file: its weights have no counterpart there")
    return [(variable, key, convert) for variable, key, convert in pairs if variable is not None]


def _dense(w: np.ndarray, pixels: tuple[int, ...] | None) -> np.ndarray:
    if pixels is not None:
        height, width, channels = pixels
        w = w.reshape(len(w), channels, height, width).transpose(0, 2, 3, 1).reshape(len(w), -1)
    return w.T


def _flattened(layer: Layer, model: Any) -> tuple[int, ...] | None:
    """(height, width, channels) of the images that a Flatten before this layer, with no weights between, flattens."""
    for part in model._flatten_layers():
        graph = getattr(part, "_graph", None)
        node = next((node for node in graph.nodes if node.layer is layer), None) if graph is not None else None
        while node is not None and len(node.inputs) == 1:
            before = node.inputs[0].node
            if before is None or before.layer._own_variables:
                return None
            if isinstance(before.layer, Flatten):
                shape = before.inputs[0].shape[1:]
                return shape if len(shape) == 3 else None
            node = before
    return None
