"""Tests of `SharedBottom`."""

import numpy as np

from rmtl_tf.backbones import SharedBottom
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = SharedBottom(spec, [Task("click"), Task("buy")])
    backbone.build()
    embedding = 7 * 1000 * 128
    bottom = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    tower = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == embedding + bottom + 2 * tower


def test_empty_bottom_leaves_towers_on_the_state(spec, tasks, batch, oracle, small):
    backbone = SharedBottom(spec, tasks(2), **{**small, "bottom": ()})
    backbone.build()
    expected = oracles.shared_bottom(oracle(backbone), batch(), 2, layers=0)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)
