"""Workers as processes: their trials, their deaths, their errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rmtl_tf.errors import UserError
from rmtl_tf.tuning.hparams import trial_folder
from rmtl_tf.tuning.study import Study
from rmtl_tf.tuning.workers import lead
from tests.rmtl_tf.tuning.studies import finish, settings, work

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from rmtl_tf.tuning.study import Study
from tests.rmtl_tf.tuning.studies import finish, settings, work
study = Study(Path({folder!r}), settings(trials={trials}), int(sys.argv[1]))
{body}
"""
DIE_ONCE = """
marker = Path({folder!r}) / "died"
if not marker.exists():
    finish(study, *study.take())
    study.take()
    marker.touch()
    os.kill(os.getpid(), 9)
work(study)
"""


def command(folder, body="work(study)", trials=4):
    script = WORKER.format(root=str(ROOT), folder=str(folder), body=body, trials=trials)
    return lambda worker: [sys.executable, "-c", script, str(worker)]


def test_two_workers_end_all_trials_and_a_trial_left_by_nobody_comes_again(tmp_path):
    study = Study(tmp_path, settings(trials=4))
    left, _ = study.take()
    trial_folder(tmp_path, left.number).mkdir(parents=True)
    lead(study, command(tmp_path), workers=2)
    assert len(study.finished) == 4
    repeated = [trial for trial in study.trials if trial.params == left.params]
    assert [trial.state.name for trial in repeated] == ["COMPLETE"]
    assert not trial_folder(tmp_path, left.number).exists()


def test_killed_worker_is_started_again_and_its_trial_repeated(tmp_path, caplog):
    study = Study(tmp_path, settings(trials=3))
    lead(study, command(tmp_path, DIE_ONCE.format(folder=str(tmp_path)), trials=3), workers=1)
    assert "worker 0 was lost (exit code -9); it is started again" in caplog.text
    assert [trial.state.name for trial in study.finished] == ["COMPLETE"] * 3
    assert len(study.study.trials) == 4


def test_workers_that_always_die_end_the_study_with_a_sentence(tmp_path):
    study = Study(tmp_path, settings(trials=3))
    with pytest.raises(UserError, match=r"a worker died before any trial ended\. Look at .*worker-0\.log"):
        lead(study, lambda _: [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], workers=1)


def test_error_a_person_can_mend_is_the_workers_own(tmp_path):
    study = Study(tmp_path, settings())
    script = "import sys; print('noise\\nerror: the disk\\nis full', file=sys.stderr); sys.exit(2)"
    with pytest.raises(UserError, match=r"^the disk\nis full$"):
        lead(study, lambda _: [sys.executable, "-c", script], workers=1)


def test_study_whose_first_trials_all_fail_ends_with_the_reason(tmp_path):
    study = Study(tmp_path, settings())
    for number in range(3):
        finish(study, *study.take(), error=f"loss {number} not finite.")
    with pytest.raises(UserError, match="the first 3 trials all failed; the last: loss 2 not finite"):
        lead(study, lambda _: [sys.executable, "-c", "import time; time.sleep(60)"], workers=1)


def test_study_with_nothing_left_to_do_ends_at_once(tmp_path):
    study = Study(tmp_path, settings(trials=2))
    work(study)
    lead(study, command(tmp_path, trials=2), workers=1)
    assert len(study.study.trials) == 2
