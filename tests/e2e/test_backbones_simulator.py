"""By one word of configuration every backbone goes through all phases on simulated logs."""

from __future__ import annotations

import pytest

from rmtl_tf.backbones import BACKBONES
from tests.e2e.conftest import ROOT
from tests.e2e.every_backbone import check_from_logs_to_pushed_model


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("simulator") / "root"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_simulated_logs_to_a_pushed_model_with_a_critic_weighted_arm(backbone, root, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_from_logs_to_pushed_model(
        root, backbone, "simulator", logs="simulate: {events: 10000}", arms="[control, paper]"
    )
