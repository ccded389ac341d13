"""Chapter 5: how weights begin.

Data: handwritten digits (in the package).
"""

import numpy as np

import dlcore as dl
from dlcore import datasets, layers

(x, y), (xt, yt) = datasets.digits.load_data()


def network(initializer: str, activation: str, depth: int = 6) -> dl.Sequential:
    dl.set_random_seed(0)
    hidden = [layers.Dense(64, activation=activation, kernel_initializer=initializer) for _ in range(depth)]
    last = layers.Dense(10, activation="softmax", kernel_initializer=initializer)
    return dl.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), *hidden, last])


print("Standard deviation of the outputs, first and last hidden layer, before any training:")
for initializer, activation in (
    ("zeros", "relu"), ("random_normal", "relu"), ("random_uniform", "relu"), ("glorot_uniform", "tanh"),
    ("glorot_normal", "tanh"), ("he_normal", "relu"), ("he_uniform", "relu"), ("lecun_normal", "selu"),
):  # fmt: skip
    rows = dl.diagnose(network(initializer, activation), x[:200], None).rows
    spread = [row["output_std"] for row in rows if row["activation"] == activation]
    print(f"  {initializer:15} {activation:5} {spread[0]:9.2e} {spread[-1]:9.2e}")

print("\nAll zeros: every unit of a layer gets the same gradient, so they stay alike (zeros and ReLU: none at all).")
model = network("zeros", "sigmoid", 1)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=3, verbose=0)
kernel = model.get_weights()[0]
print(f"  largest difference between two units' weights after 3 epochs: {np.ptp(kernel, axis=1).max():.1e}")
print(f"  accuracy {model.evaluate(xt, yt, verbose=0)[1]:.3f}")

model = network("he_normal", "relu")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=5, verbose=0)
print(f"\nHe and ReLU, six layers, 5 epochs: accuracy {model.evaluate(xt, yt, verbose=0)[1]:.3f}")
