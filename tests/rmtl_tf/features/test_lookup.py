from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.features.lookup import Lookup


@given(st.lists(st.binary(max_size=4), unique=True), st.lists(st.none() | st.binary(max_size=4)))
def test_places_are_those_of_a_dictionary(vocabulary, values):
    places = {value: place for place, value in enumerate(vocabulary)}
    expected = [places.get(value, -1) if value is not None else -1 for value in values]
    assert (
        Lookup(pa.array(vocabulary, pa.large_binary()))(pa.array(values, pa.large_binary())).tolist()
        == expected
    )


def test_values_that_share_a_slot_are_told_apart():
    """1,000 values in 2,048 slots clash; half of the values asked for are none of them."""
    vocabulary = [b"%d" % number for number in range(0, 2000, 2)]
    values = [b"%d" % number for number in range(2000)]
    expected = [number // 2 if number % 2 == 0 else -1 for number in range(2000)]
    assert (
        Lookup(pa.array(vocabulary, pa.large_binary()))(pa.array(values, pa.large_binary())).tolist()
        == expected
    )


def test_a_slice_of_values_is_looked_up_as_what_it_shows():
    values = pa.array([b"x", b"a", None, b"b", b"y"], pa.large_binary())
    assert Lookup(pa.array([b"a", b"b", b""], pa.large_binary()))(values[1:4]).tolist() == [0, -1, 1]
