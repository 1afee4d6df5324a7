"""Tests of each weighting against its formula in numpy, and of what all of them promise."""

import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rmtl_tf.config import PRESETS, WeightingConfig, parse_config
from rmtl_tf.errors import UserError
from rmtl_tf.weighting import (
    GRADIENT_METHODS,
    LOSS_WEIGHTINGS,
    NLC,
    RMTL,
    WEIGHTINGS,
    WL,
    Advantage,
    Constant,
    Entropy,
    MonteCarlo,
    SessionBalanced,
    build_weighting,
    settings_of,
)
from rmtl_tf.weighting.base import Context, Memoryless
from rmtl_tf.weighting.scaled import Scaled
from tests.rmtl_tf.weighting.conftest import make_context, make_losses

every = pytest.mark.parametrize("kind", [WEIGHTINGS[name] for name in LOSS_WEIGHTINGS], ids=LOSS_WEIGHTINGS)
values = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.floats(-1000, 0, width=32)
)
powers = st.floats(-4, 4, width=32)


def weights(weighting, losses, context):
    return weighting.update(losses, context, weighting.init(losses.shape[1]))[0].numpy()


def entropy_of(p):
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


ORACLES = [
    (Constant(), lambda c: np.ones_like(c.q)),
    (RMTL(), lambda c: 1 - 0.7 * c.q),
    (RMTL(lam=2.0, power=-1.0), lambda c: 1 / (1 - 2 * c.q)),
    (RMTL(lam=0.3, power=0.5), lambda c: np.sqrt(1 - 0.3 * c.q)),
    (RMTL(power=0.0), lambda c: np.ones_like(c.q)),
    (WL(), lambda c: np.where(c.labels == 1, 1 - 0.7 * c.q, 1)),
    (WL(lam=3.0), lambda c: np.where(c.labels == 1, 1 - 3 * c.q, 1)),
    (NLC(), lambda c: np.abs(c.q)),
    (
        SessionBalanced(),
        lambda c: np.array([3, 3, 3, 2, 2, 1, 1], float)[:, None] ** -0.5 * np.ones_like(c.q),
    ),
    (MonteCarlo(), lambda c: 1 - 0.7 * c.returns),
    (MonteCarlo(lam=2.0, power=-2.0), lambda c: (1 - 2 * c.returns) ** -2),
    (Entropy(), lambda c: 1 / (1 + 5 * entropy_of(c.frozen))),
    (Entropy(strength=0.5), lambda c: 1 / (1 + 0.5 * entropy_of(c.frozen))),
    (Advantage(), lambda c: np.exp(np.clip(-0.7 * (c.q - c.value), -10, 10))),
    (Advantage(lam=0.1, power=-2.0), lambda c: np.exp(np.clip(0.2 * (c.q - c.value), -10, 10))),
]


@pytest.mark.parametrize(("weighting", "oracle"), ORACLES, ids=[repr(w) for w, _ in ORACLES])
@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_weights_follow_the_formula(weighting, oracle, tasks):
    context = make_context(tasks)
    numbers = Context(*(np.asarray(field, np.float64) for field in context))
    actual = weights(weighting, make_losses(tasks), context)
    assert actual.dtype == np.float32
    assert actual.shape == (7, tasks)
    np.testing.assert_allclose(actual, oracle(numbers), rtol=1e-5)


def test_every_weighting_of_records_has_a_formula_here():
    """Those of tasks: test_task_level.py; gradient methods: test_gradient_methods.py."""
    of_records = {WEIGHTINGS[name] for name in LOSS_WEIGHTINGS if issubclass(WEIGHTINGS[name], Memoryless)}
    assert {type(weighting) for weighting, _ in ORACLES} == of_records


@every
def test_weighting_is_pure_and_the_same_in_a_graph(kind, losses, context):
    weighting = kind()
    state = graph_state = weighting.init(2)
    update = tf.function(weighting.update)
    for _ in range(3):
        before = [np.array(value) for value in state]
        first, following = weighting.update(losses, context, state)
        again, _ = weighting.update(losses, context, state)
        graph, graph_state = update(losses, context, graph_state)
        np.testing.assert_allclose(first, graph, rtol=2e-6)
        np.testing.assert_array_equal(first, again)
        for old, value in zip(before, state, strict=True):
            np.testing.assert_array_equal(old, value)
        state = following
    assert [value.dtype for value in state] == [value.dtype for value in weighting.init(2)]
    for eager, traced in zip(state, graph_state, strict=True):
        np.testing.assert_allclose(eager, traced, rtol=2e-6)


@every
@pytest.mark.parametrize("scale", [None, "batch", "task"])
def test_no_gradient_flows_through_the_weights(kind, scale, losses, context):
    weighting = kind() if scale is None else Scaled(kind(), scale, cap=2.0)
    theta = tf.Variable(1.5)
    with tf.GradientTape() as tape:
        moved = context._replace(q=context.q * theta, returns=context.returns * theta)
        omega, _ = weighting.update(losses * theta, moved, weighting.init(2))
        loss = tf.reduce_sum(omega * losses)
    assert tape.gradient(loss, theta) is None


@every
def test_gradient_of_the_weighted_loss_is_the_weighted_gradient(kind, losses, context):
    theta = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        omega, _ = kind().update(losses * theta, context, kind().init(2))
        loss = tf.reduce_sum(omega * losses * theta)
    np.testing.assert_allclose(tape.gradient(loss, theta), np.sum(omega * losses), rtol=1e-5)


@every
def test_needs_is_exactly_what_is_read(kind, losses, context):
    weighting = kind()
    needs = weighting.NEEDS
    assert needs <= set(Context._fields)
    only = Context(**{name: getattr(context, name) for name in weighting.NEEDS})
    np.testing.assert_array_equal(weights(weighting, losses, only), weights(weighting, losses, context))
    for name in weighting.NEEDS:
        with pytest.raises(UserError, match=rf"context\.{name}, received None"):
            weights(weighting, losses, only._replace(**{name: None}))


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("constant", set()),
        ("rmtl", {"q"}),
        ("wl", {"q", "labels"}),
        ("nlc", {"q"}),
        ("session_balanced", {"session_length"}),
        ("monte_carlo", {"returns"}),
        ("entropy", {"frozen"}),
        ("advantage", {"q", "value"}),
        ("uncertainty", {"mask"}),
        ("rlw", set()),
        ("dwa", {"mask"}),
        ("famo", {"mask"}),
        ("stch", {"mask"}),
        ("pcgrad", set()),
    ],
)
def test_needs_tells_the_trainer_what_to_compute(name, needs):
    actual = build_weighting(WeightingConfig(name=name)).NEEDS
    assert actual == needs


@settings(deadline=None)
@given(values, powers, st.booleans())
def test_lambda_0_is_exactly_1_everywhere(q, power, labels):
    context = Context(q=tf.constant(q), returns=tf.constant(q), labels=tf.fill(q.shape, int(labels)))
    for weighting in (RMTL(0.0, power), MonteCarlo(0.0, power), WL(0.0)):
        for outer in (weighting, Scaled(weighting, "batch"), Scaled(weighting, "task", cap=1.0)):
            np.testing.assert_array_equal(weights(outer, tf.ones(q.shape), context), np.ones_like(q))


@settings(deadline=None)
@given(values, st.floats(0, 100, width=32))
def test_papers_weight_is_at_least_1_and_its_inverse_lies_in_0_1(q, lam):
    context = Context(q=tf.constant(q))
    paper = weights(RMTL(lam, 1.0), tf.ones(q.shape), context)
    inverse = weights(RMTL(lam, -1.0), tf.ones(q.shape), context)
    assert (paper >= 1).all()
    assert (inverse > 0).all()
    assert (inverse <= 1).all()
    np.testing.assert_allclose(paper * inverse, 1, rtol=1e-5)


@settings(deadline=None)
@given(values)
def test_worse_expectation_means_more_weight_in_the_paper_and_less_in_the_inverse(q):
    order = np.argsort(q, axis=0)
    context = Context(q=tf.constant(np.take_along_axis(q, order, axis=0)))
    assert (np.diff(weights(RMTL(), tf.ones(q.shape), context), axis=0) <= 0).all()
    assert (np.diff(weights(RMTL(power=-1.0), tf.ones(q.shape), context), axis=0) >= 0).all()


def test_a_sure_actor_gets_weight_1_and_an_unsure_one_the_least():
    context = Context(frozen=tf.constant([[0.0], [1.0], [0.5], [0.9]]))
    omega = weights(Entropy(), tf.ones((4, 1)), context)[:, 0]
    np.testing.assert_allclose(
        omega, [1, 1, 1 / (1 + 5 * np.log(2)), 1 / (1 + 5 * entropy_of(0.9))], rtol=1e-6
    )


def test_advantage_is_finite_for_any_value_and_1_where_the_action_is_the_mean():
    context = Context(q=tf.constant([[-1e6], [0.0], [-3.0]]), value=tf.constant([[0.0], [-1e6], [-3.0]]))
    omega = weights(Advantage(), tf.ones((3, 1)), context)[:, 0]
    np.testing.assert_allclose(omega, [np.exp(10), np.exp(-10), 1], rtol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_session_balanced_weights_of_a_session_sum_to_the_root_of_its_length(lengths):
    context = Context(session_length=tf.constant(lengths, tf.float32))
    omega = weights(SessionBalanced(), tf.ones((len(lengths), 1)), context)[:, 0]
    np.testing.assert_allclose(omega * lengths, np.sqrt(lengths), rtol=1e-5)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_reported_settings_build_the_same_weighting_again(name):
    """The round trip of a configuration, with no setting at its default."""
    values = {"lambda": 0.25, "power": -2.0, "strength": 2.0, "rate": 0.5, "decay": 0.25, "window": 3}
    values |= {
        "softness": 0.5,
        "mu": 0.1,
        "alpha": 0.5,
        "radius": 0.25,
        "update_every": 3,
        "max_norm": 0.5,
        "seed": 7,
    }
    if name in LOSS_WEIGHTINGS:
        values |= {"normalise": "task", "cap": 3.0, "temperature": 0.5}
    config = WeightingConfig(name=name, **values)
    reported = json.loads(json.dumps(settings_of(config)))
    assert build_weighting(WeightingConfig(**reported)) == build_weighting(config)
    assert build_weighting(config) != build_weighting(WeightingConfig(name=name)) or len(reported) == 1


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_configuration_reaches_the_weighting(name):
    config = WeightingConfig(name=name, lam=0.25, power=-2.0)
    weighting = build_weighting(config)
    assert type(weighting) is WEIGHTINGS[name]
    for parameter in inspect.signature(WEIGHTINGS[name]).parameters:
        assert getattr(weighting, parameter) == getattr(config, parameter)


def test_only_the_settings_a_weighting_reads_are_reported():
    assert settings_of(WeightingConfig(name="rmtl", lam=5.0, power=-1.0, normalise="batch")) == {
        "name": "rmtl",
        "lambda": 5.0,
        "power": -1.0,
        "normalise": "batch",
        "cap": None,
        "temperature": 1.0,
    }
    assert settings_of(WeightingConfig(name="gradnorm")) == {"name": "gradnorm", "rate": 0.025, "alpha": 1.5}
    for name in WEIGHTINGS:
        assert WeightingConfig(**settings_of(WeightingConfig(name=name, seed=3, rate=0.5))).name == name


def test_defaults_are_those_of_the_configuration():
    for name, kind in WEIGHTINGS.items():
        assert build_weighting(WeightingConfig(name=name)) == kind()


def test_normalisation_and_cap_of_the_configuration_wrap_the_weighting():
    inner = build_weighting(WeightingConfig(name="rmtl"))
    assert build_weighting(WeightingConfig(name="rmtl", normalise="task")) == Scaled(inner, "task", None)
    assert build_weighting(WeightingConfig(name="rmtl", cap=3.0)) == Scaled(inner, "none", 3.0)
    tempered = build_weighting(WeightingConfig(name="rmtl", temperature=2.0))
    assert tempered == Scaled(inner, "none", None, 2.0)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_presets_name_existing_weightings(preset):
    assert build_weighting(WeightingConfig(**preset["weighting"])).init(2) == ()


@pytest.mark.parametrize("name", GRADIENT_METHODS)
@pytest.mark.parametrize("scaling", [{"normalise": "batch"}, {"cap": 2.0}, {"temperature": 2.0}])
def test_a_gradient_method_is_not_scaled(name, scaling):
    with pytest.raises(UserError, match=f"weighting {name}: {next(iter(scaling))} expected at the default"):
        build_weighting(WeightingConfig(name=name, **scaling))
    arms = ["control", {"name": "other", "weighting": {"name": name, **scaling}}]
    with pytest.raises(UserError, match="a gradient method weighs no records"):
        parse_config({"name": "x", "training": {"arms": arms}})


def test_unknown_weighting_names_the_nearest():
    with pytest.raises(UserError, match=r'no "rmlt"; did you mean "rmtl"\?'):
        build_weighting(WeightingConfig(name="rmlt"))


def test_every_task_is_raised_to_its_own_power(losses, context):
    by_task = (-1.0, 0.5)
    for weighting, v in ((RMTL(2.0, by_task), context.q), (MonteCarlo(2.0, by_task), context.returns)):
        expected = (1 - 2 * v.numpy().astype(np.float64)) ** np.array([-1, 0.5])
        np.testing.assert_allclose(weights(weighting, losses, context), expected, rtol=1e-5)


def test_powers_by_task_follow_the_order_of_the_tasks_and_can_be_scaled():
    config = WeightingConfig(name="rmtl", power={"buy": 2.0, "click": -1.0}, normalise="task")
    assert build_weighting(config, ["click", "buy"]) == Scaled(RMTL(power=(-1.0, 2.0)), "task", None)
    assert WeightingConfig(**settings_of(config)) == config


@pytest.mark.parametrize("power", [{"click": 1.0}, {"click": 1.0, "buy": 0.0, "like": 1.0}])
def test_powers_for_other_tasks_are_refused(power):
    with pytest.raises(UserError, match=r"power expected for each of the tasks \['click', 'buy'\]"):
        build_weighting(WeightingConfig(name="monte_carlo", power=power), ["click", "buy"])


def test_powers_that_validation_must_choose_build_nothing_yet():
    config = WeightingConfig(name="rmtl", power="validation")
    assert settings_of(config)["power_candidates"] == [-1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="chosen by validation first"):
        build_weighting(config, ["click", "buy"])


@pytest.mark.parametrize("name", ["advantage", "wl", "pcgrad"])
def test_powers_by_task_are_refused_where_there_is_no_power_law(name):
    with pytest.raises(UserError, match=r"only rmtl and monte_carlo"):
        build_weighting(WeightingConfig(name=name, power={"click": 1.0}), ["click"])
