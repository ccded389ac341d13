"""Chapter 11, lab: t-SNE of data and of what a network learned. How well do neighbours in the picture agree?

Data: handwritten digits (in the package). Needs scikit-learn. DLCORE_SHORT=1: fewer samples, two epochs.
"""

import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

try:
    from sklearn.manifold import TSNE
except ModuleNotFoundError:
    raise SystemExit("t-SNE comes from scikit-learn: pip install scikit-learn") from None

(x, y), (xt, yt) = datasets.digits.load_data()
epochs = 20
if os.environ.get("DLCORE_SHORT"):
    x, y, xt, yt, epochs = x[:400], y[:400], xt[:120], yt[:120], 2

dl.set_random_seed(0)
chain = [
    layers.Input((8, 8, 1)),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dense(32, activation="relu"),
]
model = dl.Sequential([*chain, layers.Dense(10, activation="softmax")])
model.compile(optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])


def learned() -> np.ndarray:
    """The last hidden layer's outputs for the test images, `[N, 32]`."""
    return dl.Model(model.inputs, model.layers[-2].output).predict(xt, verbose=0)


def picture(points: np.ndarray) -> np.ndarray:
    """Points `[N, 2]` of the plane."""
    return TSNE(perplexity=20, init="pca", random_state=0).fit_transform(points)


def agreement(points: np.ndarray) -> float:
    """Share of points whose nearest neighbour has the same label."""
    distances = ((points[:, None] - points) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float((yt[distances.argmin(axis=1)] == yt).mean())


spaces = {"pixels": xt.reshape(len(xt), -1), "features before training": learned()}
model.fit(x, y, epochs=epochs, verbose=0)
spaces["features after training"] = learned()

print(f"t-SNE of {len(xt)} test images; nearest neighbour in the plane has the same label:")
pictures = {words: picture(points) for words, points in spaces.items()}
for words, points in pictures.items():
    print(f"  {words:24} {agreement(points):.3f}")

try:
    figure, axes = dl.plots.new_figure(1, len(pictures), size=(12, 4))
except ModuleNotFoundError as missing:
    print(f"no picture: {missing}")
else:
    for axis, (words, points) in zip(axes, pictures.items(), strict=True):
        axis.scatter(*points.T, c=yt, cmap="tab10", s=8)
        axis.set(title=words, xticks=[], yticks=[])
    figure.savefig("features.png")
    print("drew features.png")
