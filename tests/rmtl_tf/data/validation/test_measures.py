from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from rmtl_tf.data.validation.measures import gaps, jensen_shannon, shares

COUNTS = st.lists(st.integers(0, 1000), min_size=6, max_size=6).filter(any).map(np.array)


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_scipys_distance_squared(before, after):
    expected = jensenshannon(before, after, base=2) ** 2
    assert jensen_shannon(before, after) == pytest.approx(expected, abs=1e-12)
    assert 0 <= jensen_shannon(before, after) <= 1


def test_jensen_shannon_by_hand():
    assert jensen_shannon(np.array([1, 0]), np.array([0, 3])) == 1
    assert jensen_shannon(np.array([2, 6]), np.array([1, 3])) == 0
    # m = (3/4, 1/4): KL((1, 0) || m) = log2(4/3), KL((1/2, 1/2) || m) = log2(2/3) / 2 + log2(2) / 2
    expected = (np.log2(4 / 3) + (np.log2(2 / 3) + 1) / 2) / 2
    assert jensen_shannon(np.array([4, 0]), np.array([2, 2])) == pytest.approx(expected)


@given(COUNTS, COUNTS)
def test_gaps_are_differences_of_shares(before, after):
    loop = [abs(a / sum(before) - b / sum(after)) for a, b in zip(before, after, strict=True)]
    np.testing.assert_allclose(gaps(before, after), loop, atol=1e-12)


def test_nothing_has_no_shares():
    with pytest.raises(ValueError, match="sum above 0"):
        shares(np.zeros(3))
