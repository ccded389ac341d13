"""dlcore, and Keras itself, through the calls of their users: `train_on_batch`, `predict_on_batch`, a layer's call.

The same code serves both, since dlcore has Keras's names.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from cases import ADAM_EPSILON, EPSILON, LEARNING_RATE, MOMENTUM, Case, Node, Weights

from . import Run, Variants


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    library, label = _library(name, threads)
    if case.task == "layer":
        return {label: lambda: _layer(library, case, weights, x)}
    return {
        label: lambda: (
            _train(library, case, weights, x, y) if case.task == "train" else _infer(library, case, weights, x)
        )
    }


def _library(name: str, threads: int) -> tuple[Any, str]:
    if name == "keras":
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras
        import torch

        torch.set_num_threads(threads)
        return keras, f"{keras.backend.backend()} backend"
    import dlcore

    os.environ["DLCORE_STRICT"] = "1"
    engine = _engine(name)
    dlcore.use_backend(engine)
    dlcore.set_num_threads(threads)
    return dlcore, f"{engine} engine"


def note(name: str) -> str:
    if name == "keras":
        return "PyTorch backend"
    from dlcore.backends import get_backend

    engine = _engine(name)
    isa = get_backend(engine).info().get("instruction set")
    return f"{engine} engine" + (f", {isa}" if isa else "")


def _engine(name: str) -> str:
    return name.removeprefix("dlcore-") if "-" in name else "cython"


def _build(library: Any, case: Case, weights: Weights, softmax: bool) -> Any:
    layers = library.layers
    inputs = layers.Input(case.network.input_shape)
    values = {-1: inputs}
    made = {}
    pads_itself = _takes_padding(layers)
    for place, node in enumerate(case.network.nodes):
        given = [values[i] for i in node.inputs]
        padding: Any = node.pad if pads_itself and node.pad else "same" if _is_same(node) else "valid"
        if padding == "valid" and node.pad:
            given = [layers.ZeroPadding2D(node.pad)(given[0])]  # before a maximum only where that follows a ReLU
        is_output = softmax and place == case.network.last
        made[place] = _layer_of(layers, node, padding, "softmax" if is_output else node.activation)
        values[place] = made[place](given if node.kind == "add" else given[0])
    model = library.Model(inputs, values[case.network.last])
    for place, node in enumerate(case.network.nodes):
        if node.parameters():
            made[place].set_weights([weights[f"{place}.{parameter}"] for parameter in node.parameters()])
    return model


def _is_same(node: Node) -> bool:
    return node.kind == "conv" and node.pad > 0 and node.stride == 1 and 2 * node.pad == node.size - 1


def _takes_padding(layers: Any) -> bool:
    """Whether a layer's padding may be a number; Keras knows but "same", which pads one side more, and "valid"."""
    try:
        layers.Conv2D(1, 3, padding=1)
    except (ValueError, AttributeError):
        return False
    return True


def _layer_of(layers: Any, node: Node, padding: Any, activation: str) -> Any:
    units = node.shape[-1]
    if node.kind == "conv":
        return layers.Conv2D(units, node.size, node.stride, padding, activation=activation, use_bias=node.bias)
    makers = {
        "dense": lambda: layers.Dense(units, activation=activation),
        "maxpool": lambda: layers.MaxPooling2D(node.size, node.stride, padding),
        "avgpool": lambda: layers.AveragePooling2D(node.size, node.stride),
        "batchnorm": lambda: layers.BatchNormalization(epsilon=EPSILON),
        "relu": lambda: layers.Activation("relu"),
        "add": layers.Add,
        "flatten": layers.Flatten,
        "global_average": layers.GlobalAveragePooling2D,
        "simple_rnn": lambda: layers.SimpleRNN(units),
        "lstm": lambda: layers.LSTM(units),
        "gru": lambda: layers.GRU(units),
    }
    return makers[node.kind]()


def _train(library: Any, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Run:
    model = _build(library, case, weights, softmax=case.loss == "cross_entropy")
    rate = LEARNING_RATE[case.optimizer]
    optimizers = library.optimizers
    optimizer = (
        optimizers.Adam(rate, epsilon=ADAM_EPSILON)
        if case.optimizer == "adam"
        else optimizers.SGD(rate, momentum=MOMENTUM)
    )
    loss = "sparse_categorical_crossentropy" if case.loss == "cross_entropy" else "mean_squared_error"
    model.compile(optimizer=optimizer, loss=loss)
    return Run(lambda: model.train_on_batch(x, y))


def _infer(library: Any, case: Case, weights: Weights, x: np.ndarray) -> Run:
    model = _build(library, case, weights, softmax=True)
    return Run(lambda: model.predict_on_batch(x))


def _layer(library: Any, case: Case, weights: Weights, x: np.ndarray) -> Run:
    node = case.network.nodes[0]
    layer = _layer_of(library.layers, node, "valid", node.activation)
    layer.build((None, *node.source))
    if node.parameters():
        layer.set_weights([weights[f"0.{parameter}"] for parameter in node.parameters()])
    if library.__name__ == "keras":
        import torch

        tensor, no_grad, to_array = torch.from_numpy(x), torch.no_grad, lambda out: out.detach().numpy()
    else:
        tensor, no_grad, to_array = library.Tensor(x), library.no_grad, lambda out: out.numpy()
    arguments = {"training": True} if node.kind == "batchnorm" else {}

    def step() -> Any:
        with no_grad():
            return layer(tensor, **arguments)

    return Run(step, to_array)
