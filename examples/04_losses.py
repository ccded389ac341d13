"""Chapter 4: losses, at the course's numbers and far from them.

Data: the worked problems' predictions and labels; logits of ±10,000.
"""

import numpy as np

from dlcore import losses
from dlcore.preprocessing import LabelEncoder, to_categorical

print("Binary cross-entropy: −ln 0.6, −ln 0.8, −ln 0.4")
for y, p in ((1.0, 0.6), (0.0, 0.2), (1.0, 0.4)):
    value = losses.binary_crossentropy(np.array([[y]]), np.array([[p]])).numpy()[0]
    print(f"  y = {y:.0f}, ŷ = {p}: {value:.8f}")

print("\nClasses as strings, numbers, one-hot:")
encoder = LabelEncoder()
numbers = encoder.fit_transform(["cat", "dog"])
scores = np.array([[0.6, 0.2, 0.2], [0.3, 0.5, 0.2]])
print(f"  {encoder.classes.tolist()} -> {numbers.tolist()} -> {to_categorical(numbers, 3).tolist()}")
print("  sparse     ", losses.sparse_categorical_crossentropy(numbers, scores).numpy().round(8))
print("  categorical", losses.categorical_crossentropy(to_categorical(numbers, 3), scores).numpy().round(8))

print("\nFrom logits nothing overflows and no log of 0 is taken:")
logits = np.array([[1e4], [-1e4]])
print("  binary     ", losses.binary_crossentropy(np.array([[1.0], [1.0]]), logits, from_logits=True).numpy())
extreme = np.array([[1e4, -1e4, 0.0]] * 2)
print("  categorical", losses.sparse_categorical_crossentropy(np.array([0, 1]), extreme, from_logits=True).numpy())

print("\nRegression, errors of 0.5 and 3 with δ = 1: the Huber loss is a parabola inside δ and a line outside")
truth = np.zeros((2, 1))
guess = np.array([[0.5], [3.0]])
for name in ("mean_squared_error", "mean_absolute_error", "huber"):
    print(f"  {name:20} {getattr(losses, name)(truth, guess).numpy()}")
