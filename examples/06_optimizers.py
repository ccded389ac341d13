"""Chapter 6: gradient descent and its refinements.

Data: handwritten digits (in the package). DLCORE_SHORT=1: fewer samples and epochs.
"""

import os

import dlcore as dl
from dlcore import datasets, layers, optimizers

(x, y), (xt, yt) = datasets.digits.load_data()
epochs = 10
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs = x[:256], y[:256], 2
schedules = optimizers.schedules


def trained(optimizer: optimizers.Optimizer, batch_size: int) -> str:
    dl.set_random_seed(0)
    model = dl.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(32, activation="relu"),
         layers.Dense(10, activation="softmax")]
    )  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
    loss, accuracy = model.evaluate(xt, yt, verbose=0)
    return f"{model.optimizer.iterations:6d} updates   loss {loss:.3f}   accuracy {accuracy:.3f}"


print(f"{len(x)} samples, {epochs} epochs; the batch size decides how many updates that makes:")
for words, size in (("per sample", 1), ("mini-batches of 32", 32), ("the whole set", len(x))):
    print(f"  {words:20} {trained(optimizers.SGD(0.05), size)}")

print("\nOptimizers, mini-batches of 32:")
for words, optimizer in {
    "SGD": optimizers.SGD(0.1),
    "momentum": optimizers.SGD(0.1, momentum=0.9),
    "Nesterov": optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adagrad": optimizers.Adagrad(0.05),
    "RMSProp": optimizers.RMSprop(0.003),
    "Adam": optimizers.Adam(0.003),
    "AdamW": optimizers.AdamW(0.003, weight_decay=0.01),
}.items():
    print(f"  {words:20} {trained(optimizer, 32)}")

print("\nLearning rates that change, with SGD and momentum:")
steps = -(-len(x) // 32) * epochs
for words, schedule in {
    "exponential": schedules.ExponentialDecay(0.1, steps, 0.1),
    "steps": schedules.PiecewiseConstantDecay([steps // 2, 3 * steps // 4], [0.1, 0.03, 0.01]),
    "cosine": schedules.CosineDecay(0.1, steps),
    "warm-up and cosine": schedules.CosineDecay(0.0, steps, warmup_target=0.1, warmup_steps=max(steps // 10, 1)),
}.items():
    print(f"  {words:20} {trained(optimizers.SGD(schedule, momentum=0.9), 32)}")
