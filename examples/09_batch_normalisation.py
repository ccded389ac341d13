"""Chapter 9: batch normalisation.

Data: handwritten digits (in the package). DLCORE_SHORT=1: fewer samples, one epoch.
"""

import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

(x, y), (xt, yt) = datasets.digits.load_data()
epochs = 5
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs = x[:320], y[:320], 1

print("Per channel: (x − μ) / √(σ² + ε) over the batch, then γ and β")
images = np.random.default_rng(0).normal(5, 3, (16, 4, 4, 2)).astype(np.float32)
layer = layers.BatchNormalization()
normal = layer(images, training=True).numpy()
print(f"  before: mean {images.mean((0, 1, 2)).round(3)}, std {images.std((0, 1, 2)).round(3)}")
print(f"  after:  mean {normal.mean((0, 1, 2)).round(3)}, std {normal.std((0, 1, 2)).round(3)}")
for _ in range(800):
    layer(images, training=True)
settled = layer(images).numpy()
print(f"  at inference, by running statistics: mean {settled.mean((0, 1, 2)).round(3)}")


def accuracy(rate: float, normalised: bool) -> float:
    dl.set_random_seed(0)
    blocks = [
        layer
        for filters in (16, 32)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", use_bias=not normalised),
            *([layers.BatchNormalization(momentum=0.9)] if normalised else []),
            layers.ReLU(),
            layers.MaxPooling2D(2),
        )
    ]
    model = dl.Sequential([layers.Input((8, 8, 1)), *blocks, layers.Flatten(), layers.Dense(10, activation="softmax")])
    model.compile(optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    return model.evaluate(xt, yt, verbose=0)[1]


print(f"\nAccuracy after {epochs} epochs of SGD:      without    with")
for rate in (0.001, 0.01, 0.1, 1.0):
    print(f"  learning rate {rate:<6}           {accuracy(rate, False):8.3f} {accuracy(rate, True):8.3f}")
