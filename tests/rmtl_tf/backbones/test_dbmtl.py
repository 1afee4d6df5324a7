"""Tests of `DBMTL`."""

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.backbones import DBMTL
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles

TREE = [Task("click"), Task("like", "click"), Task("view"), Task("buy", "click"), Task("return", "buy")]


@pytest.mark.parametrize(
    ("names", "parents"),
    [(1, (None,)), (2, (None, 0)), ("tree", (None, 0, None, 0, 3))],
)
@pytest.mark.parametrize("relation", [(7,), (4, 3), ()])
def test_logits_follow_the_bayesian_network(names, parents, relation, spec, tasks, batch, oracle, small):
    chosen = TREE if names == "tree" else tasks(names)
    backbone = DBMTL(spec, chosen, relation=relation, **small)
    backbone.build()
    expected = oracles.dbmtl(oracle(backbone), batch(), len(parents), parents=parents, relation=len(relation))
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-3, atol=1e-5)


def test_the_childs_loss_teaches_the_parents_layers_and_not_the_reverse(spec, batch, small):
    backbone = DBMTL(spec, [Task("click"), Task("buy", "click")], **{**small, "dropout": 0.0, "tower": (16,)})
    backbone.build()
    specific = [layer.dense[0].kernel.value for layer in backbone.specific]
    with tf.GradientTape(persistent=True) as tape:
        click, buy = tf.unstack(tf.reduce_sum(backbone(batch(30)) ** 2, axis=0))
    assert np.abs(tape.gradient(buy, specific[0])).max() > 0
    assert np.abs(tape.gradient(click, specific[1])).max() == 0


def test_tasks_without_links_are_refused(spec, tasks, small):
    with pytest.raises(UserError, match="DBMTL: expected a task with a parent"):
        DBMTL(spec, tasks(2, chain=False), **small)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = DBMTL(spec, [Task("click"), Task("buy", "click")])
    backbone.build()
    bottom = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    specific, relation, output = (256 * 128 + 128) + (128 * 64 + 64), 2 * 64 * 64 + 64, 64 + 1
    expected = 7 * 1000 * 128 + bottom + 2 * specific + relation + 2 * output
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected
