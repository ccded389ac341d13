"""Chapter 8, second half: transfer learning. A network learns eight kinds of clothes; then, frozen and with a new head,
the other two (shirt and T-shirt, the hardest to tell apart) from 100 images, beside a network that begins from nothing.

Data: Fashion-MNIST (see dlcore.datasets.fashion_mnist for where it is looked for). DLCORE_SHORT=1: less of it.
"""

import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

NEW = (0, 6)  # T-shirt/top, Shirt
short = bool(os.environ.get("DLCORE_SHORT"))
(x, y), (xt, yt) = datasets.fashion_mnist.load_data()
x, xt = (part[..., None].astype(np.float32) / 255 for part in (x, xt))


def features(name: str) -> dl.Sequential:
    return dl.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
        ],
        name=name,
    )


def with_head(body: dl.Model, classes: int, rate: float) -> dl.Sequential:
    model = dl.Sequential([layers.Input((28, 28, 1)), body, layers.Dense(classes, activation="softmax")])
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


dl.set_random_seed(0)
old = np.flatnonzero(~np.isin(y, NEW))[: 2000 if short else 20_000]
numbers = np.zeros(10, np.int64)
numbers[[c for c in range(10) if c not in NEW]] = np.arange(8)
body = features("trained_on_eight")
first = with_head(body, 8, 0.001)
log = first.fit(x[old], numbers[y[old]], batch_size=64, epochs=1 if short else 4, verbose=0).history
print(f"Eight classes, {len(old):,} images: training accuracy {log['accuracy'][-1]:.3f}")

few = np.concatenate([np.flatnonzero(y == c)[:50] for c in NEW])
test = np.flatnonzero(np.isin(yt, NEW))
epochs = 3 if short else 30


def learn(model: dl.Model, epochs: int) -> float:
    model.fit(x[few], (y[few] == NEW[1]).astype(np.int64), batch_size=20, epochs=epochs, verbose=0)
    return model.evaluate(xt[test], (yt[test] == NEW[1]).astype(np.int64), verbose=0)[1]


before = [w.copy() for w in body.get_weights()]
body.trainable = False
tuned = with_head(body, 2, 0.005)
print(f"\nTwo new classes, {len(few)} images, {len(test):,} to test on:")
print(f"  frozen features, new head   {learn(tuned, epochs):.3f}  ({len(tuned.trainable_weights)} weights trained)")
assert all(np.array_equal(a, b) for a, b in zip(before, body.get_weights(), strict=True))
body.trainable = True
tuned.compile(optimizers.Adam(0.0003), "sparse_categorical_crossentropy", metrics=["accuracy"])
print(f"  then all of it, fine-tuned  {learn(tuned, epochs):.3f}")
print(f"  from nothing                {learn(with_head(features('new'), 2, 0.001), 2 * epochs):.3f}")
