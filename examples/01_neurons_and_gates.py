"""Chapter 1: neurons, gates, and what one line can separate.

Data: the four rows of a truth table.
"""

import numpy as np

import dlcore as dl
from dlcore import applications, layers, optimizers

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR = np.array([0, 1, 1, 0], np.float32)


def neuron(weights: list[float], bias: float) -> dl.Sequential:
    """One neuron that fires where w·x + b > 0."""
    model = dl.Sequential([layers.Input((2,)), layers.Dense(1, activation="step")])
    model.set_weights([np.array(weights, np.float32)[:, None], np.array([bias], np.float32)])
    return model


def fires(model: dl.Model, x: np.ndarray) -> np.ndarray:
    return model.predict(x, verbose=0)[:, 0]


print("Gates, weights set by hand (biases lie between the cases, not on one):")
gates = {"or": ([1, 1], -0.5), "and": ([1, 1], -1.5), "nand": ([-1, -1], 1.5)}
for name, (weights, bias) in gates.items():
    print(f"  {name:4} {fires(neuron(weights, bias), INPUTS).astype(int)}")

print("\nXOR of four NANDs:")
nand = neuron(*gates["nand"])
a, b = INPUTS.T
middle = fires(nand, np.stack([a, b], 1))
ends = [fires(nand, np.stack([p, middle], 1)) for p in (a, b)]
print(f"  {fires(nand, np.stack(ends, 1)).astype(int)}")

print("\nXOR of two ReLUs, h1 = relu(x1 + x2), h2 = relu(x1 + x2 − 1), y = h1 − 2·h2:")
model = dl.Sequential([layers.Input((2,)), layers.Dense(2, activation="relu"), layers.Dense(1, use_bias=False)])
model.set_weights([np.ones((2, 2), np.float32), np.array([0, -1], np.float32), np.array([[1], [-2]], np.float32)])
print(f"  {fires(model, INPUTS).astype(int)}")

print("\nThe perceptron learns by its mistakes what a line separates:")
for name, truth in (("or", [0, 1, 1, 1]), ("and", [0, 0, 0, 1]), ("xor", XOR)):
    perceptron = applications.Perceptron((2,))
    perceptron.compile(optimizers.SGD(1.0), loss="mae", metrics=["accuracy"])
    log = perceptron.fit(INPUTS, np.array(truth, np.float32), batch_size=1, epochs=25, verbose=0).history["accuracy"]
    print(
        f"  {name:4} " + (f"right from epoch {log.index(1.0) + 1} on" if log[-1] == 1 else "never right in 25 epochs")
    )

print("\nA hidden layer, trained, bends the line:")
dl.set_random_seed(2)
mlp = dl.Sequential([layers.Input((2,)), layers.Dense(8, activation="tanh"), layers.Dense(1, activation="sigmoid")])
mlp.compile(optimizers.Adam(0.1), "binary_crossentropy")
mlp.fit(INPUTS, XOR, batch_size=4, epochs=150, verbose=0)
print(f"  {fires(mlp, INPUTS).round(3)}")
assert (fires(mlp, INPUTS).round() == XOR).all()

print("\nLinear layers on top of each other are one linear map:")
deep = dl.Sequential([layers.Input((2,)), layers.Dense(5), layers.Dense(4), layers.Dense(1)])
w1, b1, w2, b2, w3, b3 = deep.get_weights()
one = INPUTS @ (w1 @ w2 @ w3) + ((b1 @ w2 + b2) @ w3 + b3)
print(f"  largest difference {np.abs(one - deep.predict(INPUTS, verbose=0)).max():.1e}")
