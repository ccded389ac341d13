_CELLS = {  # ONNX's operator, and the places that its gates have here
    layers.SimpleRNN: ("RNN", [0]),
    layers.LSTM: ("LSTM", [0, 3, 1, 2]),  # ONNX i o f c; here i f c o
    layers.GRU: ("GRU", [0, 1, 2]),
}


_CELL_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}


def _recurrent(w: Writer, layer: Any, x: Value, shape: Any, in_order: bool = False) -> list[Value]:
    """Its output and, with return_state, its states. in_order: outputs by time even of a layer that goes backwards."""
    kind, gates = _CELLS[type(layer)]
    cell, units = layer.cell, layer.units
    if layer.stateful:
        raise ValueError(f"{layer._said} cannot be exported: it is stateful")
    functions = [] if kind == "RNN" else [cell.recurrent_activation]
    functions += [cell.activation] * (2 if kind == "LSTM" else 1)
    names = [activations.serialize(function) for function in functions]
    if any(not isinstance(name, str) or name not in _CELL_ACTIVATIONS for name in names):
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for its activations {names}")

    def turned(m: np.ndarray) -> np.ndarray:
        parts = np.split(m, len(gates), axis=-1)
        return np.concatenate([parts[place] for place in gates], axis=-1)

    kernel, recurrent = (turned(m.numpy()).T[None] for m in (cell.kernel, cell.recurrent_kernel))
    width = len(gates) * units
    bias = np.zeros((2, width), x.dtype)
    if cell.bias is not None:
        given = cell.bias.numpy()
        bias = turned(given) if given.ndim == 2 else np.stack([turned(given), np.zeros(width, x.dtype)])
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "direction": "reverse" if layer.go_backwards else "forward",
        "activations": [_CELL_ACTIVATIONS[str(name)] for name in names],
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    outputs = w.op(
        kind, w.to(x, (1, 0, 2)), w.weight(cell, "kernel", kernel), w.weight(cell, "recurrent_kernel", recurrent),
        w.weight(cell, "bias", bias.reshape(1, -1)), count=3 if kind == "LSTM" else 2, **attributes,
    )  # fmt: skip
    batch = x.shape[0]
    states = [Value(w.op("Squeeze", y, w.ints(0)), (batch, units), x.dtype) for y in outputs[1:]]
    result = states[0]
    if layer.return_sequences:
        steps = w.op("Squeeze", outputs[0], w.ints(1))  # [T, N, H]
        if layer.go_backwards and not in_order:
            steps = w.op("Slice", steps, w.ints(-1), w.ints(-(2**31)), w.ints(0), w.ints(-1))
        result = Value(steps, (batch, x.shape[1], units), x.dtype, (1, 0, 2))
    return [result, *states] if layer.return_state else [result]


def _bidirectional(w: Writer, layer: Any, x: Value, shape: Any) -> list[Value]:
    runs = [_recurrent(w, part, x, shape, in_order=True) for part in (layer.forward_layer, layer.backward_layer)]
    if layer.forward_layer.go_backwards and layer.return_sequences:
        raise ValueError(f"{layer._said} cannot be exported: its first layer goes backwards")
    first, second = runs[0][0], runs[1][0]
    if layer.merge_mode is None:
        merged = [first, second]
    elif layer.merge_mode == "concat":
        merged = [_joined(w, [first, second], -1, shape)]
    else:
        kind = {"sum": "Add", "ave": "Mean", "mul": "Mul"}[layer.merge_mode]
        merged = [_merged(w, kind, [first, second], shape)]
    return [*merged, *runs[0][1:], *runs[1][1:]]


def _time_distributed(w: Writer, layer: Any, x: Value, shape: Any) -> list[Value]:
    inner = layer.layer
    if not isinstance(inner, (layers.Dense, layers.Activation, layers.Dropout)):
        raise ValueError(f"{layer._said} cannot be exported: its layer must be Dense, Activation or Dropout")
    return w.layer(inner, [x], [SymbolicTensor(shape, x.dtype)])
