"""Chapter 11, looking at what was learned: t-SNE maps of digits' pixels and of a network's features, side by side.

t-SNE (van der Maaten & Hinton 2008) lays samples out in the plane so that neighbours stay neighbours. How well the
classes separate is told by the silhouette coefficient (Rousseeuw 1987): near 1 where each class is a tight island far
from the others, 0 where they touch, negative where they mix.

Data: handwritten digits (in the package), the held-out ones. Needs the extras: pip install 'dlcore[sklearn,plots]'.
DLCORE_SHORT=1: fewer samples, one epoch.
"""

import os

from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

import dlcore as dl
from dlcore import datasets, layers
from dlcore.plots import new_figure

(x, y), (xt, yt) = datasets.digits.load_data()
epochs = 15
if os.environ.get("DLCORE_SHORT"):
    x, y, xt, yt, epochs = x[:200], y[:200], xt[:60], yt[:60], 1

dl.set_random_seed(0)
model = dl.Sequential([
    layers.Input((8, 8, 1)),
    layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
    layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(2),
    layers.Flatten(),
    layers.Dense(64, activation="relu", name="features"),
    layers.Dense(10, activation="softmax"),
])  # fmt: skip
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
print(f"accuracy on held-out digits {model.evaluate(xt, yt, verbose=0)[1]:.3f}")

features = dl.Model(model.input, model.get_layer("features").output).predict(xt, verbose=0)
maps = {
    name: TSNE(perplexity=min(30, len(xt) // 4), init="pca", random_state=0).fit_transform(values)
    for name, values in (("pixels", xt.reshape(len(xt), -1)), ("features", features))
}

print("silhouette coefficient of the ten digits in the map:")
figure, axes = new_figure(1, 2, size=(10, 4.5))
for axis, (name, place) in zip(axes, maps.items(), strict=True):
    print(f"  {name:9} {silhouette_score(place, yt):.3f}")
    points = axis.scatter(*place.T, c=yt, cmap="tab10", s=10)
    axis.set(title=f"t-SNE of {name}", xticks=[], yticks=[])
figure.colorbar(points, ax=axes, ticks=range(10), label="digit")
figure.savefig("features.png")
print("the maps are saved in features.png")
