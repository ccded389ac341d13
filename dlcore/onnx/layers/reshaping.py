def _same(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return x


def _flatten(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.op("Flatten", w.to(x), axis=1) if len(x.shape) != 2 else w.to(x), shape, x.dtype)


def _reshape(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(w.op("Reshape", w.to(x), w.ints(0, *(-1 if n is None else n for n in shape[1:]))), shape, x.dtype)


def _permute(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    return Value(x.name, shape, x.dtype, (x.order[0], *(x.order[axis] for axis in layer.dims)))


def _repeat(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    longer = w.op("Unsqueeze", w.to(x), w.ints(1))
    return Value(w.op("Expand", longer, w.ints(1, layer.n, 1)), shape, x.dtype)


def _zero_padding(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    (top, bottom), (left, right) = layer.padding
    name = w.op("Pad", w.image(x), w.ints(0, 0, top, left, 0, 0, bottom, right))
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _cropping(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    (top, bottom), (left, right) = layer.cropping
    ends = [2**31 if not margin else -margin for margin in (bottom, right)]
    name = w.op("Slice", w.image(x), w.ints(top, left), w.ints(*ends), w.ints(2, 3))
    return Value(name, shape, x.dtype, CHANNELS_FIRST)


def _upsampling(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    scales = w.constant(np.array([1, 1, *layer.size], np.float32))
    name = w.op(
        "Resize", w.image(x), "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    return Value(name, shape, x.dtype, CHANNELS_FIRST)
