"""Data sets, as `datasets.<name>.load_data()` in Keras's shapes, and the loader that cuts them into batches."""

from . import digits, fashion_mnist, mnist
from .loader import BatchLoader

__all__ = ["BatchLoader", "digits", "fashion_mnist", "mnist"]
