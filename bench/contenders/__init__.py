"""The libraries that are compared, one file each.

A contender offers the ways in which it can do a case, its variants; each builds what it needs from the weights and the
batch and returns a `Run`. The fastest variant is what counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CONTENDERS = {  # name -> (module, what it imports, whether it runs unless asked for)
    "dlcore": ("keras_like", "dlcore", True),
    "dlcore-numba": ("keras_like", "dlcore", False),
    "dlcore-numpy": ("keras_like", "dlcore", False),
    "torch": ("torch", "torch", True),
    "jax": ("jax", "jax", True),
    "onnxruntime": ("onnxruntime", "onnxruntime", True),
    "openvino": ("openvino", "openvino", True),
    "ncnn": ("ncnn", "ncnn", True),
    "torch-compile": ("torch", "torch", False),
    "keras": ("keras_like", "keras", False),
}


@dataclass(frozen=True)
class Run:
    """A piece of work that can be repeated: `step` does it, `value` turns what it returned into an array to check
    (outputs; of a training step the loss), which is not timed."""

    step: Callable[[], Any]
    value: Callable[[Any], np.ndarray] = np.asarray


Variants = dict[str, Callable[[], Run]]
