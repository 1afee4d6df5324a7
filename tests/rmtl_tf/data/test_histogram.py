from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.data.histogram import (
    BUCKETS,
    backward,
    beginning_at,
    bucket,
    coarsen,
    edges,
    fit,
    forward,
    quantiles,
)

NUMBERS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=50)


@given(NUMBERS, st.booleans())
def test_every_number_lies_in_its_bucket_and_there_are_few(numbers, log):
    values = np.array(numbers)
    exponent, index = bucket(values, log)
    places = forward(values, log)
    assert (index * 2.0**exponent <= places).all()
    assert (places < (index + 1) * 2.0**exponent).all()
    assert np.ptp(index) < BUCKETS


@given(NUMBERS, NUMBERS)
def test_the_parts_give_the_histogram_of_the_whole(first, second):
    whole = bucket(np.array(first + second), log=False)
    parts = [bucket(np.array(part), log=False) for part in (first, second)]
    exponent = max(part[0] for part in parts)
    index = np.concatenate([coarsen(index, own, exponent) for own, index in parts])
    exponent, index = fit(exponent, index)
    assert exponent == whole[0]
    assert index.tolist() == whole[1].tolist()


def test_the_finest_grid_is_taken():
    exponent, index = bucket(np.arange(128.0), log=False)
    assert (exponent, index.tolist()) == (0, list(range(128)))
    assert bucket(np.arange(129.0), log=False)[0] == 1


def test_heavy_tails_are_spread_by_the_logarithm():
    values = np.geomspace(0.5, 2000, 1000)
    used = {log: len(set(bucket(values, log)[1][:500].tolist())) for log in (False, True)}
    assert used[False] <= 2  # half of the numbers in two buckets
    assert used[True] > 30
    low, high = edges(*bucket(values, log=True), log=True)
    assert (low <= values * (1 + 1e-12)).all()
    assert (values < high * (1 + 1e-12)).all()


def test_the_logarithm_is_undone():
    values = np.array([-1e6, -0.5, 0.0, 3.0, 1e30])
    np.testing.assert_allclose(backward(forward(values, True), True), values, rtol=1e-12)


@pytest.mark.parametrize("log", [False, True])
def test_quantiles_are_off_by_less_than_a_bucket(log):
    values = np.random.default_rng(0).gamma(2.0, 10.0, 5000)
    exponent, every = bucket(values, log)
    index, counts = np.unique(every, return_counts=True)
    at = np.linspace(0, 1, 11)
    found = forward(quantiles(exponent, index, counts, log, at), log)
    assert np.abs(found - forward(np.quantile(values, at), log)).max() <= 2.0**exponent


def test_no_numbers_take_no_bucket():
    exponent, index = bucket(np.zeros(0), log=True)
    assert (exponent, index.size) == (0, 0)


@pytest.mark.parametrize("log", [False, True])
def test_a_bucket_is_known_by_where_it_begins(log):
    values = np.random.default_rng(0).normal(0, 1e4, 500)
    exponent, index = bucket(values, log)
    assert beginning_at(edges(exponent, index, log)[0], exponent, log).tolist() == index.tolist()
