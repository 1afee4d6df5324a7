from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rmtl_tf.data.segments import copy_segments, windows


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=20), st.integers(0, 3))
def test_segments_are_copied_as_a_loop_over_slices_copies_them(segments, gap):
    data = np.arange(50, dtype=np.uint8)
    start = np.array([first for first, _ in segments], np.int64)
    size = np.array([length for _, length in segments], np.int64)
    to = np.cumsum(size + gap) - size
    expected = np.full(int((size + gap).sum()), 255, np.uint8)
    for target, first, length in zip(to, start, size, strict=True):
        expected[target : target + length] = data[first : first + length]
    out = np.full(expected.size, 255, np.uint8)
    copy_segments(out, to, data, start, size)
    np.testing.assert_array_equal(out, expected)


def test_segments_longer_than_sixteen_bits_are_copied_too():
    data = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8)
    size = np.array([100_000, 3, 70_000])
    to = np.cumsum(size) - size
    start = np.array([50_000, 7, 1])
    out = np.zeros(size.sum(), np.uint8)
    copy_segments(out, to, data, start, size)
    for i in range(3):
        np.testing.assert_array_equal(out[to[i] : to[i] + size[i]], data[start[i] : start[i] + size[i]])


def test_windows_are_views_of_every_place():
    data = np.arange(6, dtype=np.uint8)
    assert [bytes(window.tobytes()) for window in windows(data, 4)] == [
        bytes(range(i, i + 4)) for i in range(3)
    ]
    assert windows(data, 7).size == 0
