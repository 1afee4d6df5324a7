"""A study as results, words and a page; and as TensorBoard runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from optuna.trial import TrialState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from rmtl_tf.report.tuning import render, write_tuning_report
from rmtl_tf.tuning import hparams
from rmtl_tf.tuning.results import FAILED, PRUNED, results, summary
from rmtl_tf.tuning.study import Study
from tests.rmtl_tf.tuning.studies import finish, score, settings, work


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five finished trials, the first as configured, then a pruned and a failed one."""
    study = Study(tmp_path_factory.mktemp("study"), settings(trials=7))
    study.begin_with({"model.dropout": 0.7, "model.backbone": "ple"})
    work(study, 5)
    finish(study, *study.take(), state=TrialState.PRUNED)
    finish(study, *study.take(), error="loss <not> finite")
    return study


@pytest.fixture(scope="module")
def found(study):
    return results(study)


class TestResults:
    def test_trials_are_ranked_by_the_metric_and_only_finished_ones(self, found):
        values = [trial.value for trial in found.ranked]
        assert values == sorted((score(trial.values) for trial in found.ranked), reverse=True)
        assert len(values) == 5
        assert found.best == found.ranked[0]

    def test_pruned_and_failed_trials_have_no_value_and_their_reason(self, found):
        (pruned,), (failed,) = found.of(PRUNED), found.of(FAILED)
        assert (pruned.value, failed.value, failed.error) == (None, None, "loss <not> finite")

    def test_epochs_are_told_apart_by_phase(self, found):
        first = found.trials[0]
        value = score(first.values)
        np.testing.assert_allclose(first.pretraining, [value - 0.01, value - 0.005])
        np.testing.assert_allclose(first.own, [value - 0.01])

    def test_importance_is_a_share_for_each_field(self, found):
        assert found.importance.keys() == found.tune.space.keys()
        assert sum(found.importance.values()) == pytest.approx(1)
        assert found.importance["model.dropout"] > 0.5

    def test_smaller_is_ranked_first_where_the_metric_says_so(self, tmp_path):
        small = Study(tmp_path, settings(metric="logloss/buy", trials=3))
        work(small)
        values = [trial.value for trial in results(small).ranked]
        assert values == sorted(values)

    def test_summary_has_counts_the_best_and_the_commands(self, found):
        text = summary(found, [("Train it:", "python pipeline.py run")])
        assert "Study study: 7 trials, 5 finished, 1 pruned, 1 failed." in text
        assert (
            f"validation auc {found.best.value:.4f} (as configured: {score(found.trials[0].values):.4f})"
            in text
        )
        assert re.search(rf"model.dropout +{found.best.values['model.dropout']}\n", text)
        assert text.endswith("Train it:\n  $ python pipeline.py run")


class TestPage:
    def test_page_says_what_was_found_and_how_to_train_it(self, found):
        page = render(found, "shop")
        best = found.best
        assert (
            f"trial {best.number} with a mean validation AUC of {best.value:.4f}; the configuration" in page
        )
        assert f"--set model.dropout={best.values['model.dropout']} model.backbone=" in page
        for trial in found.trials:
            assert f'data-trial="{trial.number}"' in page
        assert "loss &lt;not&gt; finite" in page
        assert re.findall(r'data-field="([^"]*)"', page) == list(found.tune.space)

    def test_page_needs_nothing_from_outside_and_repeats(self, found, tmp_path):
        write_tuning_report(found, tmp_path / "page.html", "shop")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert page == render(found, "shop")
        assert not re.search(r"<script|<img|https?://(?!www\.w3\.org)|\$\\", page)

    def test_every_plot_has_a_name_for_those_who_cannot_see_it(self, found):
        labels = re.findall(r'<svg class="plot" role="img" aria-label="([^"]+)"', render(found, "shop"))
        assert labels == [
            "model.dropout",
            "model.backbone",
            "Finished trials in their order, and the best so far",
            "Pretraining",
            "Training of control",
        ]

    def test_ticks_of_a_logarithmic_field_are_numbers(self, tmp_path):
        space = {"training.pretrain.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
        study = Study(tmp_path, settings(space=space, trials=2))
        for value in (0.5, 0.6):
            trial, _ = study.take()
            study.study.tell(trial, value)
        page = render(results(study), "shop")
        assert "mathdefault" not in page
        assert "by orders of magnitude" in page


class TestTensorBoard:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("logs")
        tune = settings()
        hparams.write_experiment(folder, tune)
        values = {"model.dropout": 0.25, "model.backbone": "mmoe"}
        epochs = [("pretrain", 1, 0.5), ("pretrain", 2, 0.6), ("finetune-control", 1, 0.7)]
        hparams.write_trial(folder, 3, tune, values, epochs, 0.7)
        hparams.write_trial(folder, 4, tune, values, epochs[:1], None)
        return folder

    def load(self, folder, run):
        events = EventAccumulator(str(folder / "tensorboard" / run))
        events.Reload()
        return events

    def test_experiment_names_the_fields_their_ranges_and_the_metric(self, folder):
        events = self.load(folder, "space")
        (content,) = events.PluginTagToContent("hparams").values()
        experiment = metadata.parse_experiment_plugin_data(content)
        assert [info.name for info in experiment.hparam_infos] == ["model.dropout", "model.backbone"]
        assert experiment.hparam_infos[0].domain_interval.max_value == 0.8
        assert sorted(experiment.hparam_infos[1].domain_discrete) == ["mmoe", "ple"]
        assert experiment.metric_infos[0].name.tag == "final/validation_auc"

    def test_trial_has_its_values_its_epochs_and_what_it_is_judged_by(self, folder):
        events = self.load(folder, "trial-0003")
        (content,) = events.PluginTagToContent("hparams").values()
        session = metadata.parse_session_start_info_plugin_data(content)
        assert session.hparams["model.dropout"].number_value == 0.25
        assert session.hparams["model.backbone"].string_value == "mmoe"
        points = {
            tag: [(e.step, round(float(make_ndarray(e.tensor_proto)), 4)) for e in events.Tensors(tag)]
            for tag in events.Tags()["tensors"]
            if "validation" in tag
        }
        assert points == {
            "pretrain/validation_auc": [(1, 0.5), (2, 0.6)],
            "arm/validation_auc": [(1, 0.7)],
            "final/validation_auc": [(0, 0.7)],
        }

    def test_pruned_trial_is_not_among_the_finished_values(self, folder):
        assert "final/validation_auc" not in self.load(folder, "trial-0004").Tags()["tensors"]

    def test_trial_that_died_leaves_no_run(self, folder):
        hparams.remove_trial(folder, 4)
        hparams.remove_trial(folder, 99)
        assert not hparams.trial_folder(folder, 4).exists()
