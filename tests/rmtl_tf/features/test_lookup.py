from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.features.lookup import Lookup


@given(st.lists(st.binary(max_size=4), unique=True), st.lists(st.none() | st.binary(max_size=4)))
def test_places_are_those_of_a_dictionary(vocabulary, values):
    places = {value: place for place, value in enumerate(vocabulary)}
    expected = [places.get(value, -1) if value is not None else -1 for value in values]
    assert Lookup(vocabulary)(pa.array(values, pa.large_binary())).tolist() == expected


def test_values_of_equal_hash_are_told_apart(monkeypatch):
    """Hashes by the first byte: values of the vocabulary that clash get another seed, others are compared."""

    def hashes(self, values):
        place = 0 if self._seed == 0 else 1
        return np.array([value[place] if value else 0 for value in values.to_pylist()], np.uint64)

    monkeypatch.setattr(Lookup, "_hash", hashes)
    lookup = Lookup([b"ax", b"ay", b"bz"])
    assert lookup._seed == 1
    assert lookup(pa.array([b"bz", b"ax", b"cx", None], pa.large_binary())).tolist() == [2, 0, -1, -1]
