"""Attention: outputs, weights, gradients, masks and training are Keras's; models with it are saved and recorded."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracle import keras, torch

import dlcore as dl
from dlcore import layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T, S, D = 3, 5, 4, 6
QUERY_MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0]], bool)
VALUE_MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], bool)
PAIRS = np.random.default_rng(5).random((N, T, S)) < 0.6
PAIRS[:, :4, 0] = PAIRS[:, 4, :3] = True  # whatever else holds, every query attends to something
HEADED = [
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}),
    ("MultiHeadAttention", {"num_heads": 3, "key_dim": 2, "value_dim": 4, "use_bias": False, "output_shape": 7}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "output_shape": (2, 3)}),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "use_gate": True, "sliding_window": 4}),
    ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}),
    ("GroupQueryAttention", {"head_dim": 2, "num_query_heads": 3, "num_key_value_heads": 1, "use_gate": True}),
]
CALLS = [
    {},
    {"attention_mask": PAIRS},
    {"attention_mask": PAIRS[:, None]},
    {"value_mask": VALUE_MASK},
    {"use_causal_mask": True},
    {"use_causal_mask": True, "value_mask": VALUE_MASK, "attention_mask": PAIRS},
]


def _data(rng, *shapes):
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def _pair(kind, arguments, *shapes):
    """Ours and Keras's layer, built for these shapes, with the same weights, all of them random."""
    rng = np.random.default_rng(0)
    ours, theirs = getattr(layers, kind)(**arguments), getattr(keras.layers, kind)(**arguments)
    for layer in (ours, theirs):
        layer.build(*shapes)
    assert [tuple(w.shape) for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    values = [rng.uniform(-0.9, 0.9, w.shape).astype("float32") for w in theirs.weights]
    ours.set_weights(values), theirs.set_weights(values)
    return ours, theirs


def _agree(ours, theirs, our_inputs, their_inputs, our_outputs, their_outputs):
    for a, b in zip(our_outputs, their_outputs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=2e-4, atol=2e-6)
    rng = np.random.default_rng(1)
    factor = rng.normal(size=our_outputs[0].shape).astype("float32")
    (our_outputs[0] * factor).sum().backward()
    (their_outputs[0] * torch.tensor(factor)).sum().backward()
    for a, b in zip(our_inputs, their_inputs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2e-4, atol=1e-5)
    for a, b in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_allclose(a.grad, b.value.grad.numpy(), rtol=2e-4, atol=2e-5, err_msg=a.path)


def _masks(call, convert):
    return {key: convert(value) if isinstance(value, np.ndarray) else value for key, value in call.items()}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: "-".join(call) or "plain")
@pytest.mark.parametrize("scores", [False, True], ids=["", "scores"])
@pytest.mark.parametrize(("kind", "arguments"), HEADED, ids=lambda part: part if isinstance(part, str) else "")
def test_headed(active_backend, kind, arguments, scores, call):
    rng = np.random.default_rng(2)
    shapes = (N, T, D), (N, S, D)
    ours, theirs = _pair(kind, arguments, *shapes)
    data = _data(rng, *shapes)
    our_inputs = [dl.Tensor(x, requires_grad=True) for x in data]
    their_inputs = [torch.tensor(x, requires_grad=True) for x in data]
    got = ours(*our_inputs, return_attention_scores=scores, **_masks(call, np.asarray))
    expected = theirs(*their_inputs, return_attention_scores=scores, **_masks(call, torch.tensor))
    got, expected = (list(x) if scores else [x] for x in (got, expected))
    _agree(ours, theirs, our_inputs, their_inputs, got, expected)


def test_key_of_its_own(active_backend):
    rng = np.random.default_rng(2)
    shapes = (N, T, D), (N, S, D), (N, S, 2)
    ours, theirs = _pair("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, *shapes)
    data = _data(rng, *shapes)
    our_inputs = [dl.Tensor(x, requires_grad=True) for x in data]
    their_inputs = [torch.tensor(x, requires_grad=True) for x in data]
    call = {"key_mask": VALUE_MASK}
    got = ours(*our_inputs, **_masks(call, np.asarray))
    expected = theirs(*their_inputs, **_masks(call, torch.tensor))
    _agree(ours, theirs, our_inputs, their_inputs, [got], [expected])


@pytest.mark.parametrize(
    "call",
    [{}, {"use_causal_mask": True}, {"mask": [None, VALUE_MASK]}, {"mask": [QUERY_MASK, VALUE_MASK]},
     {"mask": [QUERY_MASK, VALUE_MASK], "use_causal_mask": True}],
    ids=lambda call: "-".join(call) or "plain",
)  # fmt: skip
@pytest.mark.parametrize("key", [False, True], ids=["", "key"])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("Attention", {}), ("Attention", {"use_scale": True}), ("Attention", {"score_mode": "concat"}),
     ("Attention", {"score_mode": "concat", "use_scale": True}), ("AdditiveAttention", {}),
     ("AdditiveAttention", {"use_scale": False})],
)  # fmt: skip
def test_without_heads(active_backend, kind, arguments, key, call):
    rng = np.random.default_rng(2)
    shapes = [(N, T, D), (N, S, 2 if key else D), *([(N, S, D)] if key else [])]
    ours, theirs = _pair(kind, arguments, shapes)
    data = _data(rng, *shapes)
    our_inputs = [dl.Tensor(x, requires_grad=True) for x in data]
    their_inputs = [torch.tensor(x, requires_grad=True) for x in data]

    def masks(convert):
        given = {**call}
        if "mask" in call:
            given["mask"] = [None if m is None else convert(m) for m in call["mask"]]
        return given

    got = ours(our_inputs, return_attention_scores=True, **masks(np.asarray))
    expected = theirs(their_inputs, return_attention_scores=True, **masks(torch.tensor))
    _agree(ours, theirs, our_inputs, their_inputs, list(got), list(expected))


def _transformer(k, **attention):
    """Tokens with a mask, self-attention with a residual, and attention of the mean's kind at the end."""
    tokens = k.layers.Input((T,), dtype="int32", name="tokens")
    other = k.layers.Input((S, 3), name="other")
    x = k.layers.Embedding(9, D, mask_zero=True, name="embedding")(tokens)
    y = k.layers.MultiHeadAttention(2, 4, name="self", **attention)(x, x, use_causal_mask=True)
    x = k.layers.LayerNormalization(name="norm")(k.layers.Add(name="add")([x, y]))
    x = k.layers.MultiHeadAttention(2, 3, name="cross", kernel_constraint="unit_norm")(query=x, value=other)
    x = k.layers.GlobalAveragePooling1D(name="mean")(x)
    return k.Model([tokens, other], k.layers.Dense(2, name="out")(x))


TOKENS = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [2, 3, 0, 0, 0], [8, 1, 2, 3, 0]], "int32")
OTHER = np.random.default_rng(3).normal(size=(4, S, 3)).astype("float32")
Y = np.random.default_rng(4).normal(size=(4, 2)).astype("float32")


def test_functional_model_trains_like_keras(active_backend):
    """Five steps, with masks that come from the embedding and travel through the layers."""
    keras.utils.set_random_seed(0)
    theirs, ours = _transformer(keras), _transformer(dl)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    assert ours.output_shape == theirs.output_shape
    ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
    for k, model in ((keras, theirs), (dl, ours)):
        model.compile(k.optimizers.SGD(0.02, momentum=0.5), "mse")
    for _ in range(5):
        losses = [float(np.asarray(m.train_on_batch([TOKENS, OTHER], Y))) for m in (ours, theirs)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), np.asarray(b), atol=2e-4, err_msg=a.path)


def test_replay_gives_the_bits_of_eager(active_backend):
    weights = []
    for eagerly in (True, False):
        dl.set_random_seed(3)
        model = _transformer(dl, dropout=0.3)
        model.compile("adam", "mse", run_eagerly=eagerly)
        for _ in range(5):
            model.train_on_batch([TOKENS, OTHER], Y)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_saving(tmp_path):
    model = _transformer(dl)
    model.save(tmp_path / "model.safetensors")
    twin = dl.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(model.predict([TOKENS, OTHER], verbose=0), twin.predict([TOKENS, OTHER], verbose=0))


def test_weights_of_keras_files(tmp_path):
    theirs, ours = _transformer(keras, use_gate=True), _transformer(dl, use_gate=True)
    theirs.save_weights(tmp_path / "model.weights.h5")
    report = dl.io.load_keras_weights(ours, tmp_path / "model.weights.h5")
    assert len(report["loaded"]) == len(ours.weights)
    assert report["unused"] == []
    np.testing.assert_allclose(
        ours.predict([TOKENS, OTHER], verbose=0), theirs.predict([TOKENS, OTHER], verbose=0), rtol=1e-4, atol=1e-6
    )


def test_subclassed_model():
    class Block(dl.Model):
        def __init__(self):
            super().__init__()
            self.attention = layers.MultiHeadAttention(2, 3, dropout=0.2)
            self.out = layers.Dense(1)

        def call(self, x, training=None):
            return self.out(self.attention(x, x, training=training))

    model = Block()
    model.compile("adam", "mse")
    x, y = _data(np.random.default_rng(0), (8, T, D), (8, T, 1))
    losses = model.fit(x, y, epochs=30, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("kind", "arguments"), [*HEADED, ("Attention", {"use_scale": True}), ("AdditiveAttention", {})]
)
def test_config(kind, arguments):
    given = {**arguments, "dropout": 0.25, "seed": 3} if kind != "AdditiveAttention" else {**arguments, "dropout": 0.25}
    ours, theirs = getattr(layers, kind)(**given), getattr(keras.layers, kind)(**given)
    config = json.loads(json.dumps(layers.serialize(ours)))
    twin = layers.deserialize(config)
    assert layers.serialize(twin) == config
    expected = theirs.get_config()
    assert set(ours.get_config()) >= set(expected) - {"dtype"}
    for key, value in expected.items():
        if isinstance(value, (int, float, bool)):
            assert ours.get_config()[key] == value, key


def test_dropout_of_the_weights():
    """In training only; the weights that are given are those before it."""
    x = np.random.default_rng(0).normal(size=(2, T, D)).astype("float32")
    layer = layers.MultiHeadAttention(2, 3, dropout=0.5, seed=1)
    still, weights = layer(x, x, return_attention_scores=True)
    np.testing.assert_array_equal(layer(x, x, training=False), still)
    moved, kept = layer(x, x, return_attention_scores=True, training=True)
    np.testing.assert_array_equal(kept, weights)
    assert not np.allclose(moved, still)
    np.testing.assert_allclose(weights.numpy().sum(-1), 1, rtol=1e-6)


def test_masked_values_do_not_count():
    rng = np.random.default_rng(0)
    query, value = _data(rng, (N, T, D), (N, S, D))
    for layer in (layers.MultiHeadAttention(2, 3), layers.GroupQueryAttention(3, 4, 2)):
        first = layer(query, value, value_mask=VALUE_MASK).numpy()
        changed = np.where(VALUE_MASK[..., None], value, 100 * value)
        np.testing.assert_array_equal(layer(query, changed, value_mask=VALUE_MASK).numpy(), first)


def test_mask_of_the_output():
    x = layers.Masking()(np.where(QUERY_MASK[..., None], np.ones((N, T, D), "float32"), 0))
    output, weights = layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)
    np.testing.assert_array_equal(np.asarray(output.mask), QUERY_MASK)
    assert weights.mask is None
    assert layers.Attention()([x, x]).mask is not None


def test_symbolic_scores():
    query, value = layers.Input((T, D)), layers.Input((S, D))
    output, weights = layers.MultiHeadAttention(2, 3, output_shape=7)(query, value, return_attention_scores=True)
    assert (output.shape, weights.shape) == ((None, T, 7), (None, 2, T, S))
    output, weights = layers.Attention()([query, value], return_attention_scores=True)
    assert (output.shape, weights.shape) == ((None, T, D), (None, T, S))


def test_attention_mask_as_an_input_of_a_model():
    query, mask = layers.Input((T, D)), layers.Input((T, T), dtype="bool")
    layer = layers.MultiHeadAttention(2, 3)
    model = dl.Model([query, mask], layer(query, query, attention_mask=mask))
    (x,) = _data(np.random.default_rng(0), (N, T, D))
    pairs = np.tril(np.ones((N, T, T), bool))
    np.testing.assert_array_equal(model([x, pairs]), layer(x, x, use_causal_mask=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.MultiHeadAttention(0, 3), "num_heads of MultiHeadAttention must be a positive"),
        (lambda: layers.MultiHeadAttention(2, -1), "key_dim of MultiHeadAttention must be"),
        (lambda: layers.MultiHeadAttention(2, 3, value_dim=0), "value_dim of MultiHeadAttention must be"),
        (lambda: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), r"attention_axes .* None or 1, got \(1, 2\)"),
        (lambda: layers.MultiHeadAttention(2, 3, dropout=2), "rate of Dropout must be a number in 0 … 1, got 2"),
        (lambda: layers.MultiHeadAttention(2, 3, sliding_window=0), "sliding_window of MultiHeadAttention must be"),
        (lambda: layers.MultiHeadAttention(2, 3, flash_attention=True), "flash_attention .* must be False"),
        (lambda: layers.GroupQueryAttention(2, 3, 2), "must be a multiple of num_key_value_heads, got 3 and 2"),
        (lambda: layers.Attention(score_mode="cosine"), "score_mode of Attention must be one of 'dot', 'concat'"),
        (lambda: layers.Attention()(np.zeros((2, 3, 4), "float32")), r"expected a list \[query, value\]"),
        (
            lambda: layers.Attention()([np.zeros((2, 3, 4), "float32")] * 2, mask=np.ones((2, 3), bool)),
            "mask of layer .* must be a list",
        ),
        (
            lambda: layers.MultiHeadAttention(2, 3)(np.zeros((2, 3, 4, 5), "float32"), np.zeros((2, 3, 4), "float32")),
            r"expected a query \[N, T, D\] of rank 3, got shape \(2, 3, 4, 5\)",
        ),
        (
            lambda: layers.MultiHeadAttention(2, 3)(*(np.zeros((2, n, 4), "float32") for n in (3, 4, 5))),
            r"as many values as keys, got value \(2, 4, 4\), key \(2, 5, 4\)",
        ),
        (lambda: layers.EinsumDense("ab,bc->cb", 3), "equation of EinsumDense must have the form"),
        (lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="b"), "must be among 'ac', got 'b'"),
        (lambda: layers.EinsumDense("ab,bc->ac", (3, 4))(np.zeros((2, 3), "float32")), "output_shape of .* of c, got"),
        (lambda: layers.EinsumDense("ab,bc->ac", 3)(np.zeros((2, 3, 4), "float32")), "an input with the axes 'ab'"),
    ],
)  # fmt: skip
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
