"""Every public name of Keras's is here, or is refused with what to use instead; docs/keras.md says so."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import keras

import dlcore as dl
from dlcore.absent import ABSENT

import keras_surface as surface  # isort: skip


def written_from() -> str:
    """The version of Keras that the page was written from."""
    return surface.PAGE.read_text().partition("written from Keras ")[2].split()[0]


@pytest.mark.parametrize("module", surface.MODULES)
def test_every_name_is_supported_or_absent(module):
    found = surface.ours(module)
    unaccounted = [
        name
        for name in surface.names_of(module)
        if name not in ABSENT.get(module, {}) and (found is None or not hasattr(found, name))
    ]
    if keras.__version__ == written_from():
        assert unaccounted == []


@pytest.mark.parametrize("module", sorted(ABSENT))
def test_absent_names_are_refused_with_advice(module):
    for name, advice in ABSENT[module].items():
        with pytest.raises(AttributeError) as error:
            getattr(getattr(dl, module), name)
        assert str(error.value) == f"keras.{module}.{name} is not supported; use instead: {advice}"


def test_unknown_names_get_a_hint():
    with pytest.raises(AttributeError, match="has no attribute 'Adamm'; did you mean 'Adam'"):
        dl.optimizers.Adamm  # noqa: B018


def test_the_page_is_up_to_date():
    text = surface.PAGE.read_text()
    if written_from() != keras.__version__:
        pytest.skip("the page was written from another version of Keras")
    assert text == surface.page()


def test_utils():
    np.testing.assert_array_equal(dl.utils.to_categorical([0, 2], 3), keras.utils.to_categorical([0, 2], 3))
    dl.utils.set_random_seed(1)
    first = dl.random.host_generator().random()
    dl.utils.set_random_seed(1)
    assert dl.random.host_generator().random() == first
