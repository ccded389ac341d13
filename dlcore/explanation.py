"""One training step of a small network as a person would write it down: forward pass, loss, gradients, updates.

The numbers are worked out here in NumPy and float64, by the formulas that are shown; only activations, losses and the
update of the optimizer are the library's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import activations, layers, optimizers
from .backends import use_backend
from .compiled import make_loss
from .tensor import Tensor, Variable

_PASSED = (layers.InputLayer, layers.Flatten, layers.Reshape, layers.Dropout, layers.Identity)
_ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax)
_LARGEST = 400  # weights of a layer; beyond that nobody reads the numbers


class Explanation:
    """The step, line by line; `str` of it is plain text, `markdown` has LaTeX formulas (as notebooks show it).

    Attributes:
        sections: (title, lines); a line is (plain formula, LaTeX formula, value).
        values: symbol -> array: "z1", "a1", "loss", "delta1", "dW1", "db1", "new W1", "new b1" and so on.
    """

    def __init__(self) -> None:
        self.sections: list[tuple[str, list[tuple[str, str, np.ndarray]]]] = []
        self.values: dict[str, np.ndarray] = {}

    def _begin(self, title: str) -> None:
        self.sections.append((title, []))

    def _note(self, symbol: str, plain: str, latex: str, value: Any) -> np.ndarray:
        self.values[symbol] = np.asarray(value, np.float64)
        self.sections[-1][1].append((plain, latex, self.values[symbol]))
        return self.values[symbol]

    def __str__(self) -> str:
        text = []
        for title, lines in self.sections:
            text.append(title)
            for plain, _, value in lines:
                rows = np.array2string(value, precision=8, suppress_small=True, threshold=10_000, max_line_width=110)
                head, *rest = rows.splitlines()
                start = f"  {plain} = "
                text += [start + head, *(" " * len(start) + row for row in rest)]
            text.append("")
        return "\n".join(text).rstrip()

    __repr__ = __str__

    @property
    def markdown(self) -> str:
        """The same in Markdown with LaTeX."""
        text = []
        for title, lines in self.sections:
            text.append(f"### {title}\n")
            text += [f"$$ {latex} = {_latex(value)} $$\n" for _, latex, value in lines]
        return "\n".join(text)

    def _repr_markdown_(self) -> str:
        return self.markdown


def explain(model: Any, x: Any, y: Any) -> Explanation:
    """The next training step of a chain of dense layers on the samples x `[N, ...]` with the labels y, written out.

    The model is left as it is. The update is that of a fresh optimizer like the compiled one.

    Returns:
        `Explanation`: print it, or show its `markdown`.

    Raises:
        ValueError: the model is not compiled or not built, has other layers than dense ones and activations, has
            penalties, or a layer with more than 400 weights.
    """
    plan = model._compiled("explain")
    if plan.loss is None:
        raise ValueError(f"{model._said} was compiled without a loss")
    steps = _steps(model)
    with model._at_home():
        weights = {id(v): v.numpy().astype(np.float64) for v in model.weights}
    x = np.asarray(x, np.float64)
    x = x.reshape(len(x), -1) if x.ndim > 1 else x.reshape(1, -1)
    notes = Explanation()
    with use_backend("numpy"):
        inputs, outputs = _forward(notes, steps, weights, x)
        delta = _loss(notes, plan.config["loss"], steps, outputs, np.asarray(y), len(x))
        gradients = _backward(notes, steps, weights, inputs, outputs, delta)
        _update(notes, model.optimizer, steps, weights, gradients)
    return notes


def _steps(model: Any) -> list[tuple[Any, Any, str]]:
    """(dense layer, activation, its name) of each layer, in order."""
    steps: list[tuple[Any, Any, str]] = []
    if not isinstance(getattr(model, "_chain", None), list) or not model.built:
        raise ValueError(f"{model._said} cannot be explained: it must be a built Sequential")
    for layer in model._chain:
        if isinstance(layer, _PASSED):
            continue
        if isinstance(layer, layers.Dense):
            if any(w.regularizer is not None or w.constraint is not None for w in layer.weights):
                raise ValueError(f"{layer._said} cannot be explained: it has a penalty or constraint on its weights")
            if layer.kernel.size > _LARGEST:
                raise ValueError(
                    f"{layer._said} has {layer.kernel.size} weights: more than {_LARGEST} are not explained"
                )
            steps.append((layer, layer.activation, activations_name(layer.activation)))
        elif isinstance(layer, _ACTIVATIONS) and steps and steps[-1][2] == "linear":
            dense, _, _ = steps.pop()
            applied = layer.activation if isinstance(layer, layers.Activation) else layer
            name = activations_name(applied) if isinstance(layer, layers.Activation) else type(layer).__name__
            steps.append((dense, applied, name))
        else:
            raise ValueError(f"{layer._said} cannot be explained: only dense layers and activations after them can")
    if not steps:
        raise ValueError(f"{model._said} has no dense layers to explain")
    return steps


def activations_name(activation: Any) -> str:
    """What formulas call an activation."""
    name = activations.serialize(activation)
    return name if isinstance(name, str) else getattr(activation, "__name__", type(activation).__name__)


def _forward(
    notes: Explanation, steps: list, weights: dict[int, np.ndarray], x: np.ndarray
) -> tuple[list[np.ndarray], list[tuple[Tensor, Tensor]]]:
    """What goes into each layer, and what z and a come out; a is a function of z on the tape."""
    notes._begin("Forward pass")
    notes._note("x", "x", "x", x)
    inputs, outputs = [x], []
    for i, (dense, activation, name) in enumerate(steps, 1):
        before, before_latex = ("x", "x") if i == 1 else (f"a{i - 1}", f"a^{{({i - 1})}}")
        bias, bias_latex = (f" + b{i}", f" + b^{{({i})}}") if dense.bias is not None else ("", "")
        notes._note(f"W{i}", f"W{i}", f"W^{{({i})}}", weights[id(dense.kernel)])
        z = inputs[-1] @ weights[id(dense.kernel)]
        if dense.bias is not None:
            z = z + notes._note(f"b{i}", f"b{i}", f"b^{{({i})}}", weights[id(dense.bias)])
        notes._note(f"z{i}", f"z{i} = {before}·W{i}{bias}", rf"z^{{({i})}} = {before_latex} W^{{({i})}}{bias_latex}", z)
        z_tensor = Tensor(z, requires_grad=True)
        a = activation(z_tensor)
        shown = name.replace("_", r"\_")
        notes._note(f"a{i}", f"a{i} = {name}(z{i})", rf"a^{{({i})}} = \mathrm{{{shown}}}(z^{{({i})}})", a.numpy())
        outputs.append((z_tensor, a))
        inputs.append(a.numpy())
    return inputs, outputs


def _loss(notes: Explanation, identifier: Any, steps: list, outputs: list, y: np.ndarray, count: int) -> np.ndarray:
    """The loss, and its gradient δ with respect to the last z."""
    z, a = outputs[-1]
    last, name = len(steps), steps[-1][2]
    y = y.reshape(1, *y.shape) if y.ndim == 0 or len(y) != count else y
    y = y[:, None] if y.ndim == 1 and a.shape[-1] == 1 else y
    loss = make_loss(identifier, y, a)
    value = loss(y, a)
    title = loss.name.replace("_", " ")
    notes._begin(f"Loss: {title}")
    notes._note("y", "y", "y", y)
    notes._note("loss", f"L(y, a{last})", rf"L(y, a^{{({last})}})", value.numpy())
    value.backward()
    delta = np.asarray(z.grad)
    notes._begin("Backward pass")
    shares = _shortcut(name, a.numpy(), y, delta)
    if shares is not None:
        target, target_latex = ("y", "y") if y.shape == a.shape else ("one-hot(y)", r"\mathrm{onehot}(y)")
        plain, latex = f"a{last} − {target}", rf"a^{{({last})}} - {target_latex}"
        if shares > 1:
            plain, latex = f"({plain}) / {shares}", rf"({latex}) / {shares}"
        plain, latex = f"δ{last} = {plain}", rf"\delta^{{({last})}} = {latex}"
    else:
        slope = _slope(steps[-1][1], z.numpy())
        if slope is not None:
            _note_slope(notes, last, name, slope)
        plain = f"δ{last} = ∂L/∂a{last} ⊙ {name}'(z{last})"
        latex = rf"\delta^{{({last})}} = \frac{{\partial L}}{{\partial a^{{({last})}}}} \odot f'(z^{{({last})}})"
    return notes._note(f"delta{last}", plain, latex, delta)


def _shortcut(name: str, a: np.ndarray, y: np.ndarray, delta: np.ndarray) -> int | None:
    """n where δ is (a − y) / n, as for sigmoid and binary, softmax and categorical cross-entropy; None elsewhere."""
    if name not in ("sigmoid", "softmax"):
        return None
    target = y.astype(np.float64) if y.shape == a.shape else np.eye(a.shape[-1])[y.astype(np.int64).reshape(len(a))]
    shares = a.size if name == "sigmoid" else len(a)
    return shares if np.allclose(delta, (a - target) / shares, rtol=1e-9, atol=1e-12) else None


def _slope(activation: Any, z: np.ndarray) -> np.ndarray | None:
    """f'(z) of an activation that takes each number by itself; None for softmax."""
    if activations_name(activation) in ("softmax", "Softmax", "log_softmax"):
        return None
    at = Tensor(z.copy(), requires_grad=True)
    result = activation(at)
    if not result.requires_grad:  # a step
        return np.zeros_like(z)
    result.backward(np.ones_like(z))
    return np.zeros_like(z) if at.grad is None else np.asarray(at.grad)


def _note_slope(notes: Explanation, i: int, name: str, slope: np.ndarray) -> np.ndarray:
    shown = name.replace("_", r"\_")
    return notes._note(f"f'{i}", f"{name}'(z{i})", rf"\mathrm{{{shown}}}'(z^{{({i})}})", slope)


def _backward(
    notes: Explanation, steps: list, weights: dict[int, np.ndarray], inputs: list, outputs: list, delta: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    gradients = []
    for i in range(len(steps), 0, -1):
        before, before_latex = ("x", "x") if i == 1 else (f"a{i - 1}", f"a^{{({i - 1})}}")
        dw = notes._note(
            f"dW{i}",
            f"∂L/∂W{i} = {before}ᵀ·δ{i}",
            rf"\frac{{\partial L}}{{\partial W^{{({i})}}}} = {before_latex}^\top \delta^{{({i})}}",
            inputs[i - 1].T @ delta,
        )
        db = delta.sum(axis=0)
        if steps[i - 1][0].bias is not None:
            notes._note(
                f"db{i}",
                f"∂L/∂b{i} = Σ δ{i} over the samples",
                rf"\frac{{\partial L}}{{\partial b^{{({i})}}}} = \sum_n \delta^{{({i})}}_n",
                db,
            )
        gradients.append((dw, db))
        if i == 1:
            break
        da = delta @ weights[id(steps[i - 1][0].kernel)].T
        notes._note(
            f"da{i - 1}",
            f"∂L/∂a{i - 1} = δ{i}·W{i}ᵀ",
            rf"\frac{{\partial L}}{{\partial a^{{({i - 1})}}}} = \delta^{{({i})}} {{W^{{({i})}}}}^\top",
            da,
        )
        activation, name = steps[i - 2][1:]
        slope = _slope(activation, outputs[i - 2][0].numpy())
        if slope is None:
            raise ValueError("softmax in a hidden layer cannot be explained: its slope is a matrix per sample")
        _note_slope(notes, i - 1, name, slope)
        delta = notes._note(
            f"delta{i - 1}",
            f"δ{i - 1} = ∂L/∂a{i - 1} ⊙ {name}'(z{i - 1})",
            rf"\delta^{{({i - 1})}} = \frac{{\partial L}}{{\partial a^{{({i - 1})}}}} \odot f'(z^{{({i - 1})}})",
            da * slope,
        )
    return gradients[::-1]


def _update(notes: Explanation, optimizer: Any, steps: list, weights: dict[int, np.ndarray], gradients: list) -> None:
    fresh = optimizers.get(optimizers.serialize(optimizer))
    rate, kind = float(fresh.learning_rate), type(fresh).__name__
    plain_sgd = isinstance(fresh, optimizers.SGD) and not fresh.momentum
    notes._begin(f"Update: {kind}, η = {rate:g}" + ("" if plain_sgd else ", its first step"))
    for i, ((dense, _, _), parts) in enumerate(zip(steps, gradients, strict=True), 1):
        for letter, variable, gradient in zip("Wb", (dense.kernel, dense.bias), parts, strict=True):
            if variable is None:
                continue
            symbol, latex = f"{letter}{i}", rf"{letter}^{{({i})}}"
            if not variable.trainable:
                notes._note(f"new {symbol}", f"{symbol}, frozen", latex, weights[id(variable)])
                continue
            copy = Variable(weights[id(variable)].copy())
            optimizers.get(optimizers.serialize(optimizer)).apply([gradient], [copy])
            rule = f"{symbol} − η·∂L/∂{symbol}" if plain_sgd else f"{kind}({symbol}, ∂L/∂{symbol})"
            rule_latex = (
                rf"{latex} - \eta \frac{{\partial L}}{{\partial {latex}}}"
                if plain_sgd
                else rf"\mathrm{{{kind}}}({latex}, \frac{{\partial L}}{{\partial {latex}}})"
            )
            notes._note(f"new {symbol}", f"{symbol} ← {rule}", rf"{latex} \leftarrow {rule_latex}", copy.numpy())


def _latex(value: np.ndarray) -> str:
    rows = [[f"{number:.8g}" for number in np.atleast_1d(row)] for row in np.atleast_1d(value)]
    if value.ndim == 0:
        return rows[0][0]
    if value.ndim == 1:
        rows = [[row[0] for row in rows]]
    return r"\begin{bmatrix} " + r" \\ ".join(" & ".join(row) for row in rows) + r" \end{bmatrix}"
