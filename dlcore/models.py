"""Models: layers that can be trained, saved and looked at.

`Sequential` is a chain. `Model(inputs, outputs)` is a graph of layers from symbolic inputs to symbolic outputs. A
subclass of `Model` with a `call` of its own is whatever that does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from . import functional as F
from . import layers
from .backends import current, use_backend
from .backends.interface import Backend
from .backends.registry import is_active
from .layers.base import Layer, unique_name
from .layers.core import InputLayer
from .layers.operation import Operation
from .symbolic import Node, Shape, SymbolicTensor, flatten, is_shape, keys_of, map_shapes, map_structure
from .tensor import Tensor, as_tensor, no_grad
from .training import Trainer

_HERE = nullcontext()


class _Graph:
    """The calls between symbolic inputs and outputs, in an order in which they can be run."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.inputs = flatten(inputs)
        self.outputs = flatten(outputs)
        self.input_structure = inputs
        self.output_structure = outputs
        for kind, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            for x in tensors:
                if not isinstance(x, SymbolicTensor):
                    raise ValueError(
                        f"{kind} of a Model must be symbolic tensors, made by Input and by layers called on them, "
                        f"got {type(x).__name__}"
                    )
        if len({id(x) for x in self.inputs}) != len(self.inputs):
            raise ValueError("inputs of a Model must differ from each other")
        # a graph may begin in the middle of another one: what its inputs were made from does not matter then
        self.input_layers = [
            x.node.layer
            if x.node is not None and isinstance(x.node.layer, InputLayer)
            else InputLayer(batch_shape=x.shape, dtype=x.dtype)
            for x in self.inputs
        ]
        self.nodes, self.layers = self._order()
        self._number()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_slots", "_plan")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._number()

    def _number(self) -> None:
        """Give every tensor a slot, by its id, and plan the calls."""
        self._slots: dict[int, int] = {id(x): slot for slot, x in enumerate(self.inputs)}
        for node in self.nodes:
            for x in flatten(node.outputs):
                self._slots.setdefault(id(x), len(self._slots))
        self._plan = self._make_plan()

    def _order(self) -> tuple[list[Node], list[Layer]]:
        """Nodes and layers, those farthest from the outputs first, as Keras orders them."""
        starts = {id(x) for x in self.inputs}
        finished: list[Node] = []
        seen: set[int] = set()
        indices: dict[int, int] = {}
        stack: list[tuple[SymbolicTensor | None, Node | None]] = [(x, None) for x in reversed(self.outputs)]
        while stack:
            x, closing = stack.pop()
            if closing is not None:
                finished.append(closing)
                continue
            assert x is not None
            if id(x) in starts:
                continue
            node = x.node
            if node is None or isinstance(node.layer, InputLayer):
                raise ValueError(f"outputs of a Model depend on {x!r}, which is not among its inputs")
            if id(node) in seen:
                continue
            seen.add(id(node))
            indices.setdefault(id(node.layer), len(indices))
            stack.append((None, node))
            stack.extend((y, None) for y in reversed(node.inputs))

        depths: dict[int, int] = {}
        layer_depths: dict[int, int] = {}
        for node in reversed(finished):
            depth = max(depths.get(id(node), 0), layer_depths.get(id(node.layer), 0))
            layer_depths[id(node.layer)] = depths[id(node)] = depth
            for x in node.inputs:
                if id(x) not in starts and x.node is not None:
                    depths[id(x.node)] = max(depth + 1, depths.get(id(x.node), 0))
        deepest = 1 + max(layer_depths.values(), default=-1)
        found = {id(node.layer): node.layer for node in finished}
        # Keras puts an input where it is first needed
        places: list[tuple[int, int, Layer]] = [
            (-layer_depths[key], indices[key], layer) for key, layer in found.items()
        ]
        for x, layer in zip(self.inputs, self.input_layers, strict=True):
            users = [depths[id(node)] + 1 for node in finished if any(y is x for y in node.inputs)]
            places.append((-max(users, default=deepest), -1, layer))
        places.sort(key=lambda place: place[:2])
        nodes = sorted(finished, key=lambda node: -depths[id(node)])
        return nodes, [layer for _, _, layer in places]

    def _make_plan(self) -> list[tuple]:
        """Per node: (layer, only input slot or -1, args, kwargs, output slots, slots no longer needed)."""
        last_use: dict[int, int] = {}
        for step, node in enumerate(self.nodes):
            for x in node.inputs:
                last_use[self._slots[id(x)]] = step
        kept = {self._slots[id(x)] for x in self.outputs}
        ends: dict[int, list[int]] = {}
        for slot, last in last_use.items():
            if slot not in kept:
                ends.setdefault(last, []).append(slot)
        plan = []
        for step, node in enumerate(self.nodes):
            single = -1
            if len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], SymbolicTensor):
                single = self._slots[id(node.args[0])]
            outs = tuple(self._slots[id(x)] for x in flatten(node.outputs))
            plan.append((node.layer, single, node.args, node.kwargs, outs, tuple(ends.get(step, ()))))
        return plan

    def run(self, inputs: list, call: Callable[..., Any] = Layer.__call__) -> Any:
        """The outputs for values of the inputs, nested as the graph's outputs; `call` calls a layer."""
        values: list[Any] = [None] * len(self._slots)
        values[: len(inputs)] = inputs
        slots = self._slots

        def value(x: Any) -> Any:
            return values[slots[id(x)]] if isinstance(x, SymbolicTensor) else x

        plain = call is Layer.__call__
        for layer, single, args, kwargs, outs, done in self._plan:
            if single >= 0:
                result = layer(values[single]) if plain else call(layer, values[single])
            else:
                given, named = map_structure(value, args), map_structure(value, kwargs)
                result = layer(*given, **named) if plain else call(layer, *given, **named)
            if len(outs) == 1 and not isinstance(result, (list, tuple, dict)):
                values[outs[0]] = result
            else:
                for slot, part in zip(outs, flatten(result), strict=True):
                    values[slot] = part
            for slot in done:
                values[slot] = None
        return map_structure(value, self.output_structure)


class Model(Trainer, Layer):
    """A layer with `compile`, `fit`, `evaluate`, `predict`, `summary` and `save`.

    `Model(inputs, outputs)` makes one from symbolic tensors, single or in lists, tuples or dicts. A subclass defines
    `call` instead, with its layers as attributes.

    Attributes:
        layers: its layers.
        inputs, outputs: lists of its symbolic inputs and outputs, where it has any.
    """

    _graph: _Graph | None
    _home: Backend | None
    _call_shapes: dict[str, Any] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        graph = None
        if len(args) == 2 or (len(args) == 1 and "outputs" in kwargs) or ("inputs" in kwargs and "outputs" in kwargs):
            inputs = args[0] if args else kwargs.pop("inputs")
            outputs = args[1] if len(args) == 2 else kwargs.pop("outputs")
            graph = _Graph(inputs, outputs)
        elif args:
            raise TypeError(f"{type(self).__name__} takes inputs and outputs, or keyword arguments, got {args!r}")
        if graph is not None and kwargs.get("name") is None and type(self) is Model:
            kwargs["name"] = unique_name("functional")
        Layer.__init__(self, **kwargs)
        Trainer.__init__(self)
        self.__dict__.update(_graph=None, _home=None, _call_shapes=None)
        if graph is not None:
            self._set_graph(graph)

    def _set_graph(self, graph: _Graph) -> None:
        names = [layer.name for layer in graph.layers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"layers of a model must have different names, got {', '.join(map(repr, twice))} twice")
        self.__dict__["_graph"] = graph
        self._graph_layers = list(graph.layers)
        if any(x.dtype == np.float64 for x in graph.inputs):
            self._dtype = np.dtype(np.float64)
        self.built = True

    # ---- what it is made of -------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """Its layers, without those within them."""
        return [layer for layer in self._sublayers if not isinstance(layer, Operation)]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name or at this place.

        Raises:
            ValueError: there is none, or both or neither of the arguments are given.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer needs either name or index")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index must lie within the {len(self.layers)} layers of {self.name!r}, got {index}")
            return self.layers[index]
        for layer in self._sublayers:
            if layer.name == name:
                return layer
        from .naming import unknown_name

        raise unknown_name(f"layer of model {self.name!r}", name, [layer.name for layer in self.layers])

    @property
    def inputs(self) -> list[SymbolicTensor] | None:
        return None if self._graph is None else self._graph.inputs

    @property
    def outputs(self) -> list[SymbolicTensor] | None:
        return None if self._graph is None else self._graph.outputs

    @property
    def input(self) -> Any:
        return self._needs_graph("input").input_structure

    @property
    def output(self) -> Any:
        return self._needs_graph("output").output_structure

    @property
    def input_names(self) -> list[str]:
        return [layer.name for layer in self._needs_graph("input_names").input_layers]

    @property
    def output_names(self) -> list[str]:
        """The layers that make them, numbered where one makes several: `gru`, `gru_1`."""
        names: list[str] = []
        counts: dict[str, int] = {}
        for x in self._needs_graph("output_names").outputs:
            name = x.node.layer.name if x.node else x.name
            count = counts[name] = counts.get(name, -1) + 1
            names.append(f"{name}_{count}" if count else name)
        return names

    @property
    def input_shape(self) -> Any:
        return map_structure(lambda x: x.shape, self.input)

    @property
    def output_shape(self) -> Any:
        return map_structure(lambda x: x.shape, self.output)

    def _needs_graph(self, attribute: str) -> _Graph:
        if self._graph is None:
            raise AttributeError(
                f"{self._said} has no {attribute}: it is not a graph of layers, or not built yet "
                "(Input or build() do that)"
            )
        return self._graph

    # ---- where it lives -----------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """Name of the engine on which its weights live; the active one before it has any."""
        return (self._find_home() or current()).name

    def _find_home(self) -> Backend | None:
        home = self._home
        if home is None:
            home = next((layer._engine for layer in self._flatten_layers() if layer._engine is not None), None)
            self.__dict__["_home"] = home
        return home

    def _at_home(self) -> AbstractContextManager:
        """A context in which the engine of its weights is the active one."""
        home = self._home or self._find_home()
        return _HERE if home is None or is_active(home) else use_backend(home)

    def get_weights(self) -> list[np.ndarray]:
        with self._at_home():
            return super().get_weights()

    def set_weights(self, weights: Iterable[Any]) -> None:
        with self._at_home():
            super().set_weights(weights)

    # ---- the call -----------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        home = self._home or self._find_home()
        if home is None or is_active(home):
            return super().__call__(*args, **kwargs)
        with use_backend(home):
            return super().__call__(*args, **kwargs)

    def _convert(self, x: Any) -> Any:
        if x is None or isinstance(x, Tensor):
            return x  # each layer sees to its own dtype
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype != self._dtype and self._graph is not None:
            x = x.astype(self._dtype)
        return super()._convert(x) if not isinstance(x, np.ndarray) else as_tensor(x)

    def _build_for(self, args: tuple, kwargs: dict[str, Any]) -> None:
        if self._call_shapes is None and not any(isinstance(x, SymbolicTensor) for x in flatten((args, kwargs))):

            def spec(x: Any) -> Any:
                return {"shape": [None, *x.shape[1:]], "dtype": x.dtype.name} if isinstance(x, Tensor) else x

            named = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
            self.__dict__["_call_shapes"] = {
                "args": map_structure(spec, list(args)),
                "kwargs": map_structure(spec, named),
            }
        if type(self).build not in (Model.build, Sequential.build):
            super()._build_for(args, kwargs)

    def build(self, input_shape: Any) -> None:
        """Create the weights by a call on zeros of this shape (batch first, None where a length varies)."""
        if self._graph is not None or self.built:
            return
        zeros = map_shapes(
            lambda shape: as_tensor(np.zeros([1 if n is None else n for n in shape], self._dtype)), input_shape
        )
        with no_grad():
            self(zeros)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if self._graph is None:
            raise NotImplementedError(f"{type(self).__name__} must define call(), or be made from inputs and outputs")
        values = self._match_inputs(inputs)
        for x, m in zip(values, flatten(mask) if mask is not None else (), strict=False):
            x.mask = m
        return self._graph.run(values)

    def _match_inputs(self, inputs: Any) -> list:
        """The inputs of a call in the graph's order, checked against it."""
        graph = self._graph
        assert graph is not None
        structure = graph.input_structure
        names = [layer.name for layer in graph.input_layers]
        if isinstance(inputs, dict):
            keys = keys_of(structure) if isinstance(structure, dict) else names
            missing = [key for key in keys if key not in inputs]
            if missing:
                raise ValueError(f"{self._said} lacks input(s) {', '.join(map(repr, missing))}, got {list(inputs)}")
            inputs = [inputs[key] for key in keys]
        values = flatten(inputs)
        if len(values) != len(graph.inputs):
            raise ValueError(f"{self._said} expected {len(graph.inputs)} input(s), {names}, got {len(values)}")
        return [self._match(x, spec, name) for x, spec, name in zip(values, graph.inputs, names, strict=True)]

    def _match(self, x: Any, spec: SymbolicTensor, name: str) -> Any:
        shape, wanted = tuple(x.shape), spec.shape
        if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
            shape = (*shape, 1)
        elif len(shape) == len(wanted) + 1 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != len(wanted) or any(
            n is not None and m is not None and n != m for n, m in zip(shape, wanted, strict=True)
        ):
            raise ValueError(f"input {name!r} of {self._said} must have shape {wanted}, got {tuple(x.shape)}")
        if isinstance(x, SymbolicTensor):
            return x if shape == x.shape else F.reshape(x, (-1, *shape[1:]))
        mask = x.mask
        if x.shape != shape:
            x = F.reshape(x, shape)
        if x.dtype != spec.dtype:
            x = F.cast(x, spec.dtype)
        if mask is not None:
            x.mask = mask
        return x

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if self._graph is None:
            return super().compute_output_spec(*args, **kwargs)
        inputs = args[0] if args else kwargs["inputs"]

        def spec(layer: Layer, *given: Any, **named: Any) -> Any:
            return layer.compute_output_spec(*given, **named)

        outputs = self._graph.run(self._match_inputs(inputs), spec)
        return map_structure(lambda x: SymbolicTensor(x.shape, x.dtype), outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self._graph is None:
            return super().compute_output_shape(input_shape)
        return map_structure(
            lambda x: x.shape,
            self.compute_output_spec(map_shapes(lambda s: SymbolicTensor(s, self._dtype), input_shape)),
        )

    # ---- looking at it ------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
        show_costs: bool = False,
    ) -> None:
        """Print a table of its layers, their output shapes and numbers of parameters.

        Args:
            line_length: width of the table; as wide as it needs to be if None.
            positions: accepted for Keras's sake.
            print_fn: called with the whole text in place of `print`.
            expand_nested: show the layers of models within it too.
            show_trainable: add a column that says which layers are trained.
            layer_range: names of the first and the last layer to show.
            show_costs: add, beyond Keras, how each shape follows from the one before, and for one sample the memory of
                the outputs and the floating-point operations of the forward pass.
        """
        from .summary import summary_text

        (print_fn or print)(summary_text(self, line_length, expand_nested, show_trainable, layer_range, show_costs))

    def _repr_html_(self) -> str:
        """The summary, as notebooks show it."""
        from .summary import summary_html

        return summary_html(self)

    def explain(self, x: Any, y: Any) -> Any:
        """One training step written out with its numbers: see `dlcore.explanation.explain`."""
        from .explanation import explain

        return explain(self, x, y)

    # ---- configuration ------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        if self._graph is None or type(self).__init__ is not Model.__init__:
            return self._custom_config()
        return {"name": self.name, "trainable": self.trainable, **_graph_config(self._graph)}

    def _custom_config(self) -> dict[str, Any]:
        import inspect

        parameters = inspect.signature(type(self).__init__).parameters
        config = {"name": self.name, "trainable": self.trainable, **self._init_config()}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            config = {key: value for key, value in config.items() if key in parameters}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        from .io.serialization import custom_object_scope

        with custom_object_scope(custom_objects):
            if "input_layers" in config:
                from .io.keras_config import functional_from_config

                return functional_from_config(config)
            if "nodes" not in config:
                return cls(**config)
            inputs, outputs = _graph_from_config(config)
            model = cls(inputs=inputs, outputs=outputs, name=config.get("name"))
            if not config.get("trainable", True):
                model.trainable = False
            return model

    def to_json(self, **kwargs: Any) -> str:
        """Its architecture as JSON; `model_from_json` makes it again, with new weights."""
        return json.dumps(layers.serialize(self), **kwargs)

    # ---- saving -------------------------------------------------------------------------------------------------

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Save architecture, weights and, if it is compiled, how it is and the optimizer's state.

        Args:
            filepath: a path that ends in ".safetensors", or in ".keras" for a file that Keras loads too (extra
                `keras-files`), which does not hold where the orders of samples and the masks are.
            overwrite: whether an existing file may be replaced.
            include_optimizer: whether training shall go on where it stopped.

        Raises:
            ValueError: the path ends otherwise, the model is not built, or a layer's config is not JSON.
            FileExistsError: the file exists and overwrite is False.
        """
        from .io import files_for

        files_for(filepath).save_model(self, filepath, overwrite=overwrite, include_optimizer=include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Save the weights alone, to a path that ends in ".safetensors", or in ".weights.h5" for one that Keras loads
        too (extra `keras-files`)."""
        from .io import files_for

        files_for(filepath).save_weights(self, filepath, overwrite=overwrite)

    def export(self, filepath: Any, format: str = "onnx", **kwargs: Any) -> None:
        """Write a file for other libraries to run: an ONNX file, see `dlcore.onnx.export`.

        Raises:
            ValueError: another format.
        """
        if format != "onnx":
            raise ValueError(f"format must be 'onnx', got {format!r}: there is no TensorFlow, OpenVINO or LiteRT here")
        from .onnx import export

        export(self, filepath, **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False) -> dict[str, list[str]]:
        """Load weights from a file that `save_weights` or `save` wrote, here or in Keras 3.

        Args:
            filepath: the file: ".safetensors", ".weights.h5" or ".keras".
            skip_mismatch: leave weights alone whose shape differs or that the file lacks, with a warning.
            by_name: match layers by name rather than weights by order; what the file lacks is left alone.

        Returns:
            Names of weights: "loaded", "skipped" (in the model only, or of another shape), "unused" (in the file only).

        Raises:
            ValueError: the file is damaged or foreign, or does not fit; the model is unchanged then.
        """
        from .io import files_for

        return files_for(filepath).load_weights(self, filepath, skip_mismatch=skip_mismatch, by_name=by_name)


class Sequential(Model):
    """Layers one after the other.

    With an `Input` first it is built as layers are added, else at its first call or by `build`.
    """

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._chain: list[Layer] = []
        for layer in layers or ():
            self.add(layer, rebuild=False)
        self._rebuild()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer, or the result of `Input` as the first.

        Args:
            rebuild: build it right away, if its input is known; else the next `add`, or the first call, does.

        Raises:
            TypeError: it is no layer.
            ValueError: a layer of this name is there already, or its input does not fit.
        """
        if isinstance(layer, SymbolicTensor) and layer.node is not None and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        elif isinstance(layer, type) and issubclass(layer, Layer):
            raise TypeError(f"a layer must be an instance, got the class {layer.__name__}; write {layer.__name__}(...)")
        elif not isinstance(layer, Layer):
            raise TypeError(
                f"a layer of {self.name!r} must be a Layer or an Input, got {type(layer).__name__}: {layer!r}"
            )
        if isinstance(layer, InputLayer):
            if self._chain:
                raise ValueError(f"Input must be the first layer of {self.name!r}, it has {len(self._chain)} already")
        elif any(known.name == layer.name for known in self._chain):
            raise ValueError(f"layers of {self.name!r} must have different names, got {layer.name!r} twice")
        elif not self._chain and layer._input_shape_argument is not None:
            self.add(InputLayer(layer._input_shape_argument, name=unique_name(f"{layer.name}_input")))
        if not self._chain:
            self._dtype = np.dtype(layer.dtype) if np.dtype(layer.dtype).kind == "f" else self._dtype
        self._chain.append(layer)
        if not rebuild:
            self._forget_graph()
        elif isinstance(self._chain[0], InputLayer):
            try:
                self._extend()
            except Exception:
                self._chain.pop()
                raise
        elif self.built:
            self.built = False

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer off and return it; `rebuild` as in `add`."""
        if not self._chain:
            raise ValueError(f"{self.name!r} has no layers to pop")
        layer = self._chain.pop()
        self._forget_graph()
        if rebuild:
            self._rebuild()
        return layer

    def _forget_graph(self) -> None:
        self.__dict__["_graph"] = None
        self.built = False

    def _rebuild(self) -> None:
        if self._chain and isinstance(self._chain[0], InputLayer):
            self._extend()

    def _extend(self) -> None:
        """Make the graph reach as far as the chain does."""
        first = self._chain[0]
        with self._at_home(), self._making_weights():
            if self._graph is not None and len(self._chain) == len(self._graph.nodes) + 2:
                x = self._chain[-1](self._graph.outputs[0])
            else:
                x = first.output
                for layer in self._chain[1:]:
                    x = layer(x)
        if len(self._chain) > 1:
            self.__dict__["_graph"] = _Graph(first.output, x)
            self.built = True

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self._chain if not isinstance(layer, InputLayer)]

    def build(self, input_shape: Any = None) -> None:
        """Create the weights for inputs of this shape (batch first, None where a length varies)."""
        if self._graph is not None:
            return
        if not self._chain:
            raise ValueError(f"{self._said} has no layers: add() some before it is built or called")
        if isinstance(self._chain[0], InputLayer):
            self._rebuild()
            self.built = True
            return
        if not is_shape(input_shape):
            raise ValueError(f"input_shape of {self._said} must be one shape, got {input_shape!r}")
        self._start(tuple(input_shape), self._dtype)

    def _start(self, shape: Shape, dtype: Any) -> None:
        self._chain.insert(0, InputLayer(batch_shape=(None, *shape[1:]), dtype=dtype))
        try:
            self._extend()
        except Exception:
            self._chain.pop(0)
            raise

    def _build_for(self, args: tuple, kwargs: dict[str, Any]) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        if not self._chain:
            raise ValueError(f"{self._said} has no layers: add() some before it is built or called")
        if isinstance(self._chain[0], InputLayer):
            self._rebuild()
        elif isinstance(x, (Tensor, SymbolicTensor)):
            # a first layer that takes whole numbers shall see them as such; others cast them
            dtype = self._dtype if self._chain[0]._real_inputs or x.dtype.kind == "f" else x.dtype
            self._start(tuple(x.shape), dtype)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if self._graph is not None:
            inputs = self._match_inputs(inputs)[0]
        if mask is not None:
            inputs.mask = flatten(mask)[0]
        for layer in self._chain:
            if not isinstance(layer, InputLayer):
                inputs = layer(inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        if type(self).__init__ is not Sequential.__init__:
            return self._custom_config()
        return {
            "name": self.name,
            "trainable": self.trainable,
            "layers": [layers.serialize(layer) for layer in self._chain],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        from .io.serialization import custom_object_scope

        if cls.__init__ is not Sequential.__init__:
            return cls(**config)
        with custom_object_scope(custom_objects):
            model = cls([layers.deserialize(layer) for layer in config["layers"]], name=config.get("name"))
        if not config.get("trainable", True):
            model.trainable = False
        return model


Functional = Model


def load_model(
    filepath: Any, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Model:
    """The model that `Model.save` wrote, on the active engine; also one in a ".keras" file that Keras wrote.

    Args:
        filepath: the file.
        custom_objects: name -> class or function, for what is not part of the library.
        compile: whether it shall be compiled as it was, and training go on as it would have: with the optimizer's
            state and, from a ".safetensors" file, the orders of samples and the masks that would have followed.
        safe_mode: taken as in Keras; code in a file is never run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, foreign, from a newer version, or names something unknown.
    """
    from .io import files_for

    return files_for(filepath).load_model(filepath, custom_objects=custom_objects, compile=compile)


def save_model(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """`model.save(filepath)`."""
    model.save(filepath, overwrite=overwrite)


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """The model that `Model.to_json` described, with new weights."""
    model = layers.deserialize(json.loads(text), custom_objects)
    if not isinstance(model, Model):
        raise ValueError(f"text must describe a model, got a {type(model).__name__}")
    return model


def clone_model(model: Model) -> Model:
    """A model like this one, with new layers and new weights. Raises ValueError if it is no model."""
    if not isinstance(model, Model):
        raise ValueError(f"model must be a Model, got {type(model).__name__}: {model!r}")
    classes = {type(part).__name__: type(part) for part in model._flatten_layers()}
    twin = layers.deserialize(json.loads(json.dumps(layers.serialize(model))), classes)
    assert isinstance(twin, Model)
    return twin


def _graph_config(graph: _Graph) -> dict[str, Any]:
    """A graph as JSON: its layers, then its calls, whose tensors are written {"tensor": [node, output]}; the inputs
    are the first nodes."""
    from .io.serialization import encode

    places: dict[int, list[int]] = {id(x): [i, 0] for i, x in enumerate(graph.inputs)}
    for number, node in enumerate(graph.nodes, len(graph.inputs)):
        for index, x in enumerate(flatten(node.outputs)):
            places.setdefault(id(x), [number, index])

    def reference(x: Any) -> Any:
        if isinstance(x, SymbolicTensor):
            return {"tensor": places[id(x)]}
        return x.numpy() if isinstance(x, Tensor) else x

    inner = [layer for layer in graph.layers if not any(layer is entry for entry in graph.input_layers)]
    numbers = {id(layer): number for number, layer in enumerate(inner)}
    return {
        "inputs": [layers.serialize(layer) for layer in graph.input_layers],
        "layers": [layers.serialize(layer) for layer in inner],
        "nodes": [
            {
                "layer": numbers[id(node.layer)],
                "args": encode(map_structure(reference, node.args), f"a call of {node.layer._said}"),
                "kwargs": encode(map_structure(reference, node.kwargs), f"a call of {node.layer._said}"),
            }
            for node in graph.nodes
        ],
        "input_structure": encode(map_structure(reference, graph.input_structure), "a model"),
        "output_structure": encode(map_structure(reference, graph.output_structure), "a model"),
    }


def _graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    from .io.serialization import decode

    made: list[list[SymbolicTensor]] = []

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"tensor"}:
                node, index = value["tensor"]
                return made[node][index]
            return {key: tensors(part) for key, part in value.items()}
        return type(value)(tensors(part) for part in value) if isinstance(value, (list, tuple)) else value

    try:
        made.extend([layers.deserialize(entry).output] for entry in config["inputs"])
        known = [layers.deserialize(entry) for entry in config["layers"]]
        for node in config["nodes"]:
            args, kwargs = tensors(decode(node["args"])), tensors(decode(node["kwargs"]))
            made.append(flatten(known[node["layer"]](*args, **kwargs)))
        return tensors(decode(config["input_structure"])), tensors(decode(config["output_structure"]))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"config of a model is malformed: {error!r}") from error


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("models", name, list(globals()))
