"""Runs a backbone from raw logs to a pushed model in this process; the tests of one data set a file, so
that two workers share them.

Sizes are tiny and every phase is one epoch: what is shown is that a backbone goes the whole way. All runs
of a data set share a pipeline root, so ExampleGen and Transform run once, and every model is compared with
the one pushed before it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pipeline
from components.runner import run
from rmtl_tf import serving_versions
from rmtl_tf.config import load_config
from rmtl_tf.files import read_json

SETTINGS = """\
name: every_backbone
root: {root}
data: {{dataset: {dataset}, schema: data_schemas/{dataset}.pbtxt, {logs}}}
model:
  backbone: {backbone}
  embedding_dim: 4
  bottom: [8]
  tower: [4]
  experts: 2
  shared_experts: 1
  task_experts: 1
training:
  batch_size: 1024
  arms: {arms}
  pretrain: {{max_epochs: 1, learning_rate: 0.02}}
  critic: {{max_epochs: 1, bottom: [8], action: 4, tower: [4]}}
  finetune: {{max_epochs: 1}}
evaluation: {{bootstrap: 20, min_auc: 0, max_calibration_error: 1, max_auc_drop: 1}}
"""


def check_from_logs_to_pushed_model(root: Path, backbone: str, dataset: str, logs: str, arms: str) -> None:
    """Changes nothing but `backbone` between the calls of one `root`.

    Args:
        logs: the lines of `data` that say where the logs are.
        arms: of `training.arms`.
    """
    root.mkdir(exist_ok=True)
    file = root / f"{backbone}.yaml"
    file.write_text(SETTINGS.format(root=root, dataset=dataset, logs=logs, backbone=backbone, arms=arms))
    config = load_config(file)
    before = serving_versions.versions(config.serving_directory)
    steps = {step.name: step for step in run(pipeline.create_pipeline(config)[:-1], root)}

    if before:
        assert steps["ExampleGen"].state == steps["Transform"].state == "cached"
    training = read_json(steps["Trainer"].outputs["model_run"] / "run.json")
    assert training["config"]["model"]["backbone"] == backbone
    losses = [entry["validation"] for entry in training["arms"]]
    for task in training["tasks"]:
        # An untrained model says 1/2, or less where it multiplies along the funnel.
        assert all(loss[f"logloss/{task}"] < np.log(2) for loss in losses), losses
    with np.load(steps["Trainer"].outputs["model"] / "parity.npz") as parity:
        answers = {name: parity[name] for name in parity.files if name.startswith("prediction/")}
    assert all(len(np.unique(values)) > 10 for values in answers.values())
    infra = read_json(steps["InfraValidator"].outputs["infra_blessing"] / "infra.json")
    compared = {check["name"]: check["value"] for check in infra["checks"] if " parity " in check["name"]}
    assert infra["blessed"], infra["checks"]
    assert len(compared) >= 2
    assert max(compared.values()) <= 1e-6
    pushed = serving_versions.versions(config.serving_directory)[-1]
    assert pushed == (before[-1] + 1 if before else 1)
    assert serving_versions.verify(config.serving_directory / str(pushed)) == []
