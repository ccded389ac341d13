"""Pictures of data, models and training. Each function gives a matplotlib Figure: a notebook shows it, `savefig` keeps
it. They need the extra `plots`: pip install 'dlcore[plots]'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import activations
from .symbolic import flatten


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6, 4), **kwargs: Any) -> tuple[Any, Any]:
    """A Figure and its axes. Raises ModuleNotFoundError, with what to install, where there is no matplotlib."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'dlcore[plots]'") from None
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", **kwargs)
    pyplot.close(figure)  # pyplot would keep it, and a notebook show it twice
    return figure, axes


def history(record: Any) -> Any:
    """Curves of what `fit` gave: one picture per figure, training and validation together.

    Args:
        record: a `History`, or its dict of lists.
    """
    log = getattr(record, "history", record)
    keys = [key for key in log if not key.startswith("val_") or key[4:] not in log]
    if not keys:
        raise ValueError("there is nothing to draw: the history is empty")
    figure, axes = new_figure(1, len(keys), size=(4.5 * len(keys), 3.5), squeeze=False)
    for axis, key in zip(axes[0], keys, strict=True):
        for curve, words in ((key, "training"), (f"val_{key}", "validation")):
            if curve in log:
                axis.plot(range(1, len(log[curve]) + 1), log[curve], marker="o", markersize=3, label=words)
        axis.set(xlabel="epoch", title=key)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    return figure


def confusion_matrix(y_true: Any, y_pred: Any, names: Sequence[str] | None = None, normalize: bool = False) -> Any:
    """How often each class was taken for each.

    Args:
        y_true: labels `[N]`, or one-hot `[N, K]`.
        y_pred: labels `[N]`, or scores `[N, K]` of which the largest counts.
        names: of the classes.
        normalize: shares of each true class instead of counts.
    """
    true, guess = _labels(y_true), _labels(y_pred)
    if true.shape != guess.shape:
        raise ValueError(f"y_true and y_pred must have one label per sample each, got {len(true)} and {len(guess)}")
    count = len(names) if names is not None else int(max(true.max(initial=0), guess.max(initial=0))) + 1
    table = np.zeros((count, count))
    np.add.at(table, (true, guess), 1)
    if normalize:
        table /= np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axis = new_figure(size=(1.5 + 0.5 * count, 1.2 + 0.5 * count))
    axis.imshow(table, cmap="Blues", vmin=0)
    for (i, j), value in np.ndenumerate(table):
        ink = "white" if value > table.max() / 2 else "black"
        axis.text(j, i, f"{value:.2f}" if normalize else f"{value:.0f}", ha="center", va="center", color=ink, size=8)
    shown = names if names is not None else [str(i) for i in range(count)]
    axis.set(xticks=range(count), yticks=range(count), xlabel="predicted", ylabel="true")
    axis.set_xticklabels(shown, rotation=45 if names is not None else 0, ha="right" if names is not None else "center")
    axis.set_yticklabels(shown)
    return figure


def _labels(y: Any) -> np.ndarray:
    y = np.asarray(y)
    y = y.argmax(axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(len(y))
    return (
        (y > 0.5).astype(np.int64) if y.dtype.kind == "f" and not np.array_equal(y, y.round()) else y.astype(np.int64)
    )


def filters(layer: Any, most: int = 64) -> Any:
    """The kernels of a convolution: in colour where they have three channels, else the mean over channels.

    Args:
        layer: a built convolution layer.
        most: how many to draw.
    """
    kernel = getattr(layer, "kernel", None)
    if kernel is None or kernel.ndim != 4:
        raise ValueError(f"layer must be a built convolution, got {layer!r}")
    w = kernel.numpy().transpose(3, 0, 1, 2)[:most]
    w = w if w.shape[-1] == 3 else w.mean(axis=-1)
    low, high = w.min(), w.max()
    return _grid((w - low) / max(high - low, 1e-12), f"{layer.name}: {len(w)} of {kernel.shape[-1]} filters")


def feature_maps(model: Any, layer: Any, image: Any, most: int = 64) -> Any:
    """What one layer makes of one image: a picture per channel.

    Args:
        model: a built graph of layers with one input.
        layer: one of its layers, or its name.
        image: `[H, W, C]`.
        most: how many to draw.
    """
    from .models import Model

    layer = model.get_layer(layer) if isinstance(layer, str) else layer
    maps = Model(model.inputs, layer.output).predict(np.asarray(image)[None], verbose=0)[0]
    if maps.ndim != 3:
        raise ValueError(f"layer {layer.name!r} gives no images, but {maps.shape} for each sample")
    return _grid(maps.transpose(2, 0, 1)[:most], f"{layer.name}: {min(most, maps.shape[2])} of {maps.shape[2]} maps")


def _grid(pictures: np.ndarray, title: str) -> Any:
    columns = int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    figure, axes = new_figure(rows, columns, size=(0.9 * columns + 0.5, 0.9 * rows + 0.6), squeeze=False)
    for axis, picture in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, cmap="gray")
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(title)
    return figure


def activation(name: Any, low: float = -4.0, high: float = 4.0) -> Any:
    """An activation's curve and its derivative.

    Args:
        name: its name, or the function; one that takes each number by itself.
        low, high: from where to where.
    """
    from .tensor import Tensor

    function = activations.get(name)
    x = Tensor(np.linspace(low, high, 801), requires_grad=True)
    y = function(x)
    slope = np.zeros(x.shape)
    if y.requires_grad:
        y.backward(np.ones(x.shape))
        slope = Tensor(x.grad).numpy()
    words = name if isinstance(name, str) else getattr(name, "__name__", type(name).__name__)
    figure, axis = new_figure()
    axis.plot(x.numpy(), y.numpy(), label=words)
    axis.plot(x.numpy(), slope, "--", label="derivative")
    axis.axhline(0, color="gray", linewidth=0.6)
    axis.axvline(0, color="gray", linewidth=0.6)
    axis.set(xlabel="x", title=words)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def decision_boundary(model: Any, x: Any, y: Any, steps: int = 200, margin: float = 0.3) -> Any:
    """What a classifier of points in the plane decides where, and the points.

    Args:
        model: takes `[N, 2]`; gives one score per class, or a single one that decides at ½.
        x: points `[N, 2]`. y: their labels `[N]`, `[N, 1]` or one-hot.
        steps: points along each side of the picture.
        margin: around the points, as a share of their spread.
    """
    x, labels = np.asarray(x, np.float32), _labels(y)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x must hold points of the plane [N, 2], got {x.shape}")
    low, high = x.min(axis=0), x.max(axis=0)
    room = margin * np.maximum(high - low, 1e-6)
    across, up = (np.linspace(a - r, b + r, steps) for a, b, r in zip(low, high, room, strict=True))
    points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(np.float32)
    scores = np.asarray(model.predict(points, batch_size=4096, verbose=0))
    figure, axis = new_figure(size=(5, 4.5))
    if scores.shape[-1] == 1:
        areas = axis.contourf(across, up, scores.reshape(steps, steps), levels=np.linspace(0, 1, 11), cmap="RdBu_r",
                              alpha=0.6, extend="both")  # fmt: skip
        figure.colorbar(areas)
        axis.contour(across, up, scores.reshape(steps, steps), levels=[0.5], colors="black")
        axis.scatter(*x.T, c=labels, cmap="RdBu_r", edgecolors="black")
    else:
        kinds = scores.shape[-1]
        axis.contourf(across, up, scores.argmax(axis=-1).reshape(steps, steps), levels=np.arange(kinds + 1) - 0.5,
                      cmap="tab10", vmin=-0.5, vmax=9.5, alpha=0.4)  # fmt: skip
        axis.scatter(*x.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, edgecolors="black")
    return figure


def plot_model(model: Any, to_file: Any = "model.png", **appearance: Any) -> Any:
    """Keras's way to `plots.model`: draws a graph of layers and writes the picture to a file.

    Args:
        model: a Sequential or a functional model, built.
        to_file: where to; None writes nothing.
        appearance: what else Keras takes, `show_shapes` and so on, is taken and changes nothing: names, classes and
            shapes are always shown, from the inputs down.
    """
    figure = _drawn(model)
    if to_file is not None:
        figure.savefig(to_file)
    return figure


def model(network: Any) -> Any:
    """A graph of layers drawn from its inputs down: each layer's name, class and output shape.

    Args:
        network: a Sequential or a functional model, built.
    """
    return _drawn(network)


def _drawn(network: Any) -> Any:
    graph = network._graph
    if graph is None:
        raise ValueError(f"{network._said} is no graph of layers, or not built yet: there is nothing to draw")
    depths: dict[int, int] = {}  # symbolic tensor -> how deep it was made
    boxes: list[tuple[Any, Any, int]] = [
        (layer, x, 0) for layer, x in zip(graph.input_layers, graph.inputs, strict=True)
    ]
    for x in graph.inputs:
        depths[id(x)] = 0
    for node in graph.nodes:
        depth = 1 + max((depths[id(x)] for x in node.inputs), default=0)
        for x in flatten(node.outputs):
            depths[id(x)] = depth
        boxes.append((node.layer, flatten(node.outputs)[0], depth))
    beside = [sum(depth == level for *_, depth in boxes) for level in range(max(depths.values()) + 1)]
    places: dict[int, tuple[float, float]] = {}
    figure, axis = new_figure(size=(3.4 * max(beside), 0.75 * len(beside) + 0.3))
    taken = [0] * len(beside)
    for layer, x, depth in boxes:
        place = taken[depth] - (beside[depth] - 1) / 2, -float(depth)
        taken[depth] += 1
        places[id(x)] = place
        axis.text(*place, f"{layer.name} · {type(layer).__name__}\n{x.shape}", ha="center", va="center", size=8,
                  bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "steelblue"})  # fmt: skip
    for node in graph.nodes:
        end = places[id(flatten(node.outputs)[0])]
        for x in node.inputs:
            if id(x) in places:
                axis.annotate("", (end[0], end[1] + 0.27), (places[id(x)][0], places[id(x)][1] - 0.27),
                              arrowprops={"arrowstyle": "->", "color": "gray"})  # fmt: skip
    axis.set(xlim=(-max(beside) / 2, max(beside) / 2), ylim=(-len(beside) + 0.5, 0.5), title=network.name)
    axis.axis("off")
    return figure
