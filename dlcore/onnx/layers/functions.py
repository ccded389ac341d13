def _binary_function(kind: str, output: str | None = None) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, a: Any, b: Any) -> Value:
        values = [x for x in (a, b) if isinstance(x, Value)]
        plain = tuple(range(len(y.shape)))
        order = next((x.order for x in values if len(x.order) == len(plain)), plain)
        if any(len(x.order) != len(plain) for x in values):
            order = plain
        names = []
        for x in (a, b):
            if isinstance(x, Value):
                names.append(w.to(x, order if len(x.order) == len(order) else None))
                continue
            array = np.asarray(x, values[0].dtype)
            array = array.reshape((1,) * (len(plain) - array.ndim) + array.shape)
            names.append(w.constant(array.transpose([order.index(i) for i in plain])))
        return Value(w.op(kind, *names), y.shape, y.dtype, order)

    return write


def _unary_function(write: Callable[[Writer, str, np.dtype], str]) -> Callable[..., Value]:
    return lambda w, y, x: Value(write(w, x.name, x.dtype), y.shape, y.dtype, x.order)


def _op(kind: str) -> Callable[[Writer, str, np.dtype], str]:
    return lambda w, x, t: w.op(kind, x)


def _reduction(kind: str) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
        axes = list(range(len(x.shape))) if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
        axes = [a % len(x.shape) for a in axes]
        return Value(w.op(kind, w.to(x), w.ints(*axes), keepdims=int(keepdims)), y.shape, y.dtype)

    return write


def _reshape_function(w: Writer, y: SymbolicTensor, x: Value, shape: Any) -> Value:
    lengths = [int(n) for n in (shape if isinstance(shape, (list, tuple)) else [shape])]
    return Value(w.op("Reshape", w.to(x), w.ints(*lengths)), y.shape, y.dtype)


def _transpose_function(w: Writer, y: SymbolicTensor, x: Value, axes: Any = None) -> Value:
    axes = list(range(len(x.shape)))[::-1] if axes is None else [a % len(x.shape) for a in axes]
    return Value(x.name, y.shape, y.dtype, [x.order[a] for a in axes])


def _getitem_function(w: Writer, y: SymbolicTensor, x: Value, key: Any) -> Value:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (len(x.shape) - len(keys) + 1)
    if any(k is None for k in keys):
        raise TypeError("an index that holds None")
    starts, ends, axes, steps, dropped = [], [], [], [], []
    for axis, k in enumerate(keys):
        if isinstance(k, slice):
            step = 1 if k.step is None else int(k.step)
            if k == slice(None):
                continue
            starts.append((2**31 if step < 0 else 0) if k.start is None else int(k.start))
            ends.append((-(2**31) if step < 0 else 2**31) if k.stop is None else int(k.stop))
        else:
            step = 1
            starts.append(int(k))
            ends.append(2**31 if k == -1 else int(k) + 1)
            dropped.append(axis)
        axes.append(axis)
        steps.append(step)
    name = w.to(x)
    if axes:
        name = w.op("Slice", name, w.ints(*starts), w.ints(*ends), w.ints(*axes), w.ints(*steps))
    return Value(w.op("Squeeze", name, w.ints(*dropped)) if dropped else name, y.shape, y.dtype)


def _places(kind: str) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, x: Value, axis: Any) -> Value:
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        return Value(w.op(kind, w.to(x), w.ints(*axes)), y.shape, y.dtype)

    return write


def _softmax_function(kind: str) -> Callable[..., Value]:
    return lambda w, y, x, axis=-1: Value(w.op(kind, x.name, axis=x.order[axis]), y.shape, y.dtype, x.order)


def _flatten_function(w: Writer, y: SymbolicTensor, x: Value) -> Value:
    return Value(w.op("Flatten", w.to(x), axis=1), y.shape, y.dtype)


def _concatenate_function(w: Writer, y: SymbolicTensor, tensors: list[Value], axis: int = -1) -> Value:
    return _joined(w, tensors, axis, y.shape)


def _stack_function(w: Writer, y: SymbolicTensor, tensors: list[Value], axis: int = 0) -> Value:
    place = axis % len(y.shape)
    longer = [w.op("Unsqueeze", w.to(x), w.ints(place)) for x in tensors]
    return Value(w.op("Concat", *longer, axis=place), y.shape, y.dtype)


def _matmul_function(w: Writer, y: SymbolicTensor, a: Any, b: Any) -> Value:
    names = [w.to(x) if isinstance(x, Value) else w.constant(np.asarray(x)) for x in (a, b)]
    return Value(w.op("MatMul", *names), y.shape, y.dtype)


def _clip_function(w: Writer, y: SymbolicTensor, x: Value, x_min: float, x_max: float) -> Value:
    return Value(w.clipped(x.name, float(x_min), float(x_max), x.dtype), y.shape, y.dtype, x.order)


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": _unary_function(_op("Abs")),
    "add": _binary_function("Add"),
    "clip": _clip_function,
    "concatenate": _concatenate_function,
    "cos": _unary_function(_op("Cos")),
    "divide": _binary_function("Div"),
    "equal": _binary_function("Equal"),
    "exp": _unary_function(_op("Exp")),
    "expand_dims": _places("Unsqueeze"),
    "flatten": _flatten_function,
    "getitem": _getitem_function,
    "greater": _binary_function("Greater"),
    "greater_equal": _binary_function("GreaterOrEqual"),
    "less": _binary_function("Less"),
    "less_equal": _binary_function("LessOrEqual"),
    "log": _unary_function(_op("Log")),
    "log_softmax": _softmax_function("LogSoftmax"),
    "matmul": _matmul_function,
    "max": _reduction("ReduceMax"),
    "maximum": _binary_function("Max"),
    "mean": _reduction("ReduceMean"),
    "min": _reduction("ReduceMin"),
    "minimum": _binary_function("Min"),
    "multiply": _binary_function("Mul"),
    "neg": _unary_function(_op("Neg")),
    "power": _binary_function("Pow"),
    "reciprocal": _unary_function(_op("Reciprocal")),
    "reshape": _reshape_function,
    "sign": _unary_function(_op("Sign")),
    "sin": _unary_function(_op("Sin")),
    "softmax": _softmax_function("Softmax"),
    "sqrt": _unary_function(_op("Sqrt")),
    "square": _unary_function(lambda w, x, t: w.op("Mul", x, x)),
    "squeeze": _places("Squeeze"),
    "stack": _stack_function,
    "subtract": _binary_function("Sub"),
    "sum": _reduction("ReduceSum"),
    "transpose": _transpose_function,
    **{
        name: _unary_function(_ACTIVATIONS[name])
        for name in ("relu", "relu6", "sigmoid", "tanh", "selu", "exponential", "softplus", "softsign", "silu",
                     "hard_sigmoid", "gelu")
    },
}  # fmt: skip
