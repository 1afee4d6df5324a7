"""The TensorBoard logs, read back as TensorBoard reads them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata as hparams_metadata

from rmtl_tf.training.tensorboard import (
    OVERVIEW,
    PhaseLogger,
    critic_run,
    write_histograms,
    write_overview,
    write_projector,
    write_value_plot,
)

ACTOR_LOGS = {
    "loss": 0.5,
    "gradient_norm": 2.0,
    "loss/click": 0.25,
    "omega_mean/click": 1.5,
    "omega_std/click": 0.1,
    "omega_max/click": 3.0,
}


def read(directory):
    events = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    events.Reload()
    return events


def points(directory):
    """{tag: {step: value}} of all scalars."""
    events, found = read(directory), defaultdict(dict)
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            for event in events.Tensors(tag):
                found[tag][event.step] = pytest.approx(float(tf.make_ndarray(event.tensor_proto)))
    return dict(found)


def tags(directory, plugin):
    events = read(directory)
    return {
        tag
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == plugin
    }


def train(logger, batches, logs, first=0, epoch=0, per_epoch=10):
    logger.start_epoch(epoch, first, per_epoch, batch_size=4)
    for _ in range(batches):
        logger.on_batch(logs, seconds=0.5)
    logger.writer.flush()


def test_batches_are_logged_every_few_steps_counted_over_epochs(tmp_path):
    logger = PhaseLogger(tmp_path, 3, "actor", weighted=True)
    train(logger, 10, ACTOR_LOGS)
    train(logger, 10, ACTOR_LOGS, epoch=1)
    found = points(tmp_path)
    assert set(found["train_actor/loss"]) == {3, 6, 9, 12, 15, 18}
    assert found["train_actor/loss"][3] == 0.5
    assert found["train_actor/loss/click"][3] == 0.25
    assert found["train_actor/gradient_norm"][18] == 2.0
    for speed in found["train_actor/samples_per_second"].values():
        assert speed == 8  # 4 records in half a second


def test_a_resumed_epoch_goes_on_at_its_batch(tmp_path):
    logger = PhaseLogger(tmp_path, 2, "actor")
    train(logger, 3, ACTOR_LOGS, first=7, epoch=2)
    assert set(points(tmp_path)["train_actor/loss"]) == {28, 30}


def test_omega_has_a_group_of_its_own(tmp_path):
    logger = PhaseLogger(tmp_path, 1, "actor", weighted=True)
    train(logger, 1, ACTOR_LOGS)
    found = points(tmp_path)
    assert found["omega/mean/click"] == {1: 1.5}
    assert found["omega/std/click"] == {1: pytest.approx(0.1)}
    assert found["omega/max/click"] == {1: 3.0}
    assert not any(tag.startswith("train_actor/omega") for tag in found)


def test_weights_of_one_everywhere_have_no_tags(tmp_path):
    logger = PhaseLogger(tmp_path, 1, "actor")
    train(logger, 1, ACTOR_LOGS)
    logger.on_evaluation(1, ACTOR_LOGS)
    assert not [tag for tag in points(tmp_path) if "omega" in tag]


def test_an_epoch_of_an_actor_says_which_records_a_number_is_of(tmp_path):
    logger = PhaseLogger(tmp_path, 5, "actor", weighted=True)
    logger.on_evaluation(1, {**ACTOR_LOGS, "auc": 0.7, "auc/click": 0.8, "logloss/click": 0.4})
    logger.on_evaluation(2, {**ACTOR_LOGS, "auc": 0.6, "auc/click": 0.75, "logloss/click": 0.5})
    assert points(tmp_path) == {
        "actor/train_loss": {1: 0.5, 2: 0.5},
        "actor/train_loss/click": {1: 0.25, 2: 0.25},
        "actor/validation_auc": {1: 0.7, 2: 0.6},
        "actor/validation_auc/click": {1: 0.8, 2: 0.75},
        "actor/validation_logloss/click": {1: 0.4, 2: 0.5},
    }


def test_the_losses_of_a_critic_share_no_tag_with_those_of_an_actor(tmp_path):
    logger = PhaseLogger(tmp_path, 1, "critic")
    train(logger, 1, {"loss": 2.0, "loss/click": 3.0, "gradient_norm": 1.0, "q_mean/click": -1.0})
    logger.on_evaluation(1, {"loss": 2.0, "gradient_norm": 1.0, "fit": -4.0, "correlation/click": 0.3})
    found = points(tmp_path)
    assert found.pop("train_critic/samples_per_second")
    assert found == {
        "train_critic/loss": {1: 2.0},
        "train_critic/loss/click": {1: 3.0},
        "train_critic/gradient_norm": {1: 1.0},
        "train_critic/q_mean/click": {1: -1.0},
        "critic/train_loss": {1: 2.0},
        "critic/validation_fit": {1: -4.0},
        "critic/validation_correlation/click": {1: pytest.approx(0.3)},
    }


def test_what_a_tag_means_is_in_its_description(tmp_path):
    for subject, expected in (("actor", "cross-entropy"), ("critic", "TD error")):
        logger = PhaseLogger(tmp_path / subject, 1, subject)
        logger.on_evaluation(1, {"loss": 1.0, "a_metric_of_yours": 2.0})
        events = read(tmp_path / subject)
        assert expected in events.SummaryMetadata(f"{subject}/train_loss").summary_description
        assert events.SummaryMetadata(f"{subject}/validation_a_metric_of_yours").summary_description == ""


def test_extra_writes_beside_the_metrics_of_its_epoch(tmp_path):
    logger = PhaseLogger(
        tmp_path, 1, "actor", True, lambda epoch: write_histograms(np.ones((4, 1)), ["click"], epoch)
    )
    for epoch in (1, 2):
        logger.on_evaluation(epoch, {"auc": 0.5})
    assert [event.step for event in read(tmp_path).Tensors("omega/click")] == [1, 2]


def test_a_histogram_counts_every_weight_of_its_task(tmp_path):
    omega = np.stack([np.linspace(0, 1, 50), np.full(50, 7.0)], axis=1).astype(np.float32)
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        write_histograms(omega, ["click", "buy"], step=3)
    events = read(tmp_path)
    for task, low, high in (("click", 0.0, 1.0), ("buy", 7.0, 7.0)):
        (event,) = events.Tensors(f"omega/{task}")
        buckets = tf.make_ndarray(event.tensor_proto)  # [n, (left, right, count)]
        assert event.step == 3
        assert buckets[:, 2].sum() == 50
        filled = buckets[buckets[:, 2] > 0]
        assert filled[:, 0].min() <= low
        assert filled[:, 1].max() >= high
        assert filled[:, 0].max() <= high


@pytest.mark.parametrize("q", [np.zeros(200), np.linspace(-3, 0, 200), np.full(200, -9.0)])
def test_every_task_has_a_picture_of_q_against_the_return(tmp_path, q):
    returns = np.stack([np.linspace(-5, 0, 200), np.zeros(200)], axis=1)
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        write_value_plot(np.stack([q, q], axis=1), returns, ["click", "buy"], step=1)
    assert tags(tmp_path, "images") == {"critic/q_against_return/click", "critic/q_against_return/buy"}
    width, height, png = tf.make_ndarray(
        read(tmp_path).Tensors("critic/q_against_return/click")[0].tensor_proto
    )
    picture = tf.io.decode_png(png).numpy()
    assert picture.shape == (int(height), int(width), 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_the_critic_of_many_arms_has_a_short_name():
    assert critic_run(["paper"]) == "critic-paper"
    assert critic_run(["paper", "wl", "nlc"]) == "critic-paper+wl+nlc"
    assert critic_run(["a", "b", "c", "d", "e"]) == "critic-a+b+c+2_more"


def overview(directory, trial="abc123"):
    write_overview(
        directory,
        "model:\n  backbone: mmoe\n",
        [
            {"name": "control", "hparams": {"weighting/name": "constant"}, "metrics": {"auc": 0.7}},
            {
                "name": "paper",
                "hparams": {"weighting/lambda": "0.7"},
                "metrics": {"auc": 0.8, "auc/buy": 0.9},
            },
        ],
        trial,
    )


def start_info(directory):
    tag = hparams_metadata.SESSION_START_INFO_TAG
    content = read(directory).SummaryMetadata(tag).plugin_data.content
    return hparams_metadata.parse_session_start_info_plugin_data(content)


def test_every_arm_is_a_trial_with_its_settings_and_final_metrics(tmp_path):
    overview(tmp_path)
    control, paper = (start_info(tmp_path / "hparams" / arm) for arm in ("control", "paper"))
    assert control.hparams["weighting/name"].string_value == "constant"
    assert paper.hparams["weighting/lambda"].string_value == "0.7"
    assert points(tmp_path / "hparams" / "paper") == {
        "final/validation_auc": {0: pytest.approx(0.8)},
        "final/validation_auc/buy": {0: pytest.approx(0.9)},
    }


def test_trials_of_two_runs_are_not_averaged(tmp_path):
    for run in ("first", "second"):
        overview(tmp_path / run, trial=run)
    infos = [start_info(tmp_path / run / "hparams" / "paper") for run in ("first", "second")]
    assert infos[0].group_name == "paper-first"
    assert infos[1].group_name == "paper-second"


def test_the_configuration_is_shown_as_it_was_written(tmp_path):
    overview(tmp_path)
    (event,) = read(tmp_path / OVERVIEW).Tensors("configuration")
    assert tf.make_ndarray(event.tensor_proto).item().decode() == "    model:\n      backbone: mmoe"


def test_the_guide_names_every_group_of_tags(tmp_path):
    overview(tmp_path)
    (event,) = read(tmp_path / OVERVIEW).Tensors("guide")
    guide = tf.make_ndarray(event.tensor_proto).item().decode()
    for group in ("actor/", "critic/", "final/", "omega/", "train_actor/", "train_critic/"):
        assert f"`{group}" in guide


class Provider:
    """The runs of a log directory, as the projector asks for them."""

    def __init__(self, directory):
        runs = EventMultiplexer().AddRunsFromDirectory(str(directory))
        runs.Reload()
        self.names = list(runs.Runs())

    def list_runs(self, context, experiment_id):
        from tensorboard.data.provider import Run

        return [Run(run_id=name, run_name=name, start_time=0.0) for name in self.names]


def test_the_projector_finds_the_table_and_its_labels(tmp_path):
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    overview(tmp_path)
    write_projector(tmp_path, table, ["(unknown)", "b", "ä ö", "c"])
    plugin = ProjectorPlugin(TBContext(data_provider=Provider(tmp_path), logdir=str(tmp_path)))
    apps = plugin.get_plugin_apps()
    assert Client(apps["/runs"]).get("/runs").json == [OVERVIEW]
    (embedding,) = Client(apps["/info"]).get(f"/info?run={OVERVIEW}").json["embeddings"]
    assert embedding["tensorShape"] == [4, 2]
    query = f"?run={OVERVIEW}&name={embedding['tensorName']}"
    tensor = np.frombuffer(Client(apps["/tensor"]).get(f"/tensor{query}").data, np.float32)
    np.testing.assert_array_equal(tensor.reshape(4, 2), table)
    labels = Client(apps["/metadata"]).get(f"/metadata{query}").text
    assert labels == "item\trank\n(unknown)\t0\nb\t1\nä ö\t2\nc\t3\n"
