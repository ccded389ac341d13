"""The course's networks on real images: an MLP, LeNet-5, an LSTM that reads rows, and a small VGG with batch
normalisation, dropout and augmentation on Fashion-MNIST; a small CNN on handwritten digits.

    python examples/15_real_images.py [mlp] [lenet5] [lstm] [vgg] [digits] [--seed N] [--log]

Without a name it trains them all, which takes about a quarter of an hour on two cores. Every tenth training image is
kept back: the recipes below were chosen by the accuracy on these. The test set is looked at once, after training.

Data: Fashion-MNIST (see dlcore.datasets.fashion_mnist for where it is looked for); handwritten digits (in the package).
DLCORE_SHORT=1: 256 images, one epoch.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import dlcore as dl
from dlcore import applications, datasets, layers, losses, optimizers, preprocessing


def lenet5() -> dl.Sequential:
    """As it is, behind a layer that mirrors half of the images in training."""
    first = [layers.Input((28, 28, 1)), layers.RandomFlip("horizontal")]
    return dl.Sequential([*first, applications.LeNet5((28, 28, 1))])


def lstm() -> dl.Sequential:
    """28 steps, a row of pixels each; what is known after the last row decides."""
    return dl.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Reshape((28, 28)),
            layers.LSTM(128),
            layers.Dense(10, activation="softmax"),
        ]
    )


def small_vgg(size: int, channels: tuple[int, ...], flip: bool, shift: float) -> dl.Sequential:
    """Blocks of two 3 × 3 convolutions, each normalised; every block halves the image."""
    chain: list[layers.Layer] = [layers.Input((size, size, 1))]
    if flip:
        chain.append(layers.RandomFlip("horizontal"))
    chain.append(layers.RandomTranslation(shift, shift, fill_mode="constant"))
    for block, filters in enumerate(channels):
        for _ in range(2):
            chain += [
                layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
            ]
        if block + 1 < len(channels):
            chain += [layers.MaxPooling2D(2), layers.Dropout(0.1)]
    chain += [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(10, activation="softmax")]
    return dl.Sequential(chain)


class Recipe(NamedTuple):
    """A network and how it is trained. The rate rises for a tenth of the steps, then falls to 0 along half a cosine."""

    build: Callable[[], dl.Model]
    optimizer: Callable[..., optimizers.Optimizer]
    rate: float
    batch: int
    epochs: int
    smoothing: float = 0.0


def sgd(rate: optimizers.schedules.LearningRateSchedule) -> optimizers.Optimizer:
    return optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.005)


RECIPES = {
    "mlp": Recipe(lambda: applications.MLP((28, 28, 1)), optimizers.Adam, 0.001, 128, 12),
    "lenet5": Recipe(lenet5, sgd, 0.05, 64, 20),
    "lstm": Recipe(lstm, optimizers.Adam, 0.003, 128, 10),
    "vgg": Recipe(lambda: small_vgg(28, (32, 64, 128), True, 0.08), sgd, 0.1, 128, 40, 0.1),
    "digits": Recipe(lambda: small_vgg(8, (32, 64), False, 0.13), optimizers.Adam, 0.003, 32, 40, 0.1),
}


def data(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(images in 0 … 1 `[N, H, W, 1]`, labels one-hot `[N, 10]`) to learn from, kept back, and to test on."""
    source = datasets.digits if name == "digits" else datasets.fashion_mnist
    (x, y), test = source.load_data()
    kept = np.arange(len(x)) % 10 == 9
    parts = [(x[~kept], y[~kept]), (x[kept], y[kept]), test]
    if os.environ.get("DLCORE_SHORT"):
        parts = [(images[:256], labels[:256]) for images, labels in parts]
    if name != "digits":
        parts = [(images[..., None].astype(np.float32) / 255, labels) for images, labels in parts]
    return [(images, preprocessing.to_categorical(labels, 10)) for images, labels in parts]


def run(name: str, seed: int, log: bool) -> None:
    recipe = RECIPES[name]
    (x, y), kept, test = data(name)
    epochs = 1 if os.environ.get("DLCORE_SHORT") else recipe.epochs
    steps = epochs * -(-len(x) // recipe.batch)
    warmup = steps // 10
    rate = optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=recipe.rate, warmup_steps=warmup
    )  # fmt: skip
    dl.set_random_seed(seed)
    model = recipe.build()
    loss = losses.CategoricalCrossentropy(label_smoothing=recipe.smoothing)
    model.compile(recipe.optimizer(rate), loss, metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(x, y, batch_size=recipe.batch, epochs=epochs, verbose=2 if log else 0)
    seconds = time.perf_counter() - start
    held_out, tested = (model.evaluate(*part, batch_size=256, verbose=0)[1] for part in (kept, test))
    print(
        f"{name:7} {dl.backend():7} seed {seed}  {model.count_params():7,} parameters  {epochs:2} epochs in "
        f"{seconds:6.1f} s  kept back {held_out:.4f}  test {tested:.4f}",
        flush=True,
    )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--log", action="store_true", help="a line for each epoch")
options = parser.parse_args()
unknown = [name for name in options.names if name not in RECIPES]
if unknown:
    parser.error(f"there is no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}")
for name in options.names or RECIPES:
    run(name, options.seed, options.log)
