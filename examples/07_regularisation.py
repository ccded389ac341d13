"""Chapter 7: scaling data, and keeping a network from learning it by heart.

Data: 200 handwritten digits to learn from, 359 to test on (in the package). DLCORE_SHORT=1: fewer epochs.
"""

import os

import dlcore as dl
from dlcore import callbacks, datasets, layers, regularizers
from dlcore.preprocessing import MinMaxScaler, StandardScaler

(x, y), (xt, yt) = datasets.digits.load_data()
x, y, xv, yv = x[:200], y[:200], x[200:400], y[200:400]
epochs = 2 if os.environ.get("DLCORE_SHORT") else 40


def accuracies(*before, penalty=None, dropout=0.0, data=(x, xv, xt), stop=False) -> str:
    dl.set_random_seed(0)
    hidden = [
        layer
        for _ in range(2)
        for layer in (layers.Dense(128, activation="relu", kernel_regularizer=penalty), layers.Dropout(dropout))
    ]
    model = dl.Sequential(
        [layers.Input((8, 8, 1)), *before, layers.Flatten(), *hidden, layers.Dense(10, activation="softmax")]
    )
    model.compile(dl.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ends = [callbacks.EarlyStopping(patience=5, restore_best_weights=True)] if stop else []
    log = model.fit(
        data[0], y, batch_size=32, epochs=epochs, validation_data=(data[1], yv), callbacks=ends, verbose=0
    ).history
    train, test = (model.evaluate(a, b, verbose=0)[1] for a, b in ((data[0], y), (data[2], yt)))
    return f"training {train:.3f}   test {test:.3f}   epochs {len(log['loss'])}"


print(f"Plain:             {accuracies()}")
print(f"L2 penalty:        {accuracies(penalty=regularizers.L2(1e-3))}")
print(f"L1 penalty:        {accuracies(penalty=regularizers.L1(1e-4))}")
print(f"both:              {accuracies(penalty=regularizers.L1L2(1e-5, 1e-3))}")
print(f"dropout:           {accuracies(dropout=0.4)}")
print(f"early stopping:    {accuracies(stop=True)}")
shifts = layers.RandomTranslation(0.13, 0.13, "constant", seed=1)
turns = layers.RandomRotation(0.03, "constant", seed=2)
print(f"augmentation:      {accuracies(shifts, turns)}")
for scaler in (StandardScaler(axis=None), MinMaxScaler((-1, 1), axis=None)):
    scaler.fit(x)  # on the training set alone
    scaled = tuple(scaler.transform(part) for part in (x, xv, xt))
    print(f"{type(scaler).__name__ + ':':18} {accuracies(data=scaled)}")
