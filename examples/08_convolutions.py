"""Chapter 8: convolutional networks: shapes, LeNet-5, and the larger architectures by name.

Data: handwritten digits (in the package). DLCORE_SHORT=1: fewer samples, one epoch. Pictures go to out/, if matplotlib
is there.
"""

import importlib.util
import os
from pathlib import Path

import dlcore as dl
from dlcore import applications, datasets, layers, optimizers, plots

print("Shapes: ⌊(n + 2p − f) / s⌋ + 1, or ⌈n / s⌉ with padding 'same'")
for strides, padding in ((1, "valid"), (2, "same")):
    chain = [layers.Conv2D(32, 3, strides, padding) for _ in range(3)]
    model = dl.Sequential([layers.Input((28, 28, 1)), *chain, layers.Flatten()])
    sizes = [layer.output.shape[1] for layer in chain]
    print(f"  28 -> {sizes}, flattened {model.output_shape[1]:,} (stride {strides}, {padding})")

(x, y), (xt, yt) = datasets.digits.load_data((32, 32))
epochs = 10
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs = x[:320], y[:320], 1
dl.set_random_seed(0)
lenet = applications.LeNet5()
lenet.summary()
lenet.compile(optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = lenet.fit(x, y, epochs=epochs, verbose=0)
print(f"LeNet-5 after {epochs} epochs: accuracy {lenet.evaluate(xt, yt, verbose=0)[1]:.3f}")

print("\nFor images of 32 × 32 and 10 classes:")
for name, config in (
    ("AlexNet", {"small_images": True, "hidden": (256,)}),
    ("VGG11", {"hidden": (256,)}),
    ("ResNet18", {"small_images": True}),
):
    model = getattr(applications, name)((32, 32, 1), 10, **config)
    print(f"  {name:9} {model.count_params():12,} parameters, {len(model.layers)} layers")

if importlib.util.find_spec("matplotlib"):
    Path("out").mkdir(exist_ok=True)
    history.plot().savefig("out/lenet_history.png")
    convolution = lenet.layers[0]
    plots.filters(convolution).savefig("out/lenet_filters.png")
    plots.feature_maps(lenet, convolution, xt[0]).savefig("out/lenet_feature_maps.png")
    plots.confusion_matrix(yt, lenet.predict(xt, verbose=0)).savefig("out/lenet_confusion.png")
    print("\nPictures are in out/.")
