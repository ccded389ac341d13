"""Weights of recurrent layers, from Keras's layout to the others'."""

from __future__ import annotations

import numpy as np

from cases import Weights

TORCH_ORDER = {"simple_rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # i f c o; r z n
ONNX_ORDER = {"simple_rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # i o f c; z r h


def _reordered(columns: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    gates = np.split(columns, len(order), axis=-1)
    return np.concatenate([gates[i] for i in order], axis=-1)


def _biases(kind: str, own: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Of the input's product and of the recurrent one."""
    return tuple(own["bias"]) if kind == "gru" else (own["bias"], np.zeros_like(own["bias"]))


def torch_gates(kind: str, own: Weights) -> Weights:
    order = TORCH_ORDER[kind]
    b_input, b_recurrent = _biases(kind, own)
    return {
        "weight_ih_l0": _reordered(own["kernel"], order).T,
        "weight_hh_l0": _reordered(own["recurrent_kernel"], order).T,
        "bias_ih_l0": _reordered(b_input, order),
        "bias_hh_l0": _reordered(b_recurrent, order),
    }


def onnx_gates(kind: str, own: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W `[1, G·H, I]`, R `[1, G·H, H]`, B `[1, 2·G·H]`."""
    order = ONNX_ORDER[kind]
    bias = np.concatenate([_reordered(b, order) for b in _biases(kind, own)])
    return _reordered(own["kernel"], order).T[None], _reordered(own["recurrent_kernel"], order).T[None], bias[None]
