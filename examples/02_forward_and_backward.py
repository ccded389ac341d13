"""Chapter 2: forward and backward through a multi-layer perceptron, every number shown.

Data: the course's worked problem, x = [2, 3, 5, 6], y = 1, weights as given, sigmoid everywhere, η = 0.01.
"""

import numpy as np

import dlcore as dl
from dlcore import layers, optimizers

WEIGHTS = (
    [[1, 3, -2], [2, -3, 4], [3, -1, 1], [2, 3, -2]],
    [[1, -2], [-3, 4], [-1, 1]],
    [[4], [1]],
)

dense = [layers.Dense(n, activation="sigmoid", use_bias=False, dtype="float64") for n in (3, 2, 1)]
model = dl.Sequential([layers.Input((4,), dtype="float64"), *dense])
model.set_weights([np.array(w, np.float64) for w in WEIGHTS])
model.compile(optimizers.SGD(0.01), "binary_crossentropy")

x, y = np.array([[2.0, 3.0, 5.0, 6.0]]), np.array([[1.0]])
notes = model.explain(x, y)
print(notes)

model.train_on_batch(x, y)
for i, w in enumerate(model.get_weights(), 1):
    assert np.allclose(w, notes.values[f"new W{i}"], rtol=1e-12)
print("\nfit makes of the weights what is written above.")
