"""Chapter 3: activations, their curves and slopes, and units that no longer learn.

Data: numbers from −4 to 4; standard normal noise (seed 0) for the deep networks.
"""

import numpy as np

import dlcore as dl
from dlcore import activations, layers
from dlcore import functional as F

NAMES = ("linear", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus")

points = np.array([-4.0, -1.0, 0.0, 1.0, 4.0])
print(f"{'f(x)':>12}" + "".join(f"{p:10.0f}" for p in points) + "      f'(x) at the same")
for name in NAMES:
    x = dl.Tensor(points, requires_grad=True)
    y = activations.get(name)(x)
    slope = np.zeros_like(points)
    if y.requires_grad:
        F.sum(y).backward()
        slope = dl.Tensor(x.grad).numpy()
    print(f"{name:>12}" + "".join(f"{v:10.4f}" for v in y.numpy()) + "   " + "".join(f"{v:8.4f}" for v in slope))

print("\nsoftmax makes probabilities:", activations.softmax(np.array([[1.0, 2.0, 3.0]])).numpy().round(4)[0])

print("\nA PReLU's slope is learned: |x| from samples of it")
dl.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((256, 1)).astype(np.float32)
model = dl.Sequential([layers.Input((1,)), layers.PReLU()])
model.compile(dl.optimizers.Adam(0.1), "mse")
model.fit(x, np.abs(x), epochs=30, verbose=0)
print(f"  slope below zero {model.get_weights()[0].item():.3f} (begins at 0)")

print("\nTen layers: a sigmoid's gradients vanish, or it saturates; ReLU keeps them, until a bias kills it")
noise = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
cases = {
    "sigmoid, Glorot": {"activation": "sigmoid"},
    "sigmoid, wide weights": {"activation": "sigmoid", "kernel_initializer": dl.initializers.RandomNormal(stddev=2.0)},
    "relu, He": {"activation": "relu", "kernel_initializer": "he_normal"},
    "relu, bias −2": {
        "activation": "relu", "kernel_initializer": "he_normal", "bias_initializer": dl.initializers.Constant(-2.0)
    },
}  # fmt: skip
for words, config in cases.items():
    dl.set_random_seed(0)
    deep = dl.Sequential([layers.Input((32,)), *(layers.Dense(32, **config) for _ in range(10))])
    print(f"\n{words}:\n{dl.diagnose(deep, noise)}")
