"""What the README tells a newcomer to write works as it stands there."""

from __future__ import annotations

import csv
import re
import subprocess
import sys

import numpy as np
import pytest

from rmtl_tf.config import SimulatorConfig
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import read_json
from rmtl_tf.schema import Task
from tests.e2e.conftest import ROOT, only

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)


def block(start: str) -> str:
    found = [text for text in BLOCKS if text.startswith(start)]
    assert len(found) == 1, f"README: expected one block that begins with {start!r}, found {len(found)}"
    return found[0]


@pytest.fixture
def shop(tmp_path):
    """The README's shop: its schema, its configuration, and logs with its columns."""
    from rmtl_tf.data.simulator import simulate

    simulate(tmp_path, SimulatorConfig(events=3000))
    with (tmp_path / "events.csv").open() as source:
        rows = list(csv.DictReader(source))
    logs = tmp_path / "logs"
    logs.mkdir()
    names = {
        "user": "user_id",
        "product": "item_id",
        "time": "timestamp",
        "price": "price",
        "clicked": "click",
        "bought": "conversion",
    }
    with (logs / "shop.csv").open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(names)
        writer.writerows([row[source] for source in names.values()] for row in rows)
    (tmp_path / "shop.pbtxt").write_text(block("# data_schemas/shop.pbtxt"))
    (tmp_path / "shop.yaml").write_text(block("# configs/shop.yaml"))
    return tmp_path


def test_own_data_run_from_schema_and_configuration_to_a_pushed_model(shop):
    quick = (
        "training.pretrain.max_epochs=1",
        "training.finetune.max_epochs=1",
        "training.critic.max_epochs=1",
    )
    small = ("training.critic.bottom=[8]", "training.critic.tower=[4]", "evaluation.bootstrap=20")
    lenient = ("evaluation.min_auc=0", "evaluation.max_calibration_error=1")
    places = (f"root={shop / 'run'}", f"data.path={shop / 'logs'}", f"data.schema={shop / 'shop.pbtxt'}")
    script = [sys.executable, "pipeline.py", "run", "--config", str(shop / "shop.yaml")]
    arguments = [*script, "--set", *places, *quick, *small, *lenient]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pushed = read_json(only(shop / "run", "Pusher/*/pushed/pushed.json"))
    assert pushed["pushed"]
    manifest = read_json(only(shop / "run", "Trainer/*/model/manifest.json"))
    # Purchases are known too late to be state; clicks are known at once.
    assert {"past_click_known", "past_click_positive", "past_records"} <= set(manifest["inputs"])
    assert "past_purchase_known" not in manifest["inputs"]


def test_own_backbone_is_a_layer_of_the_contracts_shape():
    space: dict = {}
    exec(block("import keras\n"), space)
    spec = InputSpec(categorical=(("user", 9), ("item", 9)), ids=("user", "item"))
    backbone = space["Deep"](spec, (Task("click"), Task("buy")), embedding_dim=4, seed=1)
    inputs = {"user": np.array([2, 3, 4]), "item": np.array([5, 6, 1])}
    logits = backbone(inputs)
    assert logits.shape == (3, 2)
    np.testing.assert_array_equal(
        logits, space["Deep"](spec, (Task("click"), Task("buy")), embedding_dim=4, seed=1)(inputs)
    )


def test_every_file_and_command_the_readme_names_exists():
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([\w-]+)`?", README):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    for path in re.findall(r"configs/(\w+)\.yaml", README):
        assert path == "shop" or (ROOT / "configs" / f"{path}.yaml").exists(), path


def test_the_readme_has_no_placeholder_left():
    assert "@@" not in README
