"""By one word of configuration every backbone trains on Deskdrop's real logs, all of them.

The control alone is fine-tuned, to save time; the critic-weighted arm is run on the simulator.
"""

from __future__ import annotations

import pytest

from rmtl_tf.backbones import BACKBONES
from tests.e2e.conftest import ROOT
from tests.e2e.every_backbone import check_from_logs_to_pushed_model

LOGS = ROOT.parent / "shared" / "data" / "deskdrop"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    assert LOGS.is_dir(), f"put the folder shared/ beside the checkout: {LOGS} is missing"
    return tmp_path_factory.mktemp("deskdrop") / "root"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_real_logs_to_a_pushed_model(backbone, root, monkeypatch):
    monkeypatch.chdir(ROOT)
    check_from_logs_to_pushed_model(root, backbone, "deskdrop", logs=f"path: {LOGS}", arms="[control]")
