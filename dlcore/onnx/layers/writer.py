class Value:
    """A value of the ONNX graph: axis i of the model's tensor is axis order[i] of it."""

    __slots__ = ("dtype", "name", "order", "shape")

    def __init__(self, name: str, shape: Any, dtype: Any, order: Any = None) -> None:
        self.name = name
        self.shape = tuple(shape)  # the model's
        self.dtype = np.dtype(dtype)
        self.order = tuple(range(len(self.shape))) if order is None else tuple(order)


class Writer:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.taken: set[str] = set()
        self.weights: dict[tuple[int, str], str] = {}

    # ---- the file ---------------------------------------------------------------------------------------------------

    def model(self, model: Any) -> Any:
        inputs, entries = [], []
        for x, name in zip(model.inputs, model.input_names, strict=True):
            entry = Value(self.unique(name), x.shape, x.dtype)
            entries.append(entry)
            inputs.append(self.described(entry))
        outputs = []
        for result, name in zip(self.graph(model._graph, entries), model.output_names, strict=True):
            y = Value(self.unique(f"{name}_output"), result.shape, result.dtype)
            self.nodes.append(helper.make_node("Identity", [self.to(result)], [y.name], name=self.unique(y.name)))
            outputs.append(self.described(y))
        graph = helper.make_graph(self.nodes, model.name, inputs, outputs, self.constants)
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dlcore",
            producer_version=__version__,
        )  # fmt: skip
        checker.check_model(proto)
        return proto

    def described(self, value: Value) -> Any:
        shape = [
            (f"{value.name}_{axis}" if axis else "batch") if n is None else n for axis, n in enumerate(value.shape)
        ]
        return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)

    def unique(self, name: str) -> str:
        found, count = name, 0
        while found in self.taken:
            count += 1
            found = f"{name}_{count}"
        self.taken.add(found)
        return found

    def constant(self, array: Any, name: str = "constant") -> str:
        name = self.unique(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, layer: Layer, kind: str, array: Any) -> str:
        """A weight of a layer, written once however often the layer is called."""
        key = (id(layer), kind)
        if key not in self.weights:
            self.weights[key] = self.constant(array, f"{layer.name}/{kind}")
        return self.weights[key]

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def op(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """Adds an operator; the name of its output, or names of its outputs."""
        outputs = [self.unique(f"{kind}_output") for _ in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=self.unique(kind), **attributes))
        return outputs[0] if count == 1 else outputs

    def to(self, x: Value, order: tuple[int, ...] | None = None) -> str:
        """The name of x with its axes in this order, the model's by default."""
        order = tuple(range(len(x.shape))) if order is None else order
        if order == x.order:
            return x.name
        perm = [0] * len(order)
        for new, old in zip(order, x.order, strict=True):
            perm[new] = old
        return self.op("Transpose", x.name, perm=perm)

    # ---- the graph --------------------------------------------------------------------------------------------------

    def graph(self, graph: Any, inputs: list[Value]) -> list[Value]:
        values: dict[int, Value] = {id(x): value for x, value in zip(graph.inputs, inputs, strict=True)}
        for node in graph.nodes:
            layer = node.layer
            said = f"{layer.name!r} ({type(layer).__name__})"
            if getattr(layer, "mask_zero", False) or isinstance(layer, layers.Masking):
                raise ValueError(f"layer {said} cannot be exported: ONNX has no masks")
            if isinstance(layer, Operation):
                results = self.operation(layer, node, values)
            elif node.kwargs or any(not _is_input(argument) for argument in node.args):
                raise ValueError(f"layer {said} cannot be exported: it is called with more than its inputs")
            else:
                found = [values[id(x)] for x in node.inputs]
                results = self.layer(layer, found, flatten(node.outputs))
            for x, value in zip(flatten(node.outputs), results, strict=True):
                values[id(x)] = value
        return [values[id(x)] for x in graph.outputs]

    def layer(self, layer: Any, inputs: list[Value], outputs: list[SymbolicTensor]) -> list[Value]:
        if isinstance(layer, Model):
            if layer._graph is None:
                raise ValueError(f"{layer._said} cannot be exported: it is no graph of layers")
            return self.graph(layer._graph, inputs)
        write = _LAYERS.get(type(layer))
        if write is None:
            raise ValueError(
                f"layer {layer.name!r} cannot be exported: there is nothing in ONNX for {type(layer).__name__}"
            )
        inputs = [self.cast(x, layer) for x in inputs] if layer._real_inputs else inputs
        result = write(self, layer, *inputs, *(y.shape for y in outputs[:1]))
        return result if isinstance(result, list) else [result]

    def cast(self, x: Value, layer: Layer) -> Value:
        wanted = np.dtype(layer.dtype)
        if x.dtype == wanted:
            return x
        name = self.op("Cast", x.name, to=helper.np_dtype_to_tensor_dtype(wanted))
        return Value(name, x.shape, wanted, x.order)

    def operation(self, layer: Operation, node: Any, values: dict[int, Value]) -> list[Value]:
        said = f"functional.{layer.function} within the model"
        if layer.function not in _FUNCTIONS or not isinstance(node.outputs, SymbolicTensor):
            raise ValueError(f"{said} cannot be exported: write it with layers instead")

        def value(argument: Any) -> Any:
            if isinstance(argument, SymbolicTensor):
                return values[id(argument)]
            if isinstance(argument, (list, tuple)) and any(isinstance(a, SymbolicTensor) for a in argument):
                return [value(a) for a in argument]
            return argument.numpy() if hasattr(argument, "numpy") else argument

        args, kwargs = [value(a) for a in node.args], {key: value(a) for key, a in node.kwargs.items()}
        try:
            return [_FUNCTIONS[layer.function](self, node.outputs, *args, **kwargs)]
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{said} cannot be exported with these arguments: {error}") from error

    # ---- what many layers share -------------------------------------------------------------------------------------

    def activation(self, name: str, function: Any, order: tuple[int, ...], dtype: np.dtype, owner: str) -> str:
        """The name of `function` of a value whose axes lie in this order."""
        if isinstance(function, Layer):
            value = Value(name, (None,) * len(order), dtype, order)
            return self.to(self.layer(function, [value], [SymbolicTensor(value.shape, dtype)])[0], order)
        try:
            kind = activations.serialize(function)
        except ValueError:
            kind = "a function of one's own"
        if kind == "linear":
            return name
        if kind in ("softmax", "log_softmax"):
            return self.op("Softmax" if kind == "softmax" else "LogSoftmax", name, axis=order[-1])
        if not isinstance(kind, str) or kind not in _ACTIVATIONS:
            raise ValueError(f"{owner} cannot be exported: there is nothing in ONNX for its activation {kind!r}")
        return _ACTIVATIONS[kind](self, name, dtype)

    def scalar(self, number: float, dtype: np.dtype) -> str:
        return self.constant(np.array(number, dtype))

    def clipped(self, name: str, low: float | None, high: float | None, dtype: np.dtype) -> str:
        bounds = ["" if bound is None else self.scalar(bound, dtype) for bound in (low, high)]
        return self.op("Clip", name, *bounds)

    def image(self, x: Value) -> str:
        return self.to(x, CHANNELS_FIRST)


def _is_input(argument: Any) -> bool:
    return isinstance(argument, SymbolicTensor) or (
        isinstance(argument, (list, tuple)) and all(isinstance(a, SymbolicTensor) for a in argument)
    )
