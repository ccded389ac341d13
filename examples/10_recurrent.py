"""Chapter 10: recurrent networks.

Data: handwritten digits read row by row (in the package); sequences of 4 to 12 random bits (seed 0) whose last bit is
to be remembered past the padding. DLCORE_SHORT=1: fewer samples, one epoch.
"""

import os

import numpy as np

import dlcore as dl
from dlcore import datasets, layers, optimizers

(x, y), (xt, yt) = datasets.digits.load_data()
x, xt, epochs = x[..., 0], xt[..., 0], 10  # [N, T = 8 rows, 8 pixels]
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs = x[:256], y[:256], 1

networks = {
    "simple RNN": [layers.SimpleRNN(48)],
    "LSTM": [layers.LSTM(48)],
    "GRU": [layers.GRU(48)],
    "two LSTMs": [layers.LSTM(32, return_sequences=True), layers.LSTM(32)],
    "both directions": [layers.Bidirectional(layers.LSTM(24))],
}
print(f"Digits row by row, {epochs} epochs:")
for words, recurrent in networks.items():
    dl.set_random_seed(0)
    model = dl.Sequential([layers.Input((8, 8)), *recurrent, layers.Dense(10, activation="softmax")])
    model.compile(optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    accuracy = model.evaluate(xt, yt, verbose=0)[1]
    print(f"  {words:16} {model.count_params():7,} parameters   accuracy {accuracy:.3f}")

print("\nSequences of different lengths in one batch, padded with −1 and masked:")
rng = np.random.default_rng(0)
bits = rng.integers(0, 2, (300, 12)).astype(np.float32)
lengths = rng.integers(4, 13, 300)
last = bits[np.arange(300), lengths - 1]
bits[np.arange(12) >= lengths[:, None]] = -1
for words, first in (("without a mask", []), ("with a mask", [layers.Masking(-1.0)])):
    dl.set_random_seed(0)
    chain = [layers.Input((12, 1)), *first, layers.SimpleRNN(8), layers.Dense(1, activation="sigmoid")]
    model = dl.Sequential(chain)
    model.compile(optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    model.fit(bits[:200, :, None], last[:200], epochs=epochs, verbose=0)
    print(f"  {words:16} accuracy {model.evaluate(bits[200:, :, None], last[200:], verbose=0)[1]:.3f}")
