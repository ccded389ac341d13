"""How each layer, and each function within a graph of layers, is written as ONNX operators, in a file per subject."""

from __future__ import annotations

from . import activation, convolution, dense, functions, merging, normalization, pooling, recurrence, reshaping, writer
from .writer import Writer

for _group in (activation, convolution, dense, merging, normalization, pooling, recurrence, reshaping):
    writer.LAYERS.update(_group.LAYERS)
writer.FUNCTIONS.update(functions.FUNCTIONS)
writer.ACTIVATIONS.update(activation.ACTIVATIONS)

__all__ = ["Writer"]
