"""Tests of `ESCM2IPS` and `ESCM2DR`."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import ESCM2DR, ESCM2IPS, ESMM
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones.oracles import sigmoid

both = pytest.mark.parametrize("kind", [ESCM2IPS, ESCM2DR])
FUNNEL = [Task("click"), Task("like", "click"), Task("view"), Task("buy", "like")]  # like: 0, buy: 1


def cross_entropy(label, p):
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def labels_of(n, count, seed=0):
    """Labels down a chain, a child never without its parent."""
    labels = np.random.default_rng(seed).integers(0, 2, (n, count))
    return np.cumprod(labels, axis=1).astype(np.float32)


def risk(o, state, task, parent, labels, kind, propensity, c):
    """The mean risk of a task by the paper's formulas; `c` numbers the children."""
    p = sigmoid(o.tower(task, 1, o.mlp(f"bottom_{task}", 2, state)))
    error = cross_entropy(labels[:, task], p)
    weight = labels[:, parent] * np.minimum(1 / propensity, 15)
    if kind is ESCM2IPS:
        return weight * error
    hidden = o.mlp(f"imputation_towers/hidden_{c}", 1, o.mlp(f"imputation_bottom_{task}", 2, state))
    imputed = np.log1p(np.exp(o.dense(f"imputation_towers/output_{c}", hidden)[:, 0]))
    return imputed + weight * (error - imputed) + weight * (error - imputed) ** 2


@both
@pytest.mark.parametrize("count", [2, 4])
def test_loss_follows_the_papers_formulas_down_a_chain(kind, count, spec, tasks, batch, oracle, small):
    backbone = kind(spec, tasks(count), counterfactual_weight=0.3, **{**small, "dropout": 0.0})
    backbone.build()
    o, labels = oracle(backbone), labels_of(40, count)
    mask = np.random.default_rng(1).integers(0, 2, 40).astype(np.float32)
    inputs = batch(40)
    logits, loss = backbone.logits_and_loss(inputs, tf.constant(labels), tf.constant(mask))
    np.testing.assert_array_equal(logits, backbone(inputs))
    state = o.state(inputs)
    own = [sigmoid(o.tower(k, 1, o.mlp(f"bottom_{k}", 2, state))) for k in range(count)]
    chained = np.cumprod(own, axis=0)
    risks = [risk(o, state, k, k - 1, labels, kind, chained[k - 1], k - 1) for k in range(1, count)]
    expected = 0.3 * sum((mask * r).sum() / mask.sum() for r in risks) / count
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@both
def test_every_parent_and_child_of_a_tree_has_its_risk(kind, spec, batch, oracle, small):
    backbone = kind(spec, FUNNEL, counterfactual_weight=1.0, **{**small, "dropout": 0.0})
    backbone.build()
    o, inputs = oracle(backbone), batch(40)
    labels = np.random.default_rng(2).integers(0, 2, (40, 4)).astype(np.float32)
    state = o.state(inputs)
    click, like = (sigmoid(o.tower(k, 1, o.mlp(f"bottom_{k}", 2, state))) for k in (0, 1))
    expected = risk(o, state, 1, 0, labels, kind, click, 0) + risk(
        o, state, 3, 1, labels, kind, click * like, 1
    )
    _, loss = backbone.logits_and_loss(inputs, tf.constant(labels), tf.ones(40))
    np.testing.assert_allclose(loss, expected.mean() / 4, rtol=1e-4)


@both
def test_forward_is_that_of_esmm(kind, spec, tasks, batch, small):
    np.testing.assert_array_equal(
        kind(spec, tasks(3), **small)(batch()), ESMM(spec, tasks(3), **small)(batch())
    )


@both
def test_no_gradient_flows_through_the_propensity(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(2), **{**small, "dropout": 0.0})
    backbone.build()
    labels = tf.constant(labels_of(40, 2))
    with tf.GradientTape() as tape:
        _, loss = backbone.logits_and_loss(batch(40), labels, tf.ones(40))
    click = [*backbone.bottoms[0].trainable_variables]
    click += [v for v in backbone.trainable_variables if "/output_0/" in v.path and "/towers/" in v.path]
    assert len(click) == 6
    gradients = tape.gradient(loss, [*click, *backbone.bottoms[1].trainable_variables])
    assert not any(gradient is not None and bool(tf.reduce_any(gradient != 0)) for gradient in gradients[:6])
    assert all(bool(tf.reduce_any(gradient != 0)) for gradient in gradients[6:])


def test_ips_is_unbiased_where_the_propensity_is_right():
    """Over all outcomes of the parent, weighted by their probability, w e has the mean e."""
    random = np.random.default_rng(0)
    propensity, error = random.uniform(0.1, 1, 50), random.random(50)
    expected = sum(np.where(o, propensity, 1 - propensity) * (o / propensity) * error for o in (0.0, 1.0))
    np.testing.assert_allclose(expected, error)


@both
def test_loss_and_gradient_are_finite_when_the_parent_is_all_but_impossible(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(2), counterfactual_weight=1.0, **{**small, "dropout": 0.0})
    backbone.build()
    backbone.towers.output_layers[0].bias.assign([-1e4])
    with tf.GradientTape() as tape:
        logits, loss = backbone.logits_and_loss(batch(20), tf.ones((20, 2)), tf.ones(20))
    assert np.isfinite(logits).all()
    error = tf.nn.softplus(-backbone.conditional_logits(backbone.state(batch(20)))[:, 1]).numpy()
    if kind is ESCM2IPS:
        np.testing.assert_allclose(loss, 15 * error.mean() / 2, rtol=1e-5)  # the largest weight
    assert np.isfinite(loss)
    own = [v for v in backbone.trainable_variables if "_0/" not in v.path]
    for gradient in tape.gradient(loss, own):
        assert gradient is None or np.isfinite(tf.convert_to_tensor(gradient)).all()


@both
def test_a_batch_without_records_or_parents_has_no_nan(kind, spec, tasks, batch, small):
    backbone = kind(spec, tasks(2), **small)
    backbone.build()
    labels = tf.zeros((6, 2))
    assert backbone.logits_and_loss(batch(), labels, tf.zeros(6))[1] == 0
    loss = float(backbone.logits_and_loss(batch(), labels, tf.ones(6))[1])
    assert loss == 0 if kind is ESCM2IPS else loss > 0


def test_imputation_learns_the_error_of_observed_records(spec, tasks, batch, small):
    """Only e^ is trained: it approaches the error, and the loss falls."""
    sizes = {"dropout": 0.0, "bottom": (16, 16), "tower": (16,)}
    backbone = ESCM2DR(spec, tasks(2), counterfactual_weight=1.0, **{**small, **sizes})
    backbone.build()
    inputs, labels = batch(30), tf.ones((30, 2))
    backbone.towers.output_layers[0].bias.assign([30.0])  # propensity 1: the risk is e + (e - e^)^2
    state = backbone.state(inputs)
    error = tf.nn.softplus(-backbone.conditional_logits(state)[:, 1]).numpy()
    own = [v for v in backbone.trainable_variables if "imputation" in v.path]

    def gap():
        return np.abs(backbone.imputed(state).numpy()[:, 0] - error).mean()

    before, optimizer = gap(), tf.keras.optimizers.Adam(0.01)
    optimizer.build(own)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            _, loss = backbone.logits_and_loss(inputs, labels, tf.ones(30))
        optimizer.apply(tape.gradient(loss, own), own)

    for _ in range(100):
        step()
    assert gap() < 0.3 * before


@both
def test_tasks_without_parents_are_refused(kind, spec, tasks, small):
    for alone in (tasks(1), tasks(3, chain=False)):
        with pytest.raises(UserError, match=f"{kind.__name__}: expected a task with a parent"):
            kind(spec, alone, **small)
