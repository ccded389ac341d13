"""Objects in Keras's JSON: `{"module", "class_name", "config", "registered_name"}`, nested as configs are.

This is what `keras.saving.serialize_keras_object` gives, what stands in a `.keras` file, and what is read from one. A
name makes nothing be imported or run: classes are those of this library, those registered, and custom objects.
"""

from __future__ import annotations

import inspect
import reprlib
from typing import Any

import numpy as np

from .. import (
    activations,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    schedules,
)
from ..layers.base import Layer
from ..layers.operation import Operation
from ..naming import unknown_name
from ..symbolic import Node, SymbolicTensor, flatten
from .serialization import custom_object, custom_object_scope, get_registered_name

_KINDS: tuple[tuple[Any, str, Any], ...] = (  # base class, Keras's module, ours
    (Layer, "keras.layers", layers),
    (optimizers.Optimizer, "keras.optimizers", optimizers),
    (schedules.LearningRateSchedule, "keras.optimizers.schedules", schedules),
    (losses.Loss, "keras.losses", losses),
    (metrics.Metric, "keras.metrics", metrics),
    (initializers.Initializer, "keras.initializers", initializers),
    (regularizers.Regularizer, "keras.regularizers", regularizers),
    (constraints.Constraint, "keras.constraints", constraints),
)
_NUMPY, _NN = "keras.src.ops.numpy", "keras.src.ops.nn"
_OPERATIONS = {  # function of dlcore.functional -> Keras's module and class, and which arguments are in its config
    **{name: (_NUMPY, name.title(), ()) for name in (
        "add", "subtract", "multiply", "divide", "power", "matmul", "exp", "log", "sqrt", "square", "sin", "cos",
        "maximum", "minimum", "sign", "reciprocal", "tanh", "greater", "less", "equal", "where",
    )},
    **{name: (_NN, name.title(), ()) for name in (
        "relu", "sigmoid", "softplus", "softsign", "silu", "selu", "relu6",
    )},
    **{name: (_NUMPY, name.title(), ("axis", "keepdims")) for name in ("mean", "sum", "max", "min")},
    "neg": (_NUMPY, "Negative", ()), "abs": (_NUMPY, "Absolute", ()), "getitem": (_NUMPY, "GetItem", ()),
    "greater_equal": (_NUMPY, "GreaterEqual", ()), "less_equal": (_NUMPY, "LessEqual", ()),
    "not_equal": (_NUMPY, "NotEqual", ()), "clip": (_NUMPY, "Clip", ("x_min", "x_max")),
    "reshape": (_NUMPY, "Reshape", ("shape",)), "transpose": (_NUMPY, "Transpose", ("axes",)),
    "expand_dims": (_NUMPY, "ExpandDims", ("axis",)), "squeeze": (_NUMPY, "Squeeze", ("axis",)),
    "concatenate": (_NUMPY, "Concatenate", ("axis",)), "stack": (_NUMPY, "Stack", ("axis",)),
    "softmax": (_NN, "Softmax", ("axis",)), "log_softmax": (_NN, "LogSoftmax", ("axis",)),
    "elu": (_NN, "Elu", ("alpha",)), "leaky_relu": (_NN, "LeakyRelu", ("negative_slope",)),
    "gelu": (_NN, "Gelu", ("approximate",)), "hard_sigmoid": (_NN, "HardSigmoid", ()),
}  # fmt: skip
_FUNCTIONS = {cls: (name, keys) for name, (_, cls, keys) in _OPERATIONS.items()} | {
    "TrueDivide": ("divide", ()),
    "Abs": ("abs", ()),
}
_IDLE = ("build_input_shape", "renorm_momentum", "fill_mode", "fill_value")  # mean nothing while something else is off
_OURS: dict[str, dict[str, Any]] = {  # arguments that Keras's classes do not know, and what they must be for it
    "SGD": {"form": "classical"},
    "SpatialDropout1D": {"trainable": True},
    "SpatialDropout2D": {"trainable": True},
}
_PUBLIC = {"GroupedQueryAttention": "GroupQueryAttention"}  # class -> the name under which Keras looks for it
_RENAMED = {"shape": "newshape"}  # argument of dlcore.functional -> of Keras's operation


# ---- writing --------------------------------------------------------------------------------------------------------


def serialize_keras_object(obj: Any) -> Any:
    """An object, or a nest of objects, as Keras's JSON.

    Raises:
        ValueError: there is no JSON for it: it has no name and no get_config().
    """
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, np.dtype):
        return obj.name
    if isinstance(obj, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, (list, tuple)):
        return [serialize_keras_object(part) for part in obj]
    if isinstance(obj, slice):
        return {"class_name": "__slice__", "config": {"start": obj.start, "stop": obj.stop, "step": obj.step}}
    if obj is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(obj, dict):
        return _placed({key: serialize_keras_object(part) for key, part in obj.items()})
    if isinstance(obj, type) and issubclass(obj, np.generic):
        return np.dtype(obj).name
    if hasattr(obj, "get_config") and not isinstance(obj, type):
        return _object(obj)
    name = getattr(obj, "__name__", "")
    if callable(obj) and name and name != "<lambda>":
        module = obj.__module__
        if module.startswith("dlcore.metrics."):
            module = "keras.metrics"
        elif module.startswith("dlcore."):
            module = f"keras.{module.rpartition('.')[2]}"
        return {"module": module, "class_name": "function", "config": name, "registered_name": get_registered_name(obj)}
    raise ValueError(f"{obj!r} has no JSON form: use a named function, or a class with a get_config()")


def _object(obj: Any) -> dict[str, Any]:
    cls = type(obj)
    name, module, registered = cls.__name__, cls.__module__, get_registered_name(cls)
    if isinstance(obj, Operation):
        raise ValueError(f"{obj._said} can only be written as a part of its model")
    if module.startswith("dlcore."):
        registered = None
        module = next((keras for base, keras, _ in _KINDS if isinstance(obj, base)), "keras")
        if cls is models.Sequential:
            module = "keras"
        elif cls is models.Model:
            module, name = "keras.src.models.functional", "Functional"
    if cls is models.Model:
        config = _functional(obj)
    elif cls is models.Sequential:
        parts = [_object(layer) for layer in obj._chain]
        config = {"name": obj.name, "trainable": obj.trainable, "layers": parts}
    else:
        config = serialize_keras_object(obj.get_config())
    entry = _entry(module, name, config, registered)
    if hasattr(obj, "get_build_config"):  # a class of a user's, whose build() needs more than a shape
        entry["build_config"] = serialize_keras_object(obj.get_build_config())
    return entry


def _entry(module: str, name: str, config: dict[str, Any], registered: str | None) -> dict[str, Any]:
    if registered is None:
        name = _PUBLIC.get(name, name)
    for key, value in _OURS.get(name, {}).items():
        if registered is None and config.pop(key, value) != value:
            raise ValueError(f"Keras's {name} has no {key} other than {value!r}: save to a .safetensors file")
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def _placed(config: dict[str, Any]) -> dict[str, Any]:
    """A `{"class_name", "config"}` from a get_config() here, in Keras's form: with the module that it looks in."""
    name, inner = config.get("class_name"), config.get("config")
    if not isinstance(name, str) or "config" not in config or "module" in config:
        return config
    if name == "__array__":
        return {"class_name": "__numpy__", "config": inner}
    if name == "__slice__" and isinstance(inner, list):
        return {"class_name": name, "config": dict(zip(("start", "stop", "step"), inner, strict=True))}
    if name == "__function__":
        return _placed({"class_name": "function", "config": inner})
    if name in ("__tuple__", "__layer__", "__initializer__", "__regularizer__"):
        return inner  # type: ignore[return-value]
    if name.startswith("__"):
        return config
    if name == "function":
        registered = get_registered_name(custom_object(config["config"]) or config["config"])
        return {"module": "builtins", **config, "registered_name": registered}
    own = custom_object(name)
    if own is not None:
        module, registered = own.__module__, get_registered_name(own)
    else:
        module = next((keras for _, keras, ours in _KINDS if name in vars(ours)), "keras")
        registered = None
    return _entry(module, name, config["config"], registered)


def _functional(model: Any) -> dict[str, Any]:
    """The config of a graph of layers: each layer with its calls, whose tensors say which call of which layer made it.

    Raises:
        ValueError: a function in the graph that Keras's files cannot hold.
    """
    graph = model._graph
    if graph is None:
        raise ValueError(f"{model._said} is no graph of layers: a class of its own must define get_config()")
    calls: dict[int, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(id(node.layer), []).append(node)
    places: dict[int, list[Any]] = {
        id(x): [layer.name, 0, 0] for x, layer in zip(graph.inputs, graph.input_layers, strict=True)
    }
    for node in graph.nodes:
        number = next(i for i, known in enumerate(calls[id(node.layer)]) if known is node)
        for index, x in enumerate(flatten(node.outputs)):
            places.setdefault(id(x), [node.layer.name, number, index])

    def written(value: Any) -> Any:
        if isinstance(value, SymbolicTensor):
            history = {"shape": list(value.shape), "dtype": value.dtype.name, "keras_history": places[id(value)]}
            return {"class_name": "__keras_tensor__", "config": history}
        if isinstance(value, (list, tuple)):
            return [written(part) for part in value]
        if isinstance(value, dict):
            return {key: written(part) for key, part in value.items()}
        return serialize_keras_object(value.numpy() if hasattr(value, "numpy") else value)

    def place(structure: Any) -> Any:
        if isinstance(structure, SymbolicTensor):
            return places[id(structure)]
        if isinstance(structure, dict):
            return {key: place(part) for key, part in structure.items()}
        return [place(part) for part in structure]

    entries = []
    for layer in graph.layers:
        nodes = calls.get(id(layer), [])
        if isinstance(layer, Operation):
            entry, given = _operation(layer, nodes)
        else:
            entry, given = _object(layer), [(node.args, node.kwargs) for node in nodes]
        entry["name"] = layer.name
        entry["inbound_nodes"] = [{"args": written(args), "kwargs": written(kwargs)} for args, kwargs in given]
        entries.append(entry)
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": entries,
        "input_layers": place(graph.input_structure),
        "output_layers": place(graph.output_structure),
    }


def _operation(layer: Operation, nodes: list[Node]) -> tuple[dict[str, Any], list[tuple]]:
    """A function in a graph as Keras's operation, and the arguments that its calls keep."""
    from .. import functional as F

    if layer.function not in _OPERATIONS:
        raise ValueError(
            f"a .keras file cannot hold the function {layer.function!r} of the graph ({layer.name!r}): put it into a "
            "layer of your own, or save to a .safetensors file"
        )
    module, name, keys = _OPERATIONS[layer.function]
    bound = inspect.signature(getattr(F, layer.function)).bind(*nodes[0].args, **nodes[0].kwargs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    config = {_RENAMED.get(key, key): serialize_keras_object(given.pop(key)) for key in keys}
    if layer.function == "matmul" and (given.pop("transpose_a") or given.pop("transpose_b")):
        raise ValueError(f"a .keras file cannot hold the transposition in the product {layer.name!r}")
    args = tuple(list(given.values())[:2]) if layer.function == "matmul" else tuple(given.values())
    entry = {"module": module, "class_name": name, "config": {"name": layer.name, **config}, "registered_name": name}
    return entry, [(args, {})]


# ---- reading --------------------------------------------------------------------------------------------------------


def deserialize_keras_object(
    config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True, **kwargs: Any
) -> Any:
    """What `serialize_keras_object`, here or in Keras, was given; models and layers with new weights.

    Args:
        config: Keras's JSON.
        custom_objects: name -> class or function, for what is not registered.
        safe_mode: taken; code in a config is never run.

    Raises:
        ValueError: the config is malformed, or names something unknown or code.
    """
    with custom_object_scope(custom_objects):
        return _restored(config)


def _restored(config: Any) -> Any:
    if isinstance(config, (list, tuple)):
        return type(config)(_restored(part) for part in config)
    if not isinstance(config, dict) or "class_name" not in config:
        return {key: _restored(part) for key, part in config.items()} if isinstance(config, dict) else config
    name, inner = config["class_name"], config.get("config")
    if not isinstance(name, str):
        raise ValueError(f"class_name must be a string, got {name!r}")
    if name.startswith("__") or name == "DTypePolicy":
        return _value(name, inner)
    if name == "function":
        return _function(config)
    own = custom_object(config.get("registered_name") or name) or custom_object(name)
    if own is not None:
        plain = _values(inner or {})
        made = own.from_config(plain) if hasattr(own, "from_config") else own(**plain)
        if hasattr(own, "build_from_config") and config.get("build_config"):
            made.build_from_config(_values(config["build_config"]))
        return made
    module = str(config.get("module") or "")
    if name == "Functional" or (name == "Model" and "input_layers" in (inner or {})):
        return functional_from_config(inner)
    cls = _known_class(module, name)
    arguments = _arguments(cls, inner or {})
    if cls is models.Sequential:
        return _sequential(arguments, inner)
    return cls.from_config(arguments)


def _known_class(module: str, name: str) -> Any:
    if name == "Sequential":
        return models.Sequential
    kinds = sorted(_KINDS, key=lambda kind: -len(kind[1]))  # schedules before optimizers
    for base, keras, ours in kinds:
        if not module or module.startswith(keras) or keras.rpartition(".")[2] in module.split("."):
            found = vars(ours).get(name)
            if isinstance(found, type) and issubclass(found, base):
                return found
    known = [n for _, _, ours in _KINDS for n, value in vars(ours).items() if isinstance(value, type)]
    unknown = unknown_name("class", f"{module}.{name}" if module else name, known)
    raise ValueError(f"{unknown} A class of your own must be registered or passed in custom_objects.")


def _value(name: str, inner: Any) -> Any:
    """What stands in a config for something that is not JSON."""
    if name == "DTypePolicy":
        return inner["name"]
    if name == "__numpy__":
        return np.array(inner["value"], inner["dtype"])
    if name == "__tensor__":
        return np.array(inner["value"], inner["dtype"])
    if name == "__tuple__":
        return tuple(_values(inner))
    if name == "__slice__":
        return slice(inner["start"], inner["stop"], inner["step"])
    if name == "__ellipsis__":
        return Ellipsis
    if name == "__lambda__":
        raise ValueError("config holds a lambda as code, which is never run here: define a function and register it")
    raise ValueError(f"config holds an object of unknown kind {name!r}")


def _values(config: Any) -> Any:
    """A config with the values put in that are not JSON; objects stay described, as their classes expect them."""
    if isinstance(config, list):
        return [_values(part) for part in config]
    if not isinstance(config, dict):
        return config
    name = config.get("class_name")
    if isinstance(name, str) and (name.startswith("__") or name == "DTypePolicy"):
        return _value(name, config.get("config"))
    return {key: _values(part) for key, part in config.items()}


def _function(config: dict[str, Any]) -> Any:
    name = config["config"]
    found = custom_object(config.get("registered_name") or name) or custom_object(name)
    if found is None:
        for ours in (activations, losses, metrics):
            found = vars(ours).get(name)
            if callable(found) and not name.startswith("_"):
                return found
        raise ValueError(
            f"Unknown function: {name!r}. A function of your own must be registered or passed in custom_objects."
        )
    return found


def _arguments(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    """A config of Keras's as arguments of a class here: what is off, and unknown here, is left out.

    Raises:
        ValueError: something unknown here is on.
    """
    accepted: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            accepted.update(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
    arguments = {}
    for key, value in _values(config).items():
        if key in accepted:
            arguments[key] = _nested(value)
        elif key not in _IDLE and value is not None and value is not False and value != "channels_last":
            raise ValueError(
                f"{cls.__name__} has no argument {key!r} here, and the file sets it to {reprlib.repr(value)}"
            )
    return arguments


def _nested(value: Any) -> Any:
    """Objects described within an argument, in the form in which the classes here take them."""
    if isinstance(value, list):
        return [_nested(part) for part in value]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    name = value["class_name"]
    own = custom_object(value.get("registered_name") or name) or custom_object(name)
    if name == "function" or own is not None or name in ("Functional", "Model"):
        return {"class_name": name, "config": value.get("config")}
    cls = _known_class(str(value.get("module") or ""), name)
    inner = value.get("config") or {}
    if cls is not models.Sequential:
        inner = _arguments(cls, inner)
    return {"class_name": name, "name": inner.get("name"), "config": inner}


def _sequential(arguments: dict[str, Any], config: dict[str, Any]) -> Any:
    model = models.Sequential(name=arguments.get("name"))
    for entry in config["layers"]:
        model.add(_restored(entry))
    shape = config.get("build_input_shape")
    if shape and model._graph is None and not any(isinstance(layer, layers.InputLayer) for layer in model._chain):
        model.build(tuple(shape))
    if not config.get("trainable", True):
        model.trainable = False
    return model


def functional_from_config(config: dict[str, Any]) -> Any:
    """The graph of layers that a config of Keras's describes.

    Keras notes `training: false` with every call of a layer that knows the argument, and lets a model that trains
    override it: it is taken at its word for models within the model only.

    Raises:
        ValueError: the config is malformed.
    """
    try:
        entries = config["layers"]
        made = {entry["name"]: _layer(entry) for entry in entries}
        tensors: dict[tuple, SymbolicTensor] = {}
        for name, layer in made.items():
            if isinstance(layer, layers.InputLayer):
                tensors[name, 0, 0] = layer.output
        waiting = [(entry["name"], i, node) for entry in entries for i, node in enumerate(entry["inbound_nodes"])]
        while waiting:
            late = []
            for name, number, node in waiting:
                if any(key not in tensors for key in _needed(node)) or (
                    number and (name, number - 1, 0) not in tensors
                ):
                    late.append((name, number, node))
                    continue
                args, kwargs = _filled(node["args"], tensors), _filled(node["kwargs"], tensors)
                outputs = _called(made[name], args, kwargs)
                for index, x in enumerate(flatten(outputs)):
                    tensors[name, number, index] = x
            if len(late) == len(waiting):
                raise ValueError(f"calls of {sorted({name for name, _, _ in late})} depend on what nothing makes")
            waiting = late

        def found(place: Any) -> Any:
            if isinstance(place, dict):
                return {key: found(part) for key, part in place.items()}
            if len(place) == 3 and isinstance(place[0], str) and isinstance(place[1], int):
                return tensors[tuple(place)]
            return [found(part) for part in place]

        inputs, outputs = found(config["input_layers"]), found(config["output_layers"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"config of a model is malformed: {error!r}") from error
    model = models.Model(inputs, outputs, name=config.get("name"))
    if not config.get("trainable", True):
        model.trainable = False
    return model


def _layer(entry: dict[str, Any]) -> Any:
    module, name = str(entry.get("module") or ""), entry["class_name"]
    if module in (_NUMPY, _NN) and name in _FUNCTIONS:
        function, keys = _FUNCTIONS[name]
        operation = Operation(function, name=entry["name"])
        config = _values(entry["config"])
        given = {key: config[_RENAMED.get(key, key)] for key in keys if _RENAMED.get(key, key) in config}
        return operation, {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    layer = _restored(entry)
    layer.name = entry["name"]
    return layer


def _called(layer: Any, args: list, kwargs: dict[str, Any]) -> Any:
    if isinstance(layer, tuple):  # a function and what its config holds
        operation, given = layer
        if operation.function == "getitem":
            args = [args[0], tuple(args[1]) if isinstance(args[1], list) else args[1]]
        return operation(*args, **kwargs, **given)
    if kwargs.get("training") is False and not isinstance(layer, models.Model):
        kwargs.pop("training")
    return layer(*args, **{key: value for key, value in kwargs.items() if value is not None})


def _needed(value: Any) -> list[tuple]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return [tuple(value["config"]["keras_history"])]
        return [key for part in value.values() for key in _needed(part)]
    return [key for part in value for key in _needed(part)] if isinstance(value, list) else []


def _filled(value: Any, tensors: dict[tuple, SymbolicTensor]) -> Any:
    """Arguments of a call with the tensors put in."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return tensors[tuple(value["config"]["keras_history"])]
        if "class_name" in value:
            return _restored(value)
        return {key: _filled(part, tensors) for key, part in value.items()}
    return [_filled(part, tensors) for part in value] if isinstance(value, list) else value
