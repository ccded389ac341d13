"""Augmentation: against SciPy's resampling and plain NumPy; in training only; the same numbers from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import functional as F
from dlcore import layers
from dlcore.tensor import as_tensor

pytestmark = pytest.mark.usefixtures("active_backend")

RNG = np.random.default_rng(8)
IMAGES = RNG.standard_normal((5, 9, 12, 2))  # float64
MODES = {"reflect": "reflect", "nearest": "nearest", "wrap": "grid-wrap", "constant": "grid-constant"}  # SciPy's names


def scipy_affine(x, matrix, offset, fill_mode, order, fill_value=0.0):
    """x `[H, W, C]` read at matrix · (row, column) + offset, both counted from the middle."""
    ndimage = pytest.importorskip("scipy.ndimage", reason="SciPy is what the resampling is held against")
    middle = (np.array(x.shape[:2]) - 1) / 2
    whole = np.asarray(offset) + middle - np.asarray(matrix) @ middle
    planes = [
        ndimage.affine_transform(x[..., c], matrix, whole, order=order, mode=MODES[fill_mode], cval=fill_value)
        for c in range(x.shape[-1])
    ]
    return np.stack(planes, -1)


def in_training(layer, x=IMAGES):
    return layer(x, training=True).numpy()


# ---- the three affine layers, at a known amount ----------------------------------------------------------------------


@pytest.mark.parametrize("fill_mode", MODES)
@pytest.mark.parametrize("turn", [0.05, -0.3, 0.5])
def test_rotation(fill_mode, turn):
    y = in_training(layers.RandomRotation((turn, turn), fill_mode, fill_value=0.7, dtype="float64"))
    sine, cosine = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    expected = [scipy_affine(x, [[cosine, sine], [-sine, cosine]], 0, fill_mode, 1, 0.7) for x in IMAGES]
    np.testing.assert_allclose(y, expected, atol=1e-9)


def test_positive_angles_turn_counter_clockwise():
    x = IMAGES[:, :9, :9]
    y = in_training(layers.RandomRotation((0.25, 0.25), dtype="float64"), x)
    np.testing.assert_allclose(y, np.rot90(x, axes=(1, 2)), atol=1e-9)


@pytest.mark.parametrize("fill_mode", MODES)
@pytest.mark.parametrize("shares", [(0.3, -0.2), (-1.0, 1.0), (0.0, 0.55)])
def test_translation(fill_mode, shares):
    down, right = shares
    layer = layers.RandomTranslation((down, down), (right, right), fill_mode, fill_value=-1.0, dtype="float64")
    expected = [scipy_affine(x, np.eye(2), (-9 * down, -12 * right), fill_mode, 1, -1.0) for x in IMAGES]
    np.testing.assert_allclose(in_training(layer), expected, atol=1e-9)


def test_positive_shifts_go_down_and_right():
    layer = layers.RandomTranslation((1 / 9, 1 / 9), (0.25, 0.25), "constant", "nearest", dtype="float64")
    expected = np.zeros_like(IMAGES)
    expected[:, 1:, 3:] = IMAGES[:, :-1, :-3]
    np.testing.assert_array_equal(in_training(layer), expected)


@pytest.mark.parametrize("fill_mode", MODES)
@pytest.mark.parametrize(("high", "wide"), [(-0.4, 0.5), (2.5, None), (-0.5, -0.1)])
def test_zoom(fill_mode, high, wide):
    layer = layers.RandomZoom((high, high), None if wide is None else (wide, wide), fill_mode, dtype="float64")
    matrix = np.diag([1 + high, 1 + (high if wide is None else wide)])
    expected = [scipy_affine(x, matrix, 0, fill_mode, 1) for x in IMAGES]
    np.testing.assert_allclose(in_training(layer), expected, atol=1e-9)


@pytest.mark.parametrize("fill_mode", MODES)
def test_nearest(fill_mode):
    turn = 0.07
    layer = layers.RandomRotation((turn, turn), fill_mode, "nearest", dtype="float64")
    sine, cosine = np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)
    expected = [scipy_affine(x, [[cosine, sine], [-sine, cosine]], 0, fill_mode, 0) for x in IMAGES]
    np.testing.assert_allclose(in_training(layer), expected, atol=1e-9)


# ---- flips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_flip(mode):
    dl.set_random_seed(1)
    x = RNG.standard_normal((400, 3, 4, 1)).astype(np.float32)
    y = in_training(layers.RandomFlip(mode), x)
    across, down = [False, True] if "horizontal" in mode else [False], [False, True] if "vertical" in mode else [False]
    counts = []
    for a in across:
        for d in down:
            flipped = x[:, :: -1 if d else 1, :: -1 if a else 1]
            counts.append(int((flipped == y).all(axis=(1, 2, 3)).sum()))
    assert sum(counts) == len(x)
    expected = len(x) / len(counts)
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in counts)


# ---- all of them -----------------------------------------------------------------------------------------------------

RANDOM = {
    "flip": lambda **kwargs: layers.RandomFlip(**kwargs),
    "rotation": lambda **kwargs: layers.RandomRotation(0.2, **kwargs),
    "translation": lambda **kwargs: layers.RandomTranslation(0.3, (0.1, 0.2), **kwargs),
    "zoom": lambda **kwargs: layers.RandomZoom((-0.3, 0.2), 0.1, **kwargs),
}


@pytest.mark.parametrize("name", RANDOM)
def test_only_in_training(name):
    layer, x = RANDOM[name](), IMAGES.astype(np.float32)
    assert np.array_equal(layer(x).numpy(), x)
    assert np.array_equal(layer(x, training=False).numpy(), x)
    assert not np.array_equal(in_training(layer, x), x)
    assert layer.compute_output_shape((None, 9, 12, 2)) == (None, 9, 12, 2)


@pytest.mark.parametrize("name", RANDOM)
def test_each_image_by_itself_and_each_call_anew(name):
    layer, x = RANDOM[name](seed=4), np.repeat(IMAGES[:1], 16, axis=0)
    first, second = in_training(layer, x), in_training(layer, x)
    assert not np.array_equal(first, second)
    assert len({image.tobytes() for image in first}) > (1 if name == "flip" else 15)


@pytest.mark.parametrize("name", RANDOM)
def test_the_seed_decides(name):
    x = IMAGES.astype(np.float32)
    results = [[in_training(layer, x) for _ in range(2)] for layer in (RANDOM[name](seed=s) for s in (3, 3, 5))]
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    with dl.use_backend("numpy"):
        np.testing.assert_allclose([in_training(RANDOM[name](seed=3), x)], results[0][:1], atol=1e-4)


@pytest.mark.parametrize("name", RANDOM)
def test_gradients_pass(name):
    """The layers are linear in the image: the gradient of ⟨g, layer(x)⟩ must give ⟨grad, v⟩ = ⟨g, layer(v)⟩."""
    make = lambda: RANDOM[name](seed=9, dtype="float64")  # noqa: E731
    x = as_tensor(IMAGES.copy())
    x.requires_grad = True
    g, v = RNG.standard_normal((2, *IMAGES.shape))
    F.sum(make()(x, training=True) * g).backward()
    gradient = x.grad.numpy() if hasattr(x.grad, "numpy") else np.asarray(x.grad)
    np.testing.assert_allclose((gradient * v).sum(), (in_training(make(), v) * g).sum(), rtol=1e-9)


def test_they_train_and_are_saved(tmp_path):
    dl.set_random_seed(0)
    chain = [layers.Input((9, 12, 2)), layers.Resizing(8, 8), *(make(seed=1) for make in RANDOM.values())]
    model = dl.Sequential([*chain, layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.tile(IMAGES, (4, 1, 1, 1)).astype(np.float32), np.arange(20) % 3
    losses = model.fit(x, y, batch_size=5, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    model.save(tmp_path / "m.safetensors")
    twin = dl.load_model(tmp_path / "m.safetensors")
    assert np.array_equal(twin.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [layer.get_config() for layer in twin.layers] == [layer.get_config() for layer in model.layers]


# ---- resizing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 5), (18, 12), (9, 30), (1, 1), (9, 12)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_resizing_beside_pytorch(size, interpolation):
    torch = pytest.importorskip("torch", reason="PyTorch is what resizing is held against")
    y = layers.Resizing(*size, interpolation=interpolation, dtype="float64")(IMAGES)
    how = {"mode": "bilinear", "align_corners": False} if interpolation == "bilinear" else {"mode": "nearest-exact"}
    expected = torch.nn.functional.interpolate(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), size, **how)
    np.testing.assert_allclose(y.numpy(), expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)
    assert y.shape == layers.Resizing(*size).compute_output_shape(IMAGES.shape)


def test_resizing_keeps_proportions():
    whole = layers.Resizing(6, 6, dtype="float64")
    cropped = layers.Resizing(6, 6, crop_to_aspect_ratio=True, dtype="float64")(IMAGES).numpy()
    np.testing.assert_allclose(cropped, whole(IMAGES[:, :, 1:10]).numpy())
    padded = layers.Resizing(6, 6, pad_to_aspect_ratio=True, fill_value=2.0, dtype="float64")(IMAGES).numpy()
    margins = ((0, 0), (1, 1), (0, 0), (0, 0))  # three rows are wanting, but both sides get as much
    np.testing.assert_allclose(padded, whole(np.pad(IMAGES, margins, constant_values=2.0)).numpy())


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.RandomFlip("diagonal"), "mode of RandomFlip must be one of"),
        (lambda: layers.RandomRotation(-0.1), "factor of RandomRotation must be a number ≥ 0 or two"),
        (lambda: layers.RandomRotation((0.2, 0.1)), "two numbers"),
        (lambda: layers.RandomRotation("much"), "got 'much'"),
        (lambda: layers.RandomTranslation(1.5, 0), "height_factor of RandomTranslation .* from -1 to 1"),
        (lambda: layers.RandomZoom(0.1, (-2, 0)), "width_factor of RandomZoom .* from -1"),
        (lambda: layers.RandomZoom(0.1, fill_mode="mirror"), "fill_mode of RandomZoom must be one of"),
        (lambda: layers.RandomZoom(0.1, interpolation="cubic"), "interpolation of RandomZoom"),
        (lambda: layers.Resizing(0, 4), "height of Resizing"),
        (lambda: layers.Resizing(4, 4, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "not both"),
        (lambda: layers.RandomFlip(data_format="channels_first"), "channels_last"),
    ],
)
def test_mistakes(make, words):
    with pytest.raises(ValueError, match=words):
        make()
