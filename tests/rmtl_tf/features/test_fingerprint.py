from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtl_tf.features.fingerprint import buckets_of, fingerprint64

KNOWN = ["9ae16a3b2f90404f", "b3454265b6df75e3", "9a56bef19628fe49", "54b961e5dc834067", "5b7616b854568a1f"]
LARGEST = 2**63 - 1  # the most buckets TensorFlow takes: nearly the whole fingerprint shows


def by_tensorflow(values, buckets=LARGEST):
    return tf.strings.to_hash_bucket_fast(tf.constant(values, tf.string), buckets).numpy()


def test_values_of_every_length_have_tensorflows_fingerprint():
    random = np.random.default_rng(0)
    values = [random.bytes(length) for length in [*range(270), 1000, 4096, 5001] for _ in range(3)]
    order = random.permutation(len(values))  # lengths mixed, as in data
    values = [values[i] for i in order]
    np.testing.assert_array_equal(buckets_of(pa.array(values, pa.binary()), LARGEST), by_tensorflow(values))


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=200) | st.text().map(str.encode), min_size=1), st.integers(1, LARGEST))
def test_any_value_falls_into_tensorflows_bucket(values, buckets):
    ours = buckets_of(pa.array(values, pa.large_binary()), buckets)
    np.testing.assert_array_equal(ours, by_tensorflow(values, buckets))


def test_known_fingerprints_stay():
    """Models that were exported hold rows by them."""
    values = pa.array([b"", b"a", b"item 42", b"0123456789abcdef", b"x" * 100], pa.large_binary())
    assert [f"{value:016x}" for value in fingerprint64(values)] == KNOWN


def test_slices_nulls_and_more_values_than_are_hashed_at_once():
    values = pa.array([b"%d" % i for i in range(70_000)], pa.large_binary())
    whole = fingerprint64(values)
    np.testing.assert_array_equal(fingerprint64(values.slice(65_530, 20)), whole[65_530:65_550])
    np.testing.assert_array_equal(
        fingerprint64(pa.array([None, b"1"], pa.binary())), fingerprint64(pa.array([b"", b"1"], pa.binary()))
    )
    assert len(fingerprint64(pa.array([], pa.large_binary()))) == 0


@pytest.mark.parametrize("buckets", [1, 2, 1000])
def test_buckets_are_filled_evenly(buckets):
    rows = buckets_of(pa.array([b"item %d" % i for i in range(20_000)], pa.large_binary()), buckets)
    counts = np.bincount(rows, minlength=buckets)
    expected = 20_000 / buckets
    assert len(counts) == buckets
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)
