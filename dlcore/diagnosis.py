"""What ails a network: units that are dead or saturated, gradients that vanish or explode."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from . import activations
from .backends import current
from .layers.base import Layer, _scope
from .symbolic import flatten
from .tensor import Tensor, as_tensor

_DEAD = {"relu", "relu6"}
_SLOPES = {  # slope from the output, as a share of the steepest
    "sigmoid": lambda a: 4 * a * (1 - a),
    "tanh": lambda a: 1 - a * a,
}
_FLAT = 0.05  # a unit counts as saturated where its slope is below this share of the steepest


class Diagnosis:
    """What `diagnose` found; `str` of it is a table.

    Attributes:
        rows: one dict per layer, with the keys of `COLUMNS`; None where a figure makes no sense.
        loss: the value whose gradients these are.
    """

    COLUMNS = ("layer", "activation", "dead", "saturated", "output_std", "weight_norm", "gradient_norm")

    def __init__(self, rows: list[dict[str, Any]], loss: float) -> None:
        self.rows = rows
        self.loss = loss

    def _cells(self) -> list[tuple[str, ...]]:
        def shown(key: str, value: Any) -> str:
            if value is None:
                return "-"
            if key in ("dead", "saturated"):
                return f"{100 * value:.1f} %"
            return value if isinstance(value, str) else f"{value:.3g}"

        return [tuple(shown(key, row[key]) for key in self.COLUMNS) for row in self.rows]

    def __str__(self) -> str:
        heads = tuple(column.replace("_", " ") for column in self.COLUMNS)
        lines = [heads, *self._cells()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
        return "\n".join(
            "  ".join(f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(line)).rstrip()
            for line in lines
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in self.COLUMNS)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in self._cells()
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"

    def plot(self) -> Any:
        """A matplotlib Figure: gradient norms per layer, and the shares of dead and saturated units."""
        from .plots import new_figure

        figure, (left, right) = new_figure(1, 2, size=(9, 0.6 + 0.3 * max(len(self.rows), 5)), sharey=True)
        names = [row["layer"] for row in self.rows]
        places = np.arange(len(names))
        left.barh(places, [row["gradient_norm"] or np.nan for row in self.rows])
        left.set(yticks=places, yticklabels=names, title="norm of the gradient", xscale="log")
        left.invert_yaxis()
        for shift, key in ((-0.2, "dead"), (0.2, "saturated")):
            right.barh(places + shift, [100 * (row[key] or 0) for row in self.rows], height=0.4, label=key)
        right.set(xlim=(0, 100), title="units (%)")
        right.legend()
        return figure


def diagnose(model: Any, x: Any, y: Any = None) -> Diagnosis:
    """Look into a model while it works on a batch, as in training; its weights and gradients stay as they are.

    A ReLU unit is dead where it gives 0 for every sample (and pixel, or time step) of x; a sigmoid or tanh output is
    saturated where its slope is below 5 % of the steepest. The gradient is that of the compiled loss if y is given,
    else of half the mean square of the outputs.

    Args:
        model: a Sequential or a graph, built.
        x: a batch of inputs, or a list of them for several inputs.
        y: its labels, for a compiled model.

    Returns:
        `Diagnosis`: print it, or call its `plot()`.

    Raises:
        ValueError: the model is no graph of layers, or y is given and it is not compiled.
    """
    if model._graph is None:
        raise ValueError(f"{model._said} is no graph of layers, or not built yet: there are no layers to look at")
    outputs: dict[int, Tensor] = {}

    def watched(layer: Layer, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        if isinstance(result, Tensor):
            outputs[id(layer)] = result
        return result

    variables = model.trainable_weights
    frozen = [v.numpy() for v in model.non_trainable_weights]  # running statistics move in training
    kept = [v.grad for v in variables]
    with model._at_home():
        outer, _scope.training = _scope.training, True
        try:
            y_pred = model._graph.run(model._match_inputs([as_tensor(np.asarray(a)) for a in flatten(x)]), watched)
        finally:
            _scope.training = outer
        loss = _loss(model, x, y, y_pred)
        for variable in variables:
            variable.grad = None
        loss.backward()
        norms = {id(v): 0.0 if v.grad is None else _norm(current().to_numpy(v.grad)) for v in variables}
        for variable, gradient in zip(variables, kept, strict=True):
            variable.grad = gradient
        for variable, value in zip(model.non_trainable_weights, frozen, strict=True):
            variable.assign(value)
        layers = [layer for layer in model.layers if id(layer) in outputs]
        rows = [_row(layer, outputs[id(layer)].numpy(), norms) for layer in layers]
    return Diagnosis(rows, float(loss.numpy()))


def _loss(model: Any, x: Any, y: Any, y_pred: Any) -> Tensor:
    if y is not None:
        model._compiled("diagnose")
        return model.compute_loss(x, np.asarray(y), y_pred)
    total = None
    for part in flatten(y_pred):
        value = (part * part).mean() * 0.5
        total = value if total is None else total + value
    return total


def _row(layer: Layer, output: np.ndarray, norms: dict[int, float]) -> dict[str, Any]:
    name = _activation(layer)
    dead = None
    if name in _DEAD and output.ndim > 1:
        dead = float((output.reshape(-1, output.shape[-1]) == 0).all(axis=0).mean())
    saturated = float((_SLOPES[name](output.astype(np.float64)) < _FLAT).mean()) if name in _SLOPES else None
    trained = [v for v in layer.trainable_weights if id(v) in norms]
    return {
        "layer": layer.name,
        "activation": name or "-",
        "dead": dead,
        "saturated": saturated,
        "output_std": float(output.std(dtype=np.float64)),
        "weight_norm": float(np.sqrt(sum(_norm(v.numpy()) ** 2 for v in trained))) if trained else None,
        "gradient_norm": float(np.sqrt(sum(norms[id(v)] ** 2 for v in trained))) if trained else None,
    }


def _activation(layer: Layer) -> str | None:
    if type(layer).__name__ == "ReLU":
        return "relu"
    activation = getattr(layer, "activation", None)
    if activation is None or hasattr(layer, "recurrent_activation"):  # an LSTM's output is no activation's
        return None
    name = activations.serialize(activation)
    return name if isinstance(name, str) and name != "linear" else None


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64).ravel()))
