from __future__ import annotations

from pathlib import Path

import pytest

from components.trainer import Trainer, TrainerParameters
from rmtl_tf.errors import UserError

SCHEMA = Path(__file__).resolve().parents[2] / "data_schemas" / "simulator.pbtxt"


def parameters(folder=None):
    arms: list = ["control", "paper"]
    if folder is not None:
        arms.append({"name": "transfer", "weighting": {"name": "rmtl"}, "critic": {"load": str(folder)}})
    return TrainerParameters.model_validate({"schema": str(SCHEMA), "training": {"arms": arms}})


def test_without_saved_critics_only_the_schema_is_external():
    assert set(Trainer.external({}, parameters())) == {"schema"}


def test_the_bytes_of_an_own_backbone_enter_the_key(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for text in ("class Mine: ...", "class Mine: pass"):
        (tmp_path / "bytes_of_mine.py").write_text(text)
        model = {"backbone": "bytes_of_mine:Mine"}
        given = TrainerParameters.model_validate({"schema": str(SCHEMA), "model": model})
        digests.append(Trainer.external({}, given)["backbone"])
    assert digests[0] != digests[1]


def test_the_bytes_of_a_saved_critic_enter_the_key(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"one")
    before = Trainer.external({}, parameters(tmp_path))
    assert set(before) == {"schema", "critic of transfer"}
    assert before == Trainer.external({}, parameters(tmp_path))
    (tmp_path / "weights.npz").write_bytes(b"two")
    assert Trainer.external({}, parameters(tmp_path)) != before


def test_a_missing_critic_is_refused_by_arm_and_folder_before_training(tmp_path):
    with pytest.raises(UserError, match=r"transfer, critic\.load: .*absent"):
        Trainer.external({}, parameters(tmp_path / "absent"))
