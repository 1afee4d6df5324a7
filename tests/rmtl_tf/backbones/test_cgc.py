"""Tests of `CGC`."""

import numpy as np
import pytest

from rmtl_tf.backbones import CGC, PLE
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles


@pytest.mark.parametrize(("own", "shared"), [(1, 1), (2, 3)])
def test_logits_follow_the_papers_equations_for_any_experts(own, shared, spec, tasks, batch, oracle, small):
    backbone = CGC(spec, tasks(2), task_experts=own, shared_experts=shared, **small)
    backbone.build()
    expected = oracles.cgc(oracle(backbone), batch(), 2, own=own, shared=shared)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-3, atol=1e-5)


def test_equals_ple_of_one_level_with_the_same_weights(spec, tasks, batch, small):
    sizes = {"task_experts": 2, "shared_experts": 3}
    cgc, ple = CGC(spec, tasks(3), **sizes, **small), PLE(spec, tasks(3), levels=1, **sizes, **small)
    cgc.build(), ple.build()
    for source, target in zip(cgc.weights, ple.weights, strict=True):
        target.assign(source)
    np.testing.assert_array_equal(ple(batch()), cgc(batch()))


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = CGC(spec, [Task("click"), Task("buy")])
    backbone.build()
    state, tower = 7 * 128, (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    expert = (state * 512 + 512) + (512 * 256 + 256)
    expected = 7 * 1000 * 128 + 12 * expert + 2 * state * 8 + 2 * tower
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected
