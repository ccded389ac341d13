"""Fashion-MNIST: 70,000 pictures of clothes in MNIST's format (Xiao, Rasul & Vollgraf 2017, MIT licence)."""

from __future__ import annotations

from os import PathLike

from .idx import Source, Split, load

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SOURCE = Source(
    name="fashion-mnist",
    folders=("/usr/share/datasets/fashion-mnist",),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    sha256={
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def load_data(path: str | PathLike[str] | None = None) -> tuple[Split, Split]:
    """Fashion-MNIST in Keras's shapes.

    Args:
        path: the folder with the four IDX files (gzipped or plain). None: `$DLCORE_DATA/fashion-mnist` (or DLCORE_DATA
            itself where that folder is called so), then /usr/share/datasets/fashion-mnist, where Debian's package
            dataset-fashion-mnist puts them, then the cache, `$XDG_CACHE_HOME/dlcore/fashion-mnist`, into which what is
            missing is downloaded.

    Returns:
        (x_train, y_train), (x_test, y_test): images uint8 `[60000, 28, 28]` and `[10000, 28, 28]`; labels uint8, their
        names in `CLASSES`.

    Raises:
        FileNotFoundError: path or DLCORE_DATA lacks a file.
        ConnectionError: a file is nowhere on this machine and could not be downloaded.
        ValueError: a file is not what it should be.
    """
    return load(SOURCE, path)
