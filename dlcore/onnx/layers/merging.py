def _merge(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, *inputs: Any) -> Value:
        *values, shape = inputs
        if any(len(x.shape) != len(shape) for x in values):
            raise ValueError(f"{layer._said} cannot be exported: its inputs differ in rank")
        return _merged(w, kind, values, shape)

    return write


def _merged(w: Writer, kind: str, values: list[Value], shape: Any) -> Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    names = [w.to(x, order) for x in values]
    if kind in ("Mean", "Max", "Min"):
        name = w.op(kind, *names)
    else:
        name = names[0]
        for other in names[1:]:
            name = w.op(kind, name, other)
    return Value(name, shape, values[0].dtype, order)


def _concatenate(w: Writer, layer: Any, *inputs: Any) -> Value:
    *values, shape = inputs
    return _joined(w, values, layer.axis, shape)


def _joined(w: Writer, values: list[Value], axis: int, shape: Any) -> Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    name = w.op("Concat", *(w.to(x, order) for x in values), axis=order[axis])
    return Value(name, shape, values[0].dtype, order)
