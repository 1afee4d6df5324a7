"""Tests of `Scaled`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rmtl_tf.weighting import NLC, RMTL, Constant, SessionBalanced
from rmtl_tf.weighting.base import Context
from rmtl_tf.weighting.scaled import Scaled


def scaled(inner, normalise, cap, losses, context):
    weighting = Scaled(inner, normalise, cap)
    return weighting.update(losses, context, weighting.init(losses.shape[1]))[0].numpy()


def test_batch_divides_by_the_mean_over_valid_records_and_tasks(losses, context):
    omega = 1 - 0.7 * context.q.numpy()
    expected = omega / omega[:5].mean()
    actual = scaled(RMTL(), "batch", None, losses, context)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert actual[:5].mean() == pytest.approx(1, rel=1e-6)


def test_task_divides_by_each_tasks_own_mean(losses, context):
    omega = 1 - 0.7 * context.q.numpy()
    actual = scaled(RMTL(), "task", None, losses, context)
    np.testing.assert_allclose(actual, omega / omega[:5].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(actual[:5].mean(axis=0), [1, 1], rtol=1e-6)


def test_without_a_mask_every_row_counts(losses, context):
    length = tf.constant([3, 3, 3, 2, 2, 1, 1], tf.float32)
    actual = scaled(SessionBalanced(), "batch", None, losses, Context(session_length=length))
    assert actual.mean() == pytest.approx(1, rel=1e-6)


def test_boolean_mask_is_as_good_as_numbers(losses, context):
    number = scaled(RMTL(), "batch", None, losses, context)
    flag = scaled(RMTL(), "batch", None, losses, context._replace(mask=context.mask > 0))
    np.testing.assert_array_equal(number, flag)


def test_not_a_number_in_padding_does_not_reach_valid_rows(losses, context):
    q = context.q.numpy()
    q[5:] = np.nan
    actual = scaled(RMTL(), "batch", 5.0, losses, context._replace(q=tf.constant(q)))
    np.testing.assert_array_equal(actual[:5], scaled(RMTL(), "batch", 5.0, losses, context)[:5])


def test_cap_comes_after_normalising(losses, context):
    omega = 1 - 0.7 * context.q.numpy()
    expected = np.minimum(omega / omega[:5].mean(), 1.1)
    actual = scaled(RMTL(), "batch", 1.1, losses, context)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert (actual == np.float32(1.1)).any()
    assert (actual < np.float32(1.1)).any()


def test_cap_alone_leaves_smaller_weights_to_the_bit(losses, context):
    omega = scaled(RMTL(), "none", None, losses, context)
    np.testing.assert_array_equal(
        scaled(RMTL(), "none", 3.0, losses, context), np.minimum(omega, np.float32(3))
    )


@pytest.mark.parametrize("temperature", [0.25, 2.0, 10.0])
def test_temperature_comes_before_normalising_and_cap(temperature, losses, context):
    omega = (1 - 0.7 * context.q.numpy()) ** (1 / temperature)
    weighting = Scaled(RMTL(), "batch", 1.1, temperature)
    actual = weighting.update(losses, context, weighting.init(2))[0].numpy()
    expected = np.minimum(omega / omega[:5].mean(), 1.1)
    np.testing.assert_allclose(actual[:5], expected[:5], rtol=1e-5)


@pytest.mark.parametrize(("normalise", "axis"), [("batch", None), ("task", 0)])
def test_a_low_temperature_leaves_normalised_weights_finite(normalise, axis, losses, context):
    """omega = 7e5 to the power 100 is no float32; padding is as large and changes nothing."""
    random = np.random.default_rng(2)
    q = -1e6 * random.uniform(0.9, 1, (7, 2))
    weighting = Scaled(RMTL(), normalise, temperature=0.01)
    needed = context._replace(q=tf.constant(q, tf.float32))
    actual = weighting.update(losses, needed, ())[0].numpy()
    relative = (1 - 0.7 * q) / (1 - 0.7 * q)[:5].max()
    expected = relative**100 / (relative[:5] ** 100).mean(axis=axis)
    np.testing.assert_allclose(actual[:5], expected[:5], rtol=1e-3)
    assert np.isfinite(actual).all()


def test_temperature_1_leaves_the_weights_to_the_bit(losses, context):
    plain = scaled(RMTL(), "none", None, losses, context)
    weighting = Scaled(RMTL(), temperature=1.0)
    np.testing.assert_array_equal(weighting.update(losses, context, ())[0], plain)
    np.testing.assert_array_equal(plain, RMTL().update(losses, context, ())[0])
    zero = context._replace(q=tf.zeros_like(context.q))
    np.testing.assert_array_equal(
        Scaled(NLC(), temperature=3.0).update(losses, zero, ())[0], np.zeros((7, 2))
    )


@pytest.mark.parametrize("normalise", ["batch", "task"])
def test_weights_stay_finite_where_the_mean_is_0_or_nothing_is_valid(normalise, losses, context):
    zero = context._replace(q=tf.zeros_like(context.q))
    np.testing.assert_array_equal(scaled(NLC(), normalise, None, losses, zero), np.zeros((7, 2)))
    nothing = context._replace(mask=tf.zeros(7))
    np.testing.assert_array_equal(scaled(Constant(), normalise, None, losses, nothing), np.ones((7, 2)))
    assert np.isfinite(scaled(NLC(), normalise, 2.0, losses, nothing)).all()


def test_task_with_mean_0_does_not_disturb_the_other(losses, context):
    q = context.q.numpy()
    q[:, 0] = 0
    actual = scaled(NLC(), "task", None, losses, context._replace(q=tf.constant(q)))
    np.testing.assert_array_equal(actual[:, 0], np.zeros(7))
    assert actual[:5, 1].mean() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(("normalise", "extra"), [("none", set()), ("batch", {"mask"}), ("task", {"mask"})])
def test_needs_adds_the_mask_where_it_is_read(normalise, extra):
    needs = Scaled(RMTL(), normalise).NEEDS
    assert needs == {"q"} | extra


@settings(deadline=None)
@given(
    st.integers(1, 3000),
    st.integers(1, 4),
    st.floats(0, 1),
    st.integers(0, 1000),
    st.sampled_from(["batch", "task"]),
)
def test_mean_of_ones_is_exactly_1_for_any_size_and_mask(n, k, share, seed, normalise):
    mask = tf.constant(np.random.default_rng(seed).random(n) < share)
    actual = scaled(Constant(), normalise, 1.0, tf.ones((n, k)), Context(mask=mask))
    np.testing.assert_array_equal(actual, np.ones((n, k)))


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 3)),
        elements=st.floats(-100, -0.125, width=32),
    ),
    st.floats(0.01, 100),
    st.sampled_from(["batch", "task"]),
)
def test_normalised_weights_do_not_depend_on_the_scale_of_the_weights(q, scale, normalise):
    one = scaled(NLC(), normalise, None, tf.ones(q.shape), Context(q=tf.constant(q)))
    other = scaled(NLC(), normalise, None, tf.ones(q.shape), Context(q=tf.constant(q * np.float32(scale))))
    np.testing.assert_allclose(one, other, rtol=1e-4)


@dataclass(frozen=True)
class Counting:
    """A weighting with memory: the number of batches seen."""

    NEEDS: ClassVar[frozenset[str]] = frozenset()

    def init(self, num_tasks):
        return (tf.zeros(num_tasks),)

    def update(self, losses, context, state):
        count = state[0] + 1
        return tf.ones_like(losses) * count, (count,)


def test_state_of_the_inner_weighting_is_handed_on(losses, context):
    weighting = Scaled(Counting(), "none", cap=2.0)
    state = weighting.init(2)
    for expected in (1.0, 2.0, 2.0):
        omega, state = weighting.update(losses, context, state)
        np.testing.assert_array_equal(omega, np.full((7, 2), expected))
    np.testing.assert_array_equal(state[0], [3, 3])
