def _pool(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
        return _image(w, layer, w.op(kind, w.image(x), **_window(layer, layer.pool_size)), shape, x)

    return write


def _global_pool(kind: str) -> Callable[..., Value]:
    def write(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
        name = w.op(kind, w.image(x))
        if layer.keepdims:
            return Value(name, shape, x.dtype, CHANNELS_FIRST)
        return Value(w.op("Flatten", name, axis=1), shape, x.dtype)

    return write
