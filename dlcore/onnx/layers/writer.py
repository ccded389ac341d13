"""The file that is being written: its operators, constants and weights, and how a graph of layers becomes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from ... import __version__, activations, layers
from ...layers.base import Layer
from ...layers.operation import Operation
from ...models import Model, _Graph
from ...symbolic import SymbolicTensor, flatten, map_structure
from ...tensor import Tensor, no_grad

OPSET, IR_VERSION = 20, 9  # the oldest with Gelu, and the format that came with it
CHANNELS_FIRST = (0, 2, 3, 1)

# What writes a layer: it gets the writer, the layer, its inputs and the shape of its (first) output; a recurrent one
# gets the states that it begins with, too. What writes a function gets the writer, its output and its arguments.
# Filled by the files beside this one.
LAYERS: dict[type, Callable[..., Any]] = {}
FUNCTIONS: dict[str, Callable[..., Any]] = {}
ACTIVATIONS: dict[str, Callable[..., str]] = {}


class Untraceable(ValueError):
    """A function of tensors is made of more than dlcore.functional."""


class Value:
    """A value of the ONNX graph: axis i of the model's tensor is axis order[i] of it.

    mask: the name of bools [N, T] that say which time steps count, where a layer noted so.
    """

    __slots__ = ("dtype", "mask", "name", "order", "shape")

    def __init__(self, name: str, shape: Any, dtype: Any, order: Any = None) -> None:
        self.name = name
        self.shape = tuple(shape)  # the model's
        self.dtype = np.dtype(dtype)
        self.order = tuple(range(len(self.shape))) if order is None else tuple(order)
        self.mask: str | None = None


class Writer:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.taken: set[str] = set()
        self.weights: dict[tuple[int, str], str] = {}
        self.kept: list[Tensor] = []  # so that an id stays one tensor's

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

    def tensor(self, x: Tensor) -> Value:
        """A variable, or another tensor that does not depend on the inputs, written once."""
        key = (id(x), "")
        if key not in self.weights:
            self.weights[key] = self.constant(x.numpy(), getattr(x, "path", "constant"))
            self.kept.append(x)
        return Value(self.weights[key], x.shape, x.dtype)

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
            if isinstance(layer, Operation):
                results = self.operation(layer, node, values)
            else:
                further = {key: value for key, value in node.kwargs.items() if key != "training" or value}
                found = [values[id(x)] for x in flatten(node.args) if isinstance(x, SymbolicTensor)]
                states = [values[id(x)] for x in flatten(further.pop("initial_state", None)) if x is not None]
                if (
                    further
                    or not all(_is_input(argument) for argument in node.args)
                    or (states and not isinstance(layer, (layers.RNN, layers.Bidirectional)))
                ):
                    raise ValueError(f"{layer._said} cannot be exported: it is called with more than its inputs")
                results = self.layer(layer, found, flatten(node.outputs), states)
            for x, value in zip(flatten(node.outputs), results, strict=True):
                values[id(x)] = value
        return [values[id(x)] for x in graph.outputs]

    def layer(
        self, layer: Any, inputs: list[Value], outputs: list[SymbolicTensor], states: Sequence[Value] = ()
    ) -> list[Value]:
        """A layer's outputs; states: what a recurrent one begins with."""
        if isinstance(layer, Model) and layer._graph is not None:
            return self.graph(layer._graph, inputs)
        if layer._real_inputs:
            inputs = [self.cast(x, layer) for x in inputs]
        write = LAYERS.get(type(layer))
        if write is None:
            results = self.traced(layer, inputs)
        elif isinstance(layer, (layers.RNN, layers.Bidirectional)):
            results = write(self, layer, *inputs, *(y.shape for y in outputs[:1]), states)
        else:
            results = write(self, layer, *inputs, *(y.shape for y in outputs[:1]))
        results = results if isinstance(results, list) else [results]
        for result, mask in zip(results, masks_after(self, layer, inputs, len(results)), strict=True):
            if result.mask != mask:  # a value of its own: the layer may have given its input back
                twin = Value(result.name, result.shape, result.dtype, result.order)
                twin.mask = mask
                results[results.index(result)] = twin
        return results

    def traced(self, layer: Layer, inputs: list[Value]) -> list[Value]:
        """A layer of another class, written as the functions of `dlcore.functional` that its call is made of."""
        if any(x.mask for x in inputs) and layer._call_signature.has_mask:
            raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for it with a mask")
        call = layer.call
        if len(inputs) > 1 and layer._call_signature.names[0] == "inputs":  # which come as a list then
            call = lambda *several: layer.call(list(several))  # noqa: E731
        try:
            return self.functions(call, inputs)
        except Untraceable as error:
            raise ValueError(
                f"{layer._said} cannot be exported: there is nothing in ONNX for {type(layer).__name__}, and its call "
                f"is not made of dlcore.functional alone ({error})"
            ) from error

    def functions(self, call: Callable[..., Any], inputs: list[Value], *further: Any) -> list[Value]:
        """What a function of tensors gives, called on symbolic ones; `further` may hold lists of values.

        Raises:
            Untraceable: it asks for values, or for a length that varies.
        """
        symbols: dict[int, SymbolicTensor] = {}

        def symbol(x: Any) -> Any:
            return symbols.setdefault(id(x), SymbolicTensor(x.shape, x.dtype)) if isinstance(x, Value) else x

        try:
            with no_grad():  # what is recorded is a graph of constants, weights among them
                outputs = flatten(call(*map(symbol, inputs), *map_structure(symbol, list(further))))
            given = [x for x in flatten([inputs, list(further)]) if isinstance(x, Value)]
            constant = [y for y in outputs if not isinstance(y, SymbolicTensor)]
            if constant:
                raise TypeError(f"it gives a {type(constant[0]).__name__} that does not depend on its inputs")
            graph = _Graph([symbols[id(x)] for x in {id(x): x for x in given}.values()], outputs)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise Untraceable(str(error)) from error
        return self.graph(graph, list({id(x): x for x in given}.values()))

    def cast(self, x: Value, layer: Layer) -> Value:
        wanted = np.dtype(layer.dtype)
        if x.dtype == wanted:
            return x
        name = self.op("Cast", x.name, to=helper.np_dtype_to_tensor_dtype(wanted))
        return Value(name, x.shape, wanted, x.order)

    def operation(self, layer: Operation, node: Any, values: dict[int, Value]) -> list[Value]:
        said = f"functional.{layer.function} within the model"
        if layer.function not in FUNCTIONS:
            raise ValueError(f"{said} cannot be exported: write it with layers instead")

        def value(argument: Any) -> Any:
            if isinstance(argument, SymbolicTensor):
                return values[id(argument)]
            if isinstance(argument, (list, tuple)) and any(isinstance(a, (SymbolicTensor, Tensor)) for a in argument):
                return [value(a) for a in argument]
            return self.tensor(argument) if isinstance(argument, Tensor) else argument

        args, kwargs = [value(a) for a in node.args], {key: value(a) for key, a in node.kwargs.items()}
        try:
            results = FUNCTIONS[layer.function](self, node.outputs, *args, **kwargs)
            return results if isinstance(results, list) else [results]
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
            kind = {}
        if kind == "linear":
            return name
        if kind in ("softmax", "log_softmax"):
            return self.op("Softmax" if kind == "softmax" else "LogSoftmax", name, axis=order[-1])
        if isinstance(kind, str) and kind in ACTIVATIONS:
            return ACTIVATIONS[kind](self, name, dtype)
        try:
            result = self.functions(function, [Value(name, (None,) * len(order), dtype, order)])[0]
        except Untraceable as error:
            what = getattr(function, "__name__", repr(function))
            raise ValueError(
                f"{owner} cannot be exported: there is nothing in ONNX for its activation {what!r}, which is not made "
                f"of dlcore.functional alone ({error})"
            ) from error
        return self.to(result, order)

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


def masks_after(w: Writer, layer: Layer, inputs: list[Value], count: int) -> list[str | None]:
    """The mask that each of a layer's outputs has, as `compute_mask` would say."""
    given = [x.mask for x in inputs]
    if isinstance(layer, layers.Embedding):
        ids = inputs[0]
        zero = w.constant(np.zeros((), ids.dtype)) if layer.mask_zero else ""
        return [w.op("Not", w.op("Equal", w.to(ids), zero)) if layer.mask_zero else None]
    if isinstance(layer, layers.Masking):
        return [steps(w, layer, inputs[0])]
    if not any(given) or not layer.supports_masking:
        return [None] * count
    if isinstance(layer, (layers.RNN, layers.Bidirectional)):
        both = isinstance(layer, layers.Bidirectional) and layer.merge_mode is None
        sequences = (2 if both else 1) if layer.return_sequences else 0
        return [given[0]] * sequences + [None] * (count - sequences)
    if isinstance(layer, layers.Concatenate):
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for it with masks")
    if len(given) == 1:
        return [given[0]] * count
    joined = None
    for mask in given:
        if mask is None:
            return [None] * count
        joined = mask if joined is None else w.op("Or", joined, mask)
    return [joined] * count


def steps(w: Writer, layer: Any, x: Value, keepdims: bool = False) -> str:
    """Which time steps a Masking layer lets count."""
    differs = w.op("Not", w.op("Equal", w.to(x), w.scalar(layer.mask_value, x.dtype)))
    largest = w.op("ReduceMax", w.op("Cast", differs, to=TensorProto.FLOAT), w.ints(-1), keepdims=int(keepdims))
    return w.op("Greater", largest, w.scalar(0.0, np.dtype(np.float32)))
