"""What a trial tries: bounds, names, and the way from the storage to a configuration and to `--set`."""

from __future__ import annotations

import shlex

import optuna
import pytest
import yaml

from rmtl_tf.config import PRESETS, parse_config, set_values
from rmtl_tf.errors import UserError
from rmtl_tf.tuning.space import applied, check_space, present, shown, suggest, text, values_of

SPACE = {
    "training.pretrain.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "model.embedding_dim": {"kind": "int", "low": 8, "high": 32, "step": 8},
    "model.bottom": {"kind": "categorical", "choices": [[512, 256], [16]]},
    "training.arms.paper.weighting.lambda": {"kind": "float", "low": 0.1, "high": 5},
}


def plain(space=SPACE, **tune):
    return {"name": "shop", "tune": {"space": space, **tune}}


def parsed(space=SPACE, **tune):
    return parse_config(plain(space, **tune))


def refused(space=SPACE, base=None, **tune):
    values = {**plain(space, **tune), **(base or {})}
    with pytest.raises(UserError) as caught:
        check_space(values, parse_config(values))
    return str(caught.value)


class TestCheck:
    def test_every_kind_of_range_over_any_section_is_accepted(self):
        assert check_space(plain(), parsed()).space.keys() == SPACE.keys()

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("training.batchsize", 'training.batchsize: unknown key; did you mean "batch_size"?'),
            ("modle.dropout", 'modle: unknown key; did you mean "model"?'),
            ("training.arms.papr.weighting.lambda", 'no arm papr; did you mean "paper"?'),
            ("training.arms.paper.weighting.lamda", 'unknown key; did you mean "lambda"?'),
            ("model.dropout.rate", "model.dropout: "),
            ("push.keep", "push changes no validation metric. Expected a field of seed, data,"),
            ("name", "name changes no validation metric"),
        ],
    )
    def test_field_that_cannot_be_tuned_is_refused_with_the_nearest(self, path, message):
        assert message in refused({path: {"kind": "float", "low": 0.1, "high": 0.5}})

    def test_bound_outside_the_fields_own_is_refused_naming_both(self):
        message = refused({"model.dropout": {"kind": "float", "low": 0, "high": 1}})
        assert message.startswith("tune.space.model.dropout: configuration with model.dropout=1.0:")
        assert "less than 1" in message

    def test_every_choice_is_checked(self):
        names = {"kind": "categorical", "choices": ["ple", "mmoe", "pel"]}
        assert 'did you mean "ple"?' in refused({"model.backbone": names})

    def test_arm_that_is_not_trained_is_refused(self):
        assert 'tune.arm: training.arms has no "controll"; did you mean "control"?' in refused(arm="controll")

    def test_several_processes_a_trial_are_refused(self):
        base = {"training": {"strategy": "mirrored"}}
        assert "expected training.strategy none, received mirrored" in refused(base=base)

    def test_configuration_without_a_search_is_told_how_to_give_one(self):
        with pytest.raises(UserError, match="--space FILE"):
            check_space({"name": "shop"}, parse_config({"name": "shop"}))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"kind": "float", "low": 2, "high": 1}, "expected a number below high, 1.0, received 2.0"),
            ({"kind": "int", "low": 0, "high": 9, "log": True}, "with log expected a number above 0"),
            ({"kind": "int", "low": 1, "high": 9, "log": True, "step": 2}, "with log expected 1, received 2"),
            ({"kind": "float", "lo": 1, "high": 9}, 'lo: unknown key; did you mean "low"?'),
            ({"kind": "flot", "low": 1, "high": 9}, "'float'"),
            ({"kind": "categorical", "choices": [1]}, "at least 2"),
        ],
    )
    def test_range_that_is_none_is_refused(self, given, message):
        with pytest.raises(UserError) as caught:
            parsed({"model.dropout": given})
        assert message in str(caught.value)

    @pytest.mark.parametrize("metric", ["AUC", "auc/", "mse", "fit"])
    def test_metric_that_validation_has_not_is_refused(self, metric):
        with pytest.raises(UserError, match=r"tune\.metric"):
            parsed(metric=metric)

    @pytest.mark.parametrize(("metric", "up"), [("auc", True), ("auc/buy", True), ("logloss/buy", False)])
    def test_direction_follows_from_the_metric(self, metric, up):
        assert parsed(metric=metric).tune.maximise is up


class TestValues:
    def test_what_is_asked_is_what_the_storage_gives_back(self):
        tune = parsed().tune
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(20):
            trial = study.ask()
            values = suggest(trial, tune.space)
            assert values == values_of(trial.params, tune.space)
            assert 1e-4 <= values["training.pretrain.learning_rate"] <= 1e-2
            assert values["model.embedding_dim"] in (8, 16, 24, 32)
            assert values["model.bottom"] in ([512, 256], [16])
            config = parse_config(applied(plain(), values))
            assert config.tune is None
            assert config.model.bottom == tuple(values["model.bottom"])
            (paper,) = [arm for arm in config.training.arms if arm.name == "paper"]
            assert paper.weighting.lam == values["training.arms.paper.weighting.lambda"]

    def test_floats_have_four_digits_and_stay_inside(self):
        space = parsed({"model.dropout": {"kind": "float", "low": 0.12344, "high": 0.76545}}).tune.space
        for kept, value in ((0.12344, 0.12344), (0.765449, 0.7654), (0.33333333333, 0.3333)):
            assert values_of({"model.dropout": kept}, space) == {"model.dropout": value}

    def test_trial_leaves_the_base_as_it_was(self):
        base = plain()
        applied(base, {"training.arms.paper.weighting.lambda": 2.0, "model.dropout": 0.5})
        assert base == plain()
        assert PRESETS["paper"]["weighting"]["lambda"] == 0.7

    def test_choices_that_read_the_same_are_refused(self):
        with pytest.raises(UserError, match="read the same"):
            parsed({"model.bottom": {"kind": "categorical", "choices": [[1], "[1]"]}})


class TestShown:
    def test_printed_settings_pasted_into_a_shell_give_the_trials_configuration(self):
        values = {
            "training.pretrain.learning_rate": 3.2e-05,
            "model.bottom": [512, 256],
            "model.backbone": "mmoe",
            "training.arms.paper.weighting.lambda": 0.25,
            "model.compression.above": None,
        }
        pasted = {"name": "shop"}
        set_values(pasted, shlex.split(shown(values)))
        assert parse_config(pasted) == parse_config(applied({"name": "shop"}, values))

    @pytest.mark.parametrize(
        "value", [1, 0.5, 1e-5, True, None, "ple", "1", [1, 2], {"name": "rmtl", "x": 1}]
    )
    def test_text_is_one_line_of_yaml(self, value):
        assert yaml.safe_load(text(value)) == value
        assert "\n" not in text(value)


class TestPresent:
    def test_configuration_inside_the_space_is_what_the_storage_would_keep(self):
        values = {**plain(), "model": {"embedding_dim": 16, "bottom": [16]}}
        config = parse_config(values)
        kept = present(config, config.tune.space)
        assert kept["training.pretrain.learning_rate"] == 1e-3
        assert values_of(kept, config.tune.space)["model.bottom"] == [16]
        assert kept["training.arms.paper.weighting.lambda"] == 0.7

    @pytest.mark.parametrize("model", [{"embedding_dim": 12}, {"embedding_dim": 64}, {"bottom": [7]}])
    def test_configuration_outside_has_no_place_in_the_study(self, model):
        values = {**plain(), "model": {"embedding_dim": 16, "bottom": [16], **model}}
        config = parse_config(values)
        assert present(config, config.tune.space) is None
