"""The closed form of skipped steps against the steps themselves."""

from __future__ import annotations

import numpy as np
import pytest

from rmtl_tf.optimizers.skipped_adam import SkippedAdam


def one_by_one(w, m, v, last, now, rate, decay, b1=0.9, b2=0.999, eps=1e-7):
    """Adam with gradient 0, float64."""
    for t in range(last + 1, now + 1):
        w = w - w * decay * rate
        m, v = b1 * m, b2 * v
        w = w - rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
    return w, m, v


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("last", "skipped"), [(1, 1), (1, 2000), (7, 40), (300, 5), (5000, 300), (40_000, 90)]
)
def test_a_row_is_where_the_skipped_steps_would_have_brought_it(last, skipped, decay):
    """Also where sqrt(v) is near epsilon, which is where embeddings of large batches live."""
    random = np.random.default_rng(last)
    w = random.normal(size=(6, 8)) * 0.1
    m = random.normal(size=(6, 8)) * 10.0 ** random.integers(-9, 1, (6, 1))
    v = m**2 * 10.0 ** random.integers(-4, 2, (6, 8))
    expected = one_by_one(w, m, v, last, last + skipped, 1e-2, decay)
    arrays = [x.astype(np.float32) for x in (w, m, v)]
    got = SkippedAdam(1e-2, decay, 0.9, 0.999, 1e-7)(*arrays, np.full(6, last), last + skipped)
    moved = np.abs(expected[0] - w).max()
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-6, atol=1e-6 * moved + 1e-8)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(got[2], expected[2], rtol=1e-5, atol=1e-30)


def test_the_series_alone_is_good_to_a_hundred_millionth():
    w, m, v = (np.full((4, 3), x, np.float64) for x in (0.0, 1e-3, 1e-7))
    expected, *_ = one_by_one(w, m, v, 50, 250, 1e-3, 0.0)
    got, *_ = SkippedAdam(1e-3, 0.0, 0.9, 0.999, 1e-7)(w, m, v, np.full(4, 50), 250)
    np.testing.assert_allclose(got, expected, rtol=1e-8)


def test_no_step_changes_nothing():
    w, m, v = (np.full((2, 3), x, np.float32) for x in (0.3, 1e-3, 1e-7))
    for new, old in zip(
        SkippedAdam(1e-3, 0.1, 0.9, 0.999, 1e-7)(w, m, v, np.full(2, 9), 9), (w, m, v), strict=True
    ):
        np.testing.assert_array_equal(new, old)


def test_betas_without_a_closed_form_are_refused():
    with pytest.raises(ValueError, match="beta_2"):
        SkippedAdam(1e-3, 0.0, 0.9, 0.9, 1e-7)
