"""A study on disk: resumed to the same trials, shared by workers, refused where it is another's."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from optuna.trial import TrialState

from rmtl_tf.errors import UserError
from rmtl_tf.tuning.study import ATTEMPTS, Study
from tests.rmtl_tf.tuning.studies import finish, score, settings, work


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The values of the trials of one worker that nobody stopped."""
    return work(Study(tmp_path_factory.mktemp("study"), settings()))


class TestSampling:
    def test_same_seed_proposes_the_same_and_another_seed_does_not(self, undisturbed, tmp_path):
        assert len(undisturbed) == 12
        assert work(Study(tmp_path / "a", settings()), 3) == undisturbed[:3]
        assert work(Study(tmp_path / "b", settings(seed=1)), 2) != undisturbed[:2]

    def test_study_resumed_after_every_trial_proposes_what_one_process_does(self, undisturbed, tmp_path):
        seen = [value for _ in range(7) for value in work(Study(tmp_path, settings(trials=7)), 1)]
        assert seen == undisturbed[:7]

    def test_tpe_finds_a_better_trial_than_its_random_ones_and_no_random_search(self, undisturbed, tmp_path):
        scores = [score(values) for values in undisturbed]
        assert max(scores[4:]) > max(scores[:4]) + 0.05
        assert work(Study(tmp_path, settings(trials=6, sampler="random"))) != undisturbed[:6]

    def test_random_workers_of_one_study_propose_different_values(self, tmp_path):
        first = work(Study(tmp_path / "a", settings(sampler="random"), worker=0), 2)
        second = work(Study(tmp_path / "b", settings(sampler="random"), worker=1), 2)
        assert all(one != other for one, other in zip(first, second, strict=True))

    @pytest.mark.parametrize(("metric", "best"), [("auc", max), ("logloss/buy", min)])
    def test_best_is_the_best_finished_trial_by_the_metrics_direction(self, tmp_path, metric, best):
        study = Study(tmp_path, settings(metric=metric, trials=5))
        finish(study, *study.take(), state=TrialState.PRUNED)
        seen = work(study)
        assert study.best.value == best(map(score, seen))

    def test_more_trials_go_on_with_the_same_study(self, undisturbed, tmp_path):
        assert len(work(Study(tmp_path, settings(trials=3)))) == 3
        assert work(Study(tmp_path, settings(trials=3))) == []
        assert work(Study(tmp_path, settings(trials=5))) == undisturbed[3:5]


class TestDeath:
    def test_values_of_a_dead_trial_come_again_and_then_the_study_goes_on(self, undisturbed, tmp_path):
        study = Study(tmp_path, settings(trials=7))
        work(study, 4)
        _, lost = study.take()
        after = Study(tmp_path, settings(trials=7))
        assert after.bury() == [4]
        seen = work(after)
        assert seen[0] == lost
        assert undisturbed[:4] + seen == undisturbed[:7]
        assert len(after.finished) == 7
        states = [trial.state for trial in after.study.trials]
        assert states.count(TrialState.FAIL) == 1
        assert states.count(TrialState.COMPLETE) == 7

    def test_trial_that_kills_its_process_again_and_again_is_given_up(self, tmp_path):
        study = Study(tmp_path, settings(trials=2))
        _, first = study.take()
        for _ in range(ATTEMPTS - 1):
            study.bury()
            assert study.take()[1] == first
        study.bury()
        (kept,) = study.finished
        assert kept.state == TrialState.FAIL
        assert "died 3 times" in study.error(kept)
        assert len(work(study)) == 1

    def test_only_the_trials_of_a_dead_process_are_buried(self, tmp_path):
        study = Study(tmp_path, settings())
        mine, _ = study.take()
        other, _ = study.take()
        other.set_user_attr("process", 999_999_999)
        assert study.bury(999_999_999) == [other.number]
        running = [trial.number for trial in study.study.trials if trial.state == TrialState.RUNNING]
        assert running == [mine.number]
        assert study.bury(os.getpid()) == [mine.number]

    def test_configuration_that_dies_is_still_known_as_the_configuration(self, tmp_path):
        study = Study(tmp_path, settings(trials=3))
        study.begin_with({"model.dropout": 0.25, "model.backbone": "ple"})
        assert study.take()[1] == {"model.dropout": 0.25, "model.backbone": "ple"}
        study.bury()
        work(study)
        first = study.study.trials[study.configured]
        assert (first.params["model.dropout"], first.state) == (0.25, TrialState.COMPLETE)

    def test_configuration_comes_first_only_in_a_new_study(self, tmp_path):
        study = Study(tmp_path, settings())
        work(study, 1)
        study.begin_with({"model.dropout": 0.25, "model.backbone": "ple"})
        assert study.configured is None
        assert study.take()[1]["model.dropout"] != 0.25

    def test_failed_trial_is_not_repeated_and_says_why(self, tmp_path):
        study = Study(tmp_path, settings(trials=2))
        finish(study, *study.take(), error="loss not finite")
        work(study)
        assert [study.error(trial) for trial in study.finished] == ["loss not finite", ""]


class TestSharing:
    def test_workers_together_take_no_trial_more_than_asked(self, tmp_path):
        def worker(number):
            return work(Study(tmp_path, settings(trials=9), number))

        Study(tmp_path, settings())
        with ThreadPoolExecutor(3) as pool:
            taken = [len(seen) for seen in pool.map(worker, range(3))]
        assert sum(taken) == 9

    def test_study_of_something_else_is_refused_naming_what_changed(self, tmp_path):
        Study(tmp_path, settings()).check({"data": {"a": 1}, "source code": "x"})
        Study(tmp_path, settings()).check({"data": {"a": 1}, "source code": "x"})
        with pytest.raises(UserError, match=r"begun with another data: .*--set tune\.study=NAME"):
            Study(tmp_path, settings()).check({"data": {"a": 2}, "source code": "x"})


class TestPruning:
    def report(self, study, values):
        """Reports values of epochs 1, 2, ...; the epoch after which the trial is pruned, or None."""
        trial, _ = study.take()
        for epoch, value in enumerate(values, 1):
            trial.report(value, epoch)
            if trial.should_prune():
                study.study.tell(trial, state=TrialState.PRUNED)
                return epoch
        study.study.tell(trial, max(values))
        return None

    def test_trial_below_the_median_is_pruned_and_not_in_the_first_epochs(self, tmp_path):
        study = Study(tmp_path, settings(unpruned_trials=3, unpruned_epochs=1))
        assert [self.report(study, [0.6, value]) for value in (0.5, 0.7, 0.8)] == [None] * 3
        assert self.report(study, [0.1, 0.69, 0.9]) == 2  # the median of epoch 2 is 0.7
        assert self.report(study, [0.1, 0.71]) is None

    def test_without_a_pruner_no_trial_is(self, tmp_path):
        study = Study(tmp_path, settings(unpruned_trials=1, pruner="none"))
        assert [self.report(study, [value, value]) for value in (0.9, 0.1, 0.0)] == [None] * 3

    def test_smaller_is_better_where_the_metric_says_so(self, tmp_path):
        study = Study(tmp_path, settings(unpruned_trials=1, unpruned_epochs=0, metric="logloss/buy"))
        assert self.report(study, [0.5]) is None
        assert self.report(study, [0.6]) == 1
        assert self.report(study, [0.4]) is None
