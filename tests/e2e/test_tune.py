"""`tune` as a person runs it: killed, started again, and its best configuration run."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time

import optuna
import pytest
import yaml

from rmtl_tf.config import load_config
from rmtl_tf.files import read_json
from tests.e2e.conftest import ROOT, command, only

SPACE = {
    "trials": 3,
    "study": "small",
    "space": {
        "model.dropout": {"kind": "float", "low": 0.0, "high": 0.6},
        "training.pretrain.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
}


def database(root):
    return f"sqlite:///{root}/tuning/small/study.db"


def states(root):
    """How many trials are in each state; none before there is a study."""
    try:
        study = optuna.load_study(study_name="small", storage=database(root))
    except Exception:  # the file appears before its tables and the study
        return []
    return [trial.state.name for trial in study.trials]


@pytest.fixture(scope="module")
def tuned(finished, tmp_path_factory):
    """(root, finished process, trials before) of a study that was killed in its second trial and started
    again with two workers; the root is a copy of a run's."""
    root = tmp_path_factory.mktemp("tuned") / "root"
    shutil.copytree(finished[0], root)
    space = root.parent / "tune.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    script = [*command(root, action="tune"), "--space", str(space)]
    first = subprocess.Popen(script, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (seen := states(root)) or seen[0] != "COMPLETE" or "RUNNING" not in seen:
        assert first.poll() is None, first.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = len(states(root))
    again = subprocess.run([*script, "--workers", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    return root, again, before


def study_of(root):
    return optuna.load_study(study_name="small", storage=database(root))


def test_killed_study_goes_on_with_the_trial_that_ran_and_all_end(tuned):
    root, again, before = tuned
    study = study_of(root)
    ended = [trial.state.name for trial in study.trials]
    assert before == 2
    assert sorted(ended) == ["COMPLETE"] * 3 + ["FAIL"]
    assert ended[1] == "FAIL"
    assert study.trials[2].params == study.trials[1].params
    assert "3 trials, 3 finished, 0 pruned, 0 failed" in again.stdout


def test_configuration_as_it_stood_gets_the_value_of_the_run(tuned, finished):
    run = read_json(only(finished[0], "Trainer/*/model_run/run.json"))
    (control,) = [arm for arm in run["arms"] if arm["name"] == "control"]
    (pretrained,) = [arm for arm in run["arms"] if arm["name"] == "pretrained"]
    first = study_of(tuned[0]).trials[0]
    assert first.value == control["validation"]["auc"]
    assert (
        max(value for step, value in first.intermediate_values.items() if step < 10_000)
        == (pretrained["validation"]["auc"])
    )


def test_root_is_as_the_run_left_it_and_the_study_keeps_no_training(tuned, finished):
    root = tuned[0]
    for step in ("ExampleGen", "Transform", "Trainer"):
        names = [sorted(path.name for path in (place / step).iterdir()) for place in (finished[0], root)]
        assert names[0] == names[1]
    assert read_json(root / "status.json") == read_json(finished[0] / "status.json")
    kept = {path.name for path in (root / "tuning" / "small").iterdir()}
    assert kept <= {
        *("study.db", "best.yaml", "tuning.html", "tensorboard", "data_status.json", ".lock", ".next"),
        *("worker-0.log", "worker-1.log"),
    }
    cached = read_json(root / "tuning" / "small" / "data_status.json")["steps"]
    assert {step["state"] for step in cached} == {"cached"}


def test_printed_command_and_file_are_the_best_trials_configuration(tuned):
    root, again, _ = tuned
    best = study_of(root).best_trial
    lines = [line.strip() for line in again.stdout.splitlines() if line.strip().startswith("$ python")]
    pasted = shlex.split(lines[0])
    printed = load_config(ROOT / pasted[5], pasted[7:])
    stored = load_config(root / "tuning" / "small" / "best.yaml")
    assert printed == stored
    assert stored.model.dropout == float(f"{best.params['model.dropout']:.4g}")
    assert stored.pipeline_root == root


def test_page_and_tensorboard_have_every_trial(tuned):
    folder = tuned[0] / "tuning" / "small"
    page = (folder / "tuning.html").read_text(encoding="utf-8")
    runs = {path.name for path in (folder / "tensorboard").iterdir()}
    assert runs == {"space", "trial-0000", "trial-0002", "trial-0003"}
    for number in (0, 2, 3):
        assert f'data-trial="{number}"' in page


def test_other_search_under_the_same_name_and_mistakes_are_refused_in_a_sentence(tuned):
    root = tuned[0]
    script = [sys.executable, "pipeline.py", "tune", "--config", str(root / "tuning" / "small" / "best.yaml")]
    other = root.parent / "other.yaml"
    for space, message in (
        (
            {"model.dropout": {"kind": "float", "low": 0.0, "high": 0.5}},
            "begun with another configuration, space",
        ),
        ({"model.dropuot": {"kind": "float", "low": 0.0, "high": 0.5}}, 'did you mean "dropout"?'),
    ):
        other.write_text(yaml.safe_dump({**SPACE, "space": space}))
        done = subprocess.run(
            [*script, "--space", str(other)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
