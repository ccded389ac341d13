"""Data made ready, with NumPy: scaling, labels, sequences, windows of a series."""

from . import sequence
from .dividing import split_dataset
from .scaling import LabelEncoder, MinMaxScaler, StandardScaler, normalize, to_categorical
from .sequence import pad_sequences
from .timeseries import timeseries_dataset_from_array

__all__ = [
    "LabelEncoder",
    "MinMaxScaler",
    "StandardScaler",
    "normalize",
    "pad_sequences",
    "sequence",
    "split_dataset",
    "timeseries_dataset_from_array",
    "to_categorical",
]
