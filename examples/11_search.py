"""Chapter 11, lab: grid and random search over depth, learning rate, activation and optimizer.

Data: handwritten digits (in the package); a fifth of the training set to choose by. DLCORE_SHORT=1: fewer samples, one
epoch.
"""

import itertools
import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

(x, y), (xt, yt) = datasets.digits.load_data()
epochs, tries = 5, 8
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs, tries = x[:200], y[:200], 1, 2
cut = len(x) * 4 // 5
CHOICES = {
    "depth": (1, 2, 3),
    "rate": (0.001, 0.01, 0.1),
    "activation": ("relu", "tanh", "sigmoid"),
    "optimizer": ("SGD", "Adam"),
}


def model_of(depth: int, rate: float, activation: str, optimizer: str) -> dl.Sequential:
    dl.set_random_seed(0)
    hidden = [layers.Dense(32, activation=activation) for _ in range(depth)]
    model = dl.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), *hidden, layers.Dense(10, activation="softmax")])
    model.compile(getattr(optimizers, optimizer)(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def score(setting: dict) -> float:
    """Accuracy on what is held out of the training set."""
    model = model_of(**setting)
    model.fit(x[:cut], y[:cut], epochs=epochs, verbose=0)
    return model.evaluate(x[cut:], y[cut:], verbose=0)[1]


def best(settings: list[dict]) -> dict:
    scores = [score(setting) for setting in settings]
    for value, setting in sorted(zip(scores, settings, strict=True), key=lambda pair: -pair[0])[:3]:
        print(f"  {value:.3f}  {setting}")
    return settings[int(np.argmax(scores))]


print("Grid over depth and learning rate (relu, Adam), the best three:")
grid = [
    {"depth": depth, "rate": rate, "activation": "relu", "optimizer": "Adam"}
    for depth, rate in itertools.product(CHOICES["depth"], CHOICES["rate"])
]
best(grid if tries > 2 else grid[:2])

print(f"\n{tries} settings drawn from all {len(list(itertools.product(*CHOICES.values())))}, the best three:")
rng = np.random.default_rng(0)
drawn = [{key: values[rng.integers(len(values))] for key, values in CHOICES.items()} for _ in range(tries)]
chosen = best(drawn)

model = model_of(**chosen)
model.fit(x, y, epochs=epochs, verbose=0)
print(f"\nThe best of these, on the test set, looked at once: {model.evaluate(xt, yt, verbose=0)[1]:.3f}")
