"""A phase that is interrupted anywhere and started again ends with the bits of one that was not."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from rmtl_tf.backbones import SharedBottom
from rmtl_tf.config import PhaseConfig, WeightingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.inputs import epoch_plan
from rmtl_tf.rl.agent import Agent
from rmtl_tf.schema import Task
from rmtl_tf.training.checkpoint import load_checkpoint
from rmtl_tf.training.loop import Phase
from rmtl_tf.training.networks import build, compile_model, seeds_of
from rmtl_tf.training.predict import Predictor
from rmtl_tf.training.validation import validation_metrics
from rmtl_tf.weighting import GRADIENT_METHODS, build_weighting
from tests.conftest import make_table, small_spec

TRAIN = make_table([3, 1, 5, 8, 2, 6, 1, 4, 4], cut=(2, 3), seed=1)
VALIDATION = make_table([4, 6, 3, 9, 2, 7], seed=2)


class KilledError(Exception):
    pass


def make_phase(checkpoint, kill_at=None, learning_rate=1e-2, weighting=None, **changes):
    spec, tasks = small_spec(), (Task("click"), Task("buy"))
    backbone = SharedBottom(
        spec, tasks, embedding_dim=4, bottom=(8,), tower=(4,), dropout=0.3, id_dropout=0.2, seed=5
    )
    build(backbone, spec)
    agent = Agent(backbone, build_weighting(weighting or WeightingConfig()), ["click", "buy"])
    compile_model(agent, backbone, PhaseConfig(learning_rate=learning_rate))
    predictor = Predictor(backbone, VALIDATION)
    settings = {
        "kept": backbone.weights,
        "state": [*seeds_of(backbone), *agent.optimizer.variables, *agent.state_variables],
        "table": TRAIN,
        "extras": None,
        "batch_size": 10,
        "shuffle_records": 1000,
        "seed": 11,
        "max_epochs": 4,
        "patience": 3,
        "evaluate": lambda: validation_metrics(VALIDATION, predictor(), ["click", "buy"]),
        "monitor": "auc",
        "incumbent": None,
        "checkpoint": checkpoint,
        "checkpoint_steps": 2,
    }
    phase = Phase("test", agent, **{**settings, **changes})
    if kill_at is not None:
        phase.logger = Killer(kill_at)
    return phase, agent


class Killer:
    def __init__(self, batches):
        self.left = batches

    def start_epoch(self, *place):
        pass

    def on_evaluation(self, epoch, metrics):
        pass

    def on_batch(self, logs, seconds):
        self.left -= 1
        if self.left < 0:
            raise KilledError


def final_state(phase, agent):
    variables = (*agent.backbone.variables, *agent.optimizer.variables, *agent.state_variables)
    return [np.array(v) for v in variables]


def test_an_interrupted_phase_ends_with_the_same_bits(tmp_path):
    whole, agent = make_phase(tmp_path / "whole.npz")
    expected_progress = whole.run()
    expected = final_state(whole, agent)
    for number, kills in enumerate(([0], [3], [5, 4], [1, 1, 7])):
        checkpoint = tmp_path / f"{number}.npz"
        for kill_at in kills:
            with pytest.raises(KilledError):
                make_phase(checkpoint, kill_at)[0].run()
        phase, agent = make_phase(checkpoint)
        progress = phase.run()
        for a, b in zip(expected, final_state(phase, agent), strict=True):
            assert a.tobytes() == b.tobytes()
        assert progress.history == expected_progress.history
        assert (progress.best, progress.best_epoch) == (expected_progress.best, expected_progress.best_epoch)


@pytest.mark.parametrize("steps", [2, 3, 50])
def test_steps_per_execution_change_no_bit_and_no_log(tmp_path, steps):
    logged = {}

    class Log(Killer):
        def on_batch(self, logs, seconds):
            self.left.append((logs, seconds > 0))

    def train(number):
        phase, agent = make_phase(tmp_path / f"{number}.npz", steps_per_execution=number, max_epochs=2)
        phase.logger, logged[number] = Log([]), []
        phase.logger.left = logged[number]
        return phase.run(), final_state(phase, agent)

    (one, expected), (many, weights) = train(1), train(steps)
    assert many.history == one.history
    for a, b in zip(expected, weights, strict=True):
        assert a.tobytes() == b.tobytes()
    assert logged[steps] == logged[1]
    assert len(logged[1]) == sum(len(epoch_plan(TRAIN, 10, 11, epoch)) for epoch in (0, 1))
    with pytest.raises(KilledError):
        make_phase(tmp_path / "a.npz", kill_at=4, steps_per_execution=steps, max_epochs=2)[0].run()
    phase, agent = make_phase(tmp_path / "a.npz", steps_per_execution=1, max_epochs=2)
    assert phase.run().history == one.history
    for a, b in zip(expected, final_state(phase, agent), strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_checkpoint_is_written_by_the_execution_that_reaches_it(tmp_path):
    saved = []
    phase, _ = make_phase(tmp_path / "a.npz", steps_per_execution=3, checkpoint_steps=2, max_epochs=1)
    save = phase.save
    phase.save = lambda: (saved.append(phase.progress.step), save())
    phase.run()
    batches = len(epoch_plan(TRAIN, 10, 11))
    assert saved == [*range(3, batches, 3), 0]  # the last, 0, is the epoch's end


MEMORY = ("uncertainty", "rlw", "dwa", "famo", "stch", *GRADIENT_METHODS)


@pytest.mark.parametrize("name", MEMORY)
def test_an_interrupted_phase_with_a_weighting_ends_with_the_same_bits(tmp_path, name):
    settings = {"weighting": WeightingConfig(name=name, window=2), "max_epochs": 2}
    whole, agent = make_phase(tmp_path / "whole.npz", **settings)
    whole.run()
    expected = final_state(whole, agent)
    assert len(agent.state_variables) == len(agent.weighting.init(2))
    with pytest.raises(KilledError):
        make_phase(tmp_path / "a.npz", kill_at=3, **settings)[0].run()
    phase, agent = make_phase(tmp_path / "a.npz", **settings)
    phase.run()
    for a, b in zip(expected, final_state(phase, agent), strict=True):
        assert a.tobytes() == b.tobytes()
    assert phase.progress.history == whole.progress.history


def test_a_finished_phase_is_not_trained_again(tmp_path):
    phase, agent = make_phase(tmp_path / "a.npz")
    phase.run()
    expected = [np.array(v) for v in agent.backbone.weights]
    again, agent = make_phase(tmp_path / "a.npz", kill_at=0)
    again.run()
    for a, b in zip(expected, agent.backbone.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_of_a_finished_phase_only_the_best_weights_are_stored(tmp_path):
    phase, agent = make_phase(tmp_path / "a.npz")
    progress = phase.run()
    groups, meta = load_checkpoint(tmp_path / "a.npz")
    assert set(groups) == {"best"}
    assert meta == asdict(progress)
    for a, b in zip(groups["best"], agent.backbone.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_best_weights_are_kept_and_patience_ends_the_phase(tmp_path):
    values = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    seen = []

    def evaluate():
        seen.append([np.array(v) for v in agent.backbone.weights])
        return {"auc": next(values)}

    phase, agent = make_phase(tmp_path / "a.npz", evaluate=evaluate, patience=2, max_epochs=5)
    progress = phase.run()
    assert (progress.best, progress.best_epoch, progress.epoch) == (0.7, 2, 4)
    for a, b in zip(seen[1], agent.backbone.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_incumbent_stays_when_no_epoch_beats_it(tmp_path):
    phase, agent = make_phase(tmp_path / "a.npz", evaluate=lambda: {"auc": 0.6}, incumbent=0.65, patience=2)
    start = [np.array(v) for v in agent.backbone.weights]
    progress = phase.run()
    assert progress.best_epoch == 0
    assert progress.epoch == 2
    for a, b in zip(start, agent.backbone.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_stops_training_naming_batch_and_task(tmp_path):
    table = make_table([4, 6, 3, 9], seed=3)
    labels = table.labels.copy()
    labels[-1, 1] = np.nan
    broken = type(table)(**{**vars(table), "labels": labels})
    messages = []
    for steps in (1, 5):
        checkpoint = tmp_path / f"{steps}.npz"
        with pytest.raises(UserError, match=r"test: .*loss/buy.* not finite at batch \d of epoch 1") as error:
            make_phase(checkpoint, table=broken, checkpoint_steps=1, steps_per_execution=steps)[0].run()
        messages.append(str(error.value))
    assert "loss/click" not in messages[0]
    assert messages[0] == messages[1]
