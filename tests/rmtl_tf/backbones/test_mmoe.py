"""Tests of `MMoE`."""

import numpy as np
import pytest

from rmtl_tf.backbones import MMoE
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task
from tests.rmtl_tf.backbones import oracles


@pytest.mark.parametrize("experts", [1, 3])
def test_logits_follow_the_papers_equation_for_any_number_of_experts(
    experts, spec, tasks, batch, oracle, small
):
    backbone = MMoE(spec, tasks(2), experts=experts, **small)
    backbone.build()
    expected = oracles.mmoe(oracle(backbone), batch(), 2, experts=experts)
    np.testing.assert_allclose(backbone(batch()), expected, rtol=1e-4, atol=1e-5)


def test_parameters_at_paper_size():
    spec = InputSpec(categorical=tuple((f"f{i}", 1000) for i in range(7)))
    backbone = MMoE(spec, [Task("click"), Task("buy")])
    backbone.build()
    expert = (7 * 128 * 512 + 512) + (512 * 256 + 256)
    gate = 7 * 128 * 8
    tower = (256 * 128 + 128) + (128 * 64 + 64) + (64 + 1)
    expected = 7 * 1000 * 128 + 8 * expert + 2 * (gate + tower)
    assert sum(int(np.prod(v.shape)) for v in backbone.trainable_variables) == expected


def test_experts_without_layers_are_refused(spec, tasks, small):
    with pytest.raises(UserError, match=r"model\.bottom"):
        MMoE(spec, tasks(2), **{**small, "bottom": ()})
