"""Tests of `STEM`."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import STEM
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles

SIZES = {"task_experts": 2, "shared_experts": 3}


def test_logits_follow_the_papers_equations_for_any_experts(spec, tasks, batch, oracle, small):
    backbone = STEM(spec, tasks(2), **SIZES, **small)
    backbone.build()
    expected = oracles.stem(oracle(backbone), batch(), 2, own=2, shared=3)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def gradients_of(backbone, batch, k):
    """Path -> largest absolute gradient of task k's summed logit; 0 where none."""
    with tf.GradientTape() as tape:
        logit = tf.reduce_sum(backbone(batch, training=True)[:, k])
    variables = backbone.trainable_variables
    found = zip(variables, tape.gradient(logit, variables), strict=True)
    return {v.path: 0 if g is None else np.abs(tf.convert_to_tensor(g)).max() for v, g in found}


@pytest.mark.parametrize("k", [0, 1, 2])
def test_a_task_teaches_its_own_and_the_shared_parts_only(k, spec, tasks, batch, small):
    sizes = {"dropout": 0.0, "bottom": (16, 16), "tower": (16,)}
    backbone = STEM(spec, tasks(3), cross_layers=1, **SIZES, **{**small, **sizes})
    backbone.build()
    gradients = gradients_of(backbone, batch(50), k)
    for path, gradient in gradients.items():
        own = any(f"{part}_{k}/" in path for part in ("embedding", "experts", "gate", "cross"))
        own |= f"towers/hidden_{k}" in path or f"towers/output_{k}" in path
        shared = any(f"/{part}/" in path for part in ("embedding", "experts_shared", "cross"))
        assert (gradient > 0) == (own or shared), path


def test_all_experts_reach_every_tower(spec, tasks, batch, small):
    """Forward nothing is stopped: another task's embedding changes this task's logit."""
    backbone = STEM(spec, tasks(2), **SIZES, **small)
    before = backbone(batch()).numpy()
    table = backbone.task_embeddings[1].table
    table.assign(table + 1.0)
    assert (backbone(batch()).numpy()[:, 0] != before[:, 0]).all()


def test_embeddings_start_apart(spec, tasks, small):
    backbone = STEM(spec, tasks(2), **SIZES, **small)
    backbone.build()
    tables = [e.table.numpy() for e in (*backbone.task_embeddings, backbone.embedding)]
    assert (tables[0] != tables[1]).all()
    assert (tables[1] != tables[2]).all()


def test_a_dropped_id_is_dropped_in_every_embedding(spec, tasks, small):
    backbone = STEM(spec, tasks(2), id_dropout=0.5, **SIZES, **small)
    backbone.build()
    n = 200
    inputs = {"user": tf.fill([n], 3), "item": tf.fill([n], 4), "price": tf.zeros(n), "age": tf.zeros(n)}
    state = backbone.state(inputs, training=True).numpy().reshape(n, 3, 3, 4)  # N, embeddings, fields, D
    tables = [e.table.numpy() for e in (*backbone.task_embeddings, backbone.embedding)]
    dropped = np.stack([(state[:, i, 0] == tables[i][1]).all(axis=1) for i in range(3)])
    kept = np.stack([(state[:, i, 0] == tables[i][3]).all(axis=1) for i in range(3)])
    assert (dropped ^ kept).all()
    assert (dropped == dropped[0]).all()
    assert 60 < dropped[0].sum() < 140
    item = (state[:, 0, 1] == tables[0][5 + 1]).all(axis=1)
    assert (item != dropped[0]).any()


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = STEM(spec, [Task("click"), Task("buy")])
    backbone.build()
    state = 7 * 128
    expert = (state * 512 + 512) + (512 * 256 + 256)
    tower = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    expected = 3 * 7 * 1000 * 128 + 12 * expert + 2 * (state * 12 + tower)
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected


def test_experts_without_layers_are_refused(spec, tasks, small):
    with pytest.raises(UserError, match=r"model\.bottom"):
        STEM(spec, tasks(2), **{**small, "bottom": ()})
