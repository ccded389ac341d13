"""MNIST: 70,000 handwritten digits (LeCun, Cortes & Burges 1998)."""

from __future__ import annotations

from os import PathLike

from .idx import Source, Split, load

SOURCE = Source(
    name="mnist",
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)


def load_data(path: str | PathLike[str] | None = None) -> tuple[Split, Split]:
    """MNIST in Keras's shapes.

    Args:
        path: the folder with the four IDX files (gzipped or plain). None: `$DLCORE_DATA/mnist` (or DLCORE_DATA itself
            where that folder is called mnist), then the cache, `$XDG_CACHE_HOME/dlcore/mnist`, into which what is
            missing is downloaded.

    Returns:
        (x_train, y_train), (x_test, y_test): images uint8 `[60000, 28, 28]` and `[10000, 28, 28]`; labels uint8.

    Raises:
        FileNotFoundError: path or DLCORE_DATA lacks a file.
        ConnectionError: a file is nowhere on this machine and could not be downloaded.
        ValueError: a file is not what it should be.
    """
    return load(SOURCE, path)
