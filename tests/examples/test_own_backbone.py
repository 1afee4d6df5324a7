"""The example's class goes through the three phases in tests/rmtl_tf/training/test_backbones.py."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest

import pipeline
from examples.own_backbone import TwoPart
from rmtl_tf.config import load_config
from rmtl_tf.schema import Task
from rmtl_tf.training.networks import build
from tests.conftest import small_spec


def test_the_command_runs_the_pipeline_with_the_example_as_backbone(monkeypatch):
    given = []
    monkeypatch.setattr(pipeline, "main", lambda arguments: given.append(arguments) or 7)
    monkeypatch.setattr(sys, "argv", ["own_backbone", "seed=3"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("examples.own_backbone", run_name="__main__")
    assert stopped.value.code == 7
    arguments = pipeline.parser().parse_args(given[0])
    config = load_config(arguments.config, arguments.set)
    assert (config.model.backbone, config.seed) == ("examples.own_backbone:TwoPart", 3)


def test_logits_are_the_sum_of_a_wide_and_a_deep_part():
    backbone = TwoPart(small_spec(), (Task("click"), Task("buy")), embedding_dim=4, seed=2)
    build(backbone, small_spec())
    state = np.random.default_rng(0).normal(size=(5, backbone.state_width)).astype(np.float32)
    hidden = state
    for dense in backbone.deep.dense:
        hidden = np.maximum(hidden @ np.array(dense.kernel) + np.array(dense.bias), 0)
    expected = hidden @ np.array(backbone.out.kernel) + np.array(backbone.out.bias)
    expected += state @ np.array(backbone.wide.kernel) + np.array(backbone.wide.bias)
    np.testing.assert_allclose(backbone.logits(state), expected, atol=1e-5)
