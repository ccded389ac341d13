"""Chapter 8, second half: transfer learning. A network learns eight kinds of clothes; then, frozen and with a new head,
the other two from 100 images, beside a network that begins from nothing.

Data: Fashion-MNIST (see dlcore.datasets.fashion_mnist for where it is looked for). DLCORE_SHORT=1: less of it.
"""

import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

NEW = (5, 7)  # sandal, sneaker
short = bool(os.environ.get("DLCORE_SHORT"))
(x, y), (xt, yt) = datasets.fashion_mnist.load_data()
x, xt = (part[..., None].astype(np.float32) / 255 for part in (x, xt))


def features(name: str) -> dl.Sequential:
    """Two blocks of convolutions with batch normalisation."""
    chain = [layers.Input((28, 28, 1))]
    for filters in (32, 64):
        chain += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(2),
        ]
    return dl.Sequential(chain, name=name)


def with_head(body: dl.Model, classes: int, rate: float) -> dl.Sequential:
    head = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(classes, activation="softmax")]
    model = dl.Sequential([layers.Input((28, 28, 1)), body, *head])
    model.compile(optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


dl.set_random_seed(0)
old = np.flatnonzero(~np.isin(y, NEW))[: 1000 if short else 20_000]
numbers = np.zeros(10, np.int64)
numbers[[c for c in range(10) if c not in NEW]] = np.arange(8)
body = features("trained_on_eight")
first = with_head(body, 8, 0.001)
log = first.fit(x[old], numbers[y[old]], batch_size=64, epochs=1 if short else 3, verbose=0).history
print(f"Eight classes, {len(old):,} images: training accuracy {log['accuracy'][-1]:.3f}")
learned = body.get_weights()

test = np.flatnonzero(np.isin(yt, NEW))[: 200 if short else None]
epochs, draws = (2, 1) if short else (30, 5)


def learn(model: dl.Model, few: np.ndarray) -> float:
    model.fit(x[few], (y[few] == NEW[1]).astype(np.int64), batch_size=20, epochs=epochs, verbose=0)
    return model.evaluate(xt[test], (yt[test] == NEW[1]).astype(np.int64), verbose=0)[1]


results: dict[str, list[float]] = {
    "frozen features, new head": [],
    "then all of it, fine-tuned": [],
    "from nothing": [],
}
for draw in range(draws):
    few = np.concatenate([np.flatnonzero(y == c)[50 * draw : 50 * draw + 50] for c in NEW])
    body.set_weights(learned)
    body.trainable = False
    model = with_head(body, 2, 0.001)
    results["frozen features, new head"].append(learn(model, few))
    assert all(np.array_equal(a, b) for a, b in zip(learned, body.get_weights(), strict=True))
    body.trainable = True
    model.compile(optimizers.Adam(0.0001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    results["then all of it, fine-tuned"].append(learn(model, few))
    results["from nothing"].append(learn(with_head(features("new"), 2, 0.001), few))

print(
    f"\nTwo new classes, {len(few)} images, {len(test):,} to test on; mean and spread over {draws} draws of the images:"
)
for words, scores in results.items():
    print(f"  {words:26} {np.mean(scores):.3f} ± {np.std(scores):.3f}")
