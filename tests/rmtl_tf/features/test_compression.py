from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.config import CompressionConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.compression import Compression, Layout, compression_of
from rmtl_tf.features.spec import InputSpec

CATEGORICAL = (("user", 1002), ("item", 5002), ("hour", 26))


@given(st.integers(2, 3000), st.integers(2, 100))
def test_every_value_has_a_pair_of_rows_of_its_own_and_no_row_is_idle(size, ratio):
    layout = Layout(size, ratio)
    values = range(size - 2)
    pairs = {(value % layout.remainders, value // layout.remainders) for value in values}
    assert len(pairs) == len(values)
    if values:
        assert {remainder for remainder, _ in pairs} == set(range(layout.remainders))
        assert {quotient for _, quotient in pairs} == set(range(layout.quotients))
    assert layout.rows == 2 + layout.remainders + layout.quotients
    assert layout.quotients <= ratio


def test_without_a_ratio_every_id_has_its_row():
    layout = Layout(1002)
    assert (layout.rows, layout.quotients) == (1002, 0)


@pytest.mark.parametrize(
    ("config", "ratios"),
    [
        ({}, None),
        ({"above": 1002}, {"item": 4}),
        ({"above": 1000, "ratio": 10}, {"user": 10, "item": 10}),
        ({"above": 1000, "features": {"item": 1}}, {"user": 4}),
        ({"features": {"user": 50}}, {"user": 50}),
        ({"features": {"hour": 5}}, {"hour": 5}),
        ({"features": {"hour": 30}}, None),
        ({"features": {"hour": 1}}, None),
    ],
)
def test_inputs_are_compressed_by_size_or_by_name(config, ratios):
    found = compression_of(CompressionConfig(**config), CATEGORICAL)
    assert (None if found is None else dict(found.ratios)) == ratios


def test_an_input_so_small_that_nothing_is_saved_stays_as_it_is():
    assert compression_of(CompressionConfig(features={"flag": 2}), (("flag", 4),)) is None


def test_an_unknown_feature_is_refused_with_the_nearest():
    with pytest.raises(UserError, match='did you mean "item"'):
        compression_of(CompressionConfig(features={"itme": 4}), CATEGORICAL)


def test_a_spec_comes_back_from_its_configuration_and_old_ones_have_no_compression():
    spec = InputSpec(CATEGORICAL, compression=Compression((("item", 4),), "sum"))
    assert InputSpec.from_config(spec.get_config()) == spec
    assert spec.layout("item") == Layout(5002, 4)
    assert spec.layout("user") == Layout(1002)
    old = {key: value for key, value in spec.get_config().items() if key != "compression"}
    assert InputSpec.from_config(old).compression is None
