"""Keras's `utils`: names under which scripts look for helpers that live elsewhere here."""

from __future__ import annotations

from typing import Any

from .batches import PyDataset, pack_x_y_sample_weight, unpack_x_y_sample_weight
from .datasets.download import get_file
from .io.keras_config import deserialize_keras_object, serialize_keras_object
from .io.serialization import (
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from .layers.base import clear_names as clear_session
from .plots import plot_model
from .preprocessing import normalize, pad_sequences, split_dataset, timeseries_dataset_from_array, to_categorical
from .random import set_seed as set_random_seed

__all__ = [
    "CustomObjectScope", "PyDataset", "Sequence", "clear_session", "custom_object_scope", "deserialize_keras_object",
    "get_custom_objects", "get_file", "get_registered_name", "get_registered_object", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_model", "register_keras_serializable", "serialize_keras_object",
    "set_random_seed", "split_dataset", "timeseries_dataset_from_array", "to_categorical", "unpack_x_y_sample_weight",
]  # fmt: skip

CustomObjectScope = custom_object_scope
Sequence = PyDataset


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("utils", name, __all__)
