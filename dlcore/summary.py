"""The table that `Model.summary` prints and a notebook shows, and what a layer costs."""

from __future__ import annotations

import html
import math
import shutil
from typing import Any

import numpy as np

from .layers.base import Layer
from .symbolic import flatten, is_shape


def summary_text(
    model: Any,
    line_length: int | None,
    expand_nested: bool,
    show_trainable: bool,
    layer_range: Any = None,
    show_costs: bool = False,
) -> str:
    """Layers with output shapes and numbers of parameters, and for a graph with branches what each is connected to."""
    header, rows, totals = _content(model, expand_nested, show_trainable, layer_range, show_costs)
    return "\n".join([f'Model: "{model.name}"', *_table(header, rows, line_length), *totals])


def summary_html(model: Any) -> str:
    """The same as an HTML table, models within the model unfolded."""
    header, rows, totals = _content(model, True, False, None, False)

    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    table = f"<table><thead>{row(header, 'th')}</thead><tbody>{body}</tbody></table>"
    return f"<b>{html.escape(model.name)}</b> ({type(model).__name__}){table}{'<br>'.join(totals)}"


def _content(
    model: Any, expand_nested: bool, show_trainable: bool, layer_range: Any, show_costs: bool
) -> tuple[list[str], list[list[str]], list[str]]:
    """The table's header, its rows, and the lines below it."""
    graph = model._graph
    branched = graph is not None and (
        any(len(node.inputs) != 1 for node in graph.nodes)
        or len({id(x) for node in graph.nodes for x in node.inputs}) < len(graph.nodes)
        or len(graph.inputs) > 1
    )
    header = ["Layer (type)", "Output Shape", "Param #"]
    header += ["Connected to"] if branched else []
    header += ["Trainable"] if show_trainable else []
    header += ["How", "Memory", "FLOPs"] if show_costs else []
    rows: list[list[str]] = []
    spent = [0, 0]

    def add(layer: Layer, nested: int, within: Any) -> None:
        prefix = "   " * nested + "└ " if nested else ""
        row = [f"{prefix}{layer.name} ({type(layer).__name__})", _output_shape(layer), _parameters(layer)]
        if branched:
            row.append("" if nested else _connections(layer, graph))
        if show_trainable:
            row.append(("Y" if layer.trainable else "N") if layer.weights else "-")
        if show_costs:
            calls = _calls(layer, within)
            size, flops = costs(layer, calls)
            row += [_shape_formula(layer, calls), _bytes(size), f"{flops:,}"]
            if not nested:
                spent[:] = spent[0] + size, spent[1] + flops
        rows.append(row)
        if expand_nested and hasattr(layer, "summary"):
            for inner in _layers(layer):
                add(inner, nested + 1, getattr(layer, "_graph", None))

    for layer in _between(_layers(model), layer_range):
        add(layer, 0, graph)
    lines = []
    weights = model.weights
    trainable = {id(v) for v in model.trainable_weights}
    if not weights and not model.built:
        lines.append(" Total params: unknown, the model is not built yet")
    else:
        for title, variables in (
            ("Total", weights),
            ("Trainable", [v for v in weights if id(v) in trainable]),
            ("Non-trainable", [v for v in weights if id(v) not in trainable]),
        ):
            count = sum(int(np.prod(v.shape, dtype=np.int64)) for v in variables)
            size = sum(int(np.prod(v.shape, dtype=np.int64)) * v.dtype.itemsize for v in variables)
            lines.append(f" {title} params: {count:,} ({_bytes(size)})")
    if show_costs:
        lines.append(f" For one sample: outputs {_bytes(spent[0])}, forward pass {spent[1]:,} FLOPs")
    return header, rows, lines


def _layers(model: Any) -> list[Layer]:
    if model._graph is not None and not hasattr(model, "_chain"):
        return model._graph.layers
    return model.layers


def _between(layers: list[Layer], layer_range: Any) -> list[Layer]:
    if layer_range is None:
        return layers
    names = [layer.name for layer in layers]
    if len(layer_range) != 2 or any(name not in names for name in layer_range):
        raise ValueError(f"layer_range must hold the names of two layers of the model, got {layer_range!r}")
    first, last = sorted(names.index(name) for name in layer_range)
    return layers[first : last + 1]


def _output_shape(layer: Layer) -> str:
    if hasattr(layer, "_graph") and layer._graph is not None:
        shapes = [x.shape for x in layer._graph.outputs]
    else:
        shapes = layer._output_shape
        if shapes is None:
            return "?"
        shapes = [tuple(shapes)] if is_shape(shapes) else _shapes(shapes)
    return ", ".join(str(tuple(shape)) for shape in shapes)


def _shapes(nested: Any) -> list:
    if is_shape(nested):
        return [nested]
    parts = nested.values() if isinstance(nested, dict) else nested if isinstance(nested, (list, tuple)) else ()
    return [shape for part in parts for shape in _shapes(part)]


def _parameters(layer: Layer) -> str:
    if not layer.built and not layer.weights:
        return "0 (unbuilt)"
    return f"{layer.count_params():,}"


def _connections(layer: Layer, graph: Any) -> str:
    sources = []
    for node in graph.nodes:
        if node.layer is layer:
            for x in node.inputs:
                maker = x.node.layer.name if x.node is not None else x.name
                several = x.node is not None and len(flatten(x.node.outputs)) > 1
                sources.append(f"{maker}[{x.index}]" if several else maker)
    return ", ".join(sources) or "-"


def _calls(layer: Layer, graph: Any) -> list[tuple[Any, Any]]:
    """(input shape, output shape) of each call of a layer in a graph; of inputs in a list, the first."""
    nodes = [] if graph is None else [node for node in graph.nodes if node.layer is layer and node.inputs]
    return [(node.inputs[0].shape, flatten(node.outputs)[0].shape) for node in nodes]


def _shape_formula(layer: Layer, calls: list[tuple[Any, Any]]) -> str:
    """How the output's height and width, or its length, follow from the input's; "" where they are the same."""
    if not calls:
        return ""
    before, after = calls[0]
    window = getattr(layer, "kernel_size", getattr(layer, "pool_size", None))
    if window is not None and hasattr(layer, "padding") and not type(layer).__name__.endswith("Transpose"):
        parts = []
        for axis in range(len(window)):
            n, f, s = before[1 + axis], window[axis], layer.strides[axis]  # type: ignore[attr-defined]
            f = layer.dilation_rate[axis] * (f - 1) + 1 if hasattr(layer, "dilation_rate") else f
            if n is None:
                continue
            if layer.padding in ("same", "causal"):
                parts.append(f"⌈{n}/{s}⌉ = {after[1 + axis]}")
            else:
                p = 0 if layer.padding == "valid" else sum(layer.padding[2 * axis : 2 * axis + 2])
                parts.append(f"⌊({n} + {p} − {f})/{s}⌋ + 1 = {after[1 + axis]}")
        return ", ".join(dict.fromkeys(parts))
    if type(layer).__name__ == "Flatten" and None not in before[1:]:
        return " · ".join(map(str, before[1:])) + f" = {after[1]}"
    return ""


def costs(layer: Layer, calls: list[tuple[Any, Any]]) -> tuple[int, int]:
    """Bytes of its outputs and floating-point operations of its forward pass, for one sample, all its calls together.

    A multiplication and an addition count as two. Convolutions, dense and recurrent layers are counted exactly, without
    the functions of activations; normalisation (at inference) as two operations per element, pooling as one per element
    of a window, other layers that compute as one per element of the output. Lengths that vary count as 1.
    """
    size = flops = 0
    for before, after in calls:
        elements = _elements(after[1:])
        size += elements * np.dtype(layer.dtype).itemsize
        flops += _flops(layer, before, elements)
    return size, flops


def _elements(shape: Any) -> int:
    return math.prod(1 if n is None else n for n in shape)


_FREE = ("InputLayer", "Flatten", "Reshape", "Permute", "Dropout", "Identity", "RepeatVector", "ZeroPadding")


def _flops(layer: Any, before: Any, elements: int) -> int:
    kind = type(layer).__name__
    if kind.removesuffix("1D").removesuffix("2D") in _FREE:
        return 0
    if hasattr(layer, "_graph"):
        return sum(costs(inner, _calls(inner, layer._graph))[1] for inner in _layers(layer))
    if hasattr(layer, "cell"):
        steps = 1 if before[1] is None else before[1]
        return steps * sum(2 * w.size for w in layer.weights if w.name.endswith("kernel"))
    if kind == "Bidirectional":
        return _flops(layer.forward_layer, before, elements) + _flops(layer.backward_layer, before, elements)
    if kind.startswith("SeparableConv"):
        depthwise = elements // layer.filters * 2 * layer.depthwise_kernel.size
        return depthwise + elements * (2 * layer.pointwise_kernel.shape[-2] + (layer.bias is not None))
    if kind == "Dense":
        return elements * (2 * layer.kernel.shape[0] + (layer.bias is not None))
    if kind in ("Conv1D", "Conv2D"):
        return elements * (2 * math.prod(layer.kernel.shape[:-1]) + (layer.bias is not None))
    if kind.startswith("DepthwiseConv"):
        return elements * (2 * math.prod(layer.kernel.shape[:-2]) + (layer.bias is not None))
    if kind in ("Conv1DTranspose", "Conv2DTranspose"):
        return _elements(before[1:]) * 2 * math.prod(layer.kernel.shape[:-1]) + elements * (layer.bias is not None)
    if kind.endswith("Normalization"):
        return 2 * elements
    if hasattr(layer, "pool_size"):
        return elements * math.prod(layer.pool_size)
    return max(elements, _elements(before[1:])) if kind.startswith("Global") else elements


def _table(header: list[str], rows: list[list[str]], line_length: int | None) -> list[str]:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    frame = 3 * len(widths) + 1
    room = (line_length or max(shutil.get_terminal_size((120, 24)).columns, 60)) - frame
    least = [min(width, 12) for width in widths]
    if room < sum(least):
        room = sum(least)
    while sum(widths) > room:  # the widest column gives way, its cells wrap
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        widths[widest] -= 1
    if line_length and sum(widths) < room:
        widths[0] += room - sum(widths)
    right = {header.index(title) for title in ("Param #", "Memory", "FLOPs") if title in header}

    def line(left: str, middle: str, end: str, dash: str) -> str:
        return left + middle.join(dash * (width + 2) for width in widths) + end

    def cells(row: list[str]) -> list[str]:
        wrapped = [
            [cell[i : i + width] for i in range(0, len(cell), width)] or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        height = max(len(cell) for cell in wrapped)
        return [
            "│"
            + "│".join(
                f" {(cell[i] if i < len(cell) else ''):{'>' if column in right else '<'}{widths[column]}} "
                for column, cell in enumerate(wrapped)
            )
            + "│"
            for i in range(height)
        ]

    lines = [line("┏", "┳", "┓", "━"), *(text.replace("│", "┃") for text in cells(header)), line("┡", "╇", "┩", "━")]
    for number, row in enumerate(rows):
        if number:
            lines.append(line("├", "┼", "┤", "─"))
        lines += cells(row)
    return [*lines, line("└", "┴", "┘", "─")]


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:.2f} {unit}"
        size /= 1024
    raise AssertionError
