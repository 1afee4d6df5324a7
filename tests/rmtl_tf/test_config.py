from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from rmtl_tf.config import AGENT_CONFIGS, PRESETS, RunConfig, load_config, parse_config
from rmtl_tf.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SIMULATOR = ROOT / "configs" / "simulator.yaml"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid_and_its_schema_exists(path):
    config = load_config(path)
    assert config.name == path.stem
    assert (ROOT / config.data.data_schema).exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("transform.features.item.hash_bucket=9", 'did you mean "hash_buckets"?'),
        ("transform.features.item.hash_buckets=-1", "transform.features.item.hash_buckets: "),
        ("model.compression.features.item=0", "model.compression.features.item: "),
        ("model.compression.operation=concat", "model.compression.operation: "),
        ("trainin.batch_size=1", 'trainin: unknown key; did you mean "training"?'),
        ("training.critic.gama=1", 'training.critic.gama: unknown key; did you mean "gamma"?'),
        (
            "training.critic.gamma=2",
            "training.critic.gamma: Input should be less than or equal to 1. Received: 2.",
        ),
        ("training.critic.gamma=.nan", "training.critic.gamma: "),
        ("training.arms=[controll]", 'no preset "controll"; did you mean "control"?'),
        ("training.arms=[paper]", 'the first must be "control"'),
        ("training.arms=[control, control]", "every name once"),
        ("training.arms=[control, {name: x, weighting: {lambd: 3}}]", 'did you mean "lambda"?'),
        ("training.arms=[control, {name: recommended, critic: {gamm: 3}}]", 'did you mean "gamma"?'),
        (
            "training.critic.form=twins",
            "training.critic.form: Input should be 'shared', 'separate' or 'twin'",
        ),
        ("training.critic.n=0", "training.critic.n: "),
        ("training.critic.trace=1.5", "training.critic.trace: "),
        ("training.critic.load=x", "training.critic.load: unknown key"),
        ("training.arms=[control, {name: x, critic: {laod: a}}]", 'did you mean "load"?'),
        ("training.arms=[control, {name: x, critic: {load: 3}}]", "expected a folder, received 3"),
        ("training.arms=[control, {name: x, critic: {load: ''}}]", "expected a folder, received ''"),
        ("training.arms=[control, {name: x, critic: {load: a, gamma: 0.5}}]", "Leave out ['gamma'], or load"),
        ("training.arms=[control, {name: x, agent: dpg}]", 'no agent "dpg"; did you mean "ddpg"?'),
        ("training.arms=[control, {name: x, agent: {name: ddpg, nois: 1}}]", 'did you mean "noise"?'),
        ("training.arms=[control, {name: x, agent: {name: ddpg, noise: 9}}]", "less than or equal to 2"),
        ("training.arms=[control, {name: x, agent: {name: rmtl, start: scratch}}]", "should be 'pretrained'"),
        (
            "training.arms=[control, {name: x, agent: td3_bc, weighting: {name: rmtl}}]",
            "the agent td3_bc weighs no losses",
        ),
        (
            "training.arms=[control, {name: x, agent: ddpg, critic: {beta: 0.1}}]",
            "the agent ddpg does not read ['beta']",
        ),
        (
            "training.arms=[control, {name: x, agent: joint, critic: {load: a}}]",
            "the agent joint does not read ['load']",
        ),
        (
            "training.arms=[control, {name: x, agent: joint, weighting: {name: rmtl, power: validation}}]",
            "power: validation needs the agent rmtl",
        ),
        ("training.arms=[{name: control, agent: ddpg}]", 'the first must be "control"'),
        ("training.arms=[control, {name: x, weighting: {name: rmtl, power: 5}}]", "less than or equal to 4"),
        ("training.export=papr", '"papr" is no arm; did you mean "paper"?'),
        ("data.split=[1, 0, 1]", "every part must be above 0"),
        ("data.split=[1, 2]", "data.split.2: Field required"),
        ("model.dropout=1", "model.dropout: Input should be less than 1"),
        ("name=a/b", "name: String should match pattern"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("data.simulate.events=many", "data.simulate.events: "),
        ("data.validation.severity={tpye: ERROR}", 'no rule "tpye"; did you mean "type"?'),
        ("data.validation.severity={type: STOP}", "data.validation.severity.type: "),
    ],
)
def test_a_bad_value_is_refused_by_path_with_what_was_expected(override, message):
    with pytest.raises(UserError) as error:
        load_config(SIMULATOR, [override])
    assert message in str(error.value)
    assert str(SIMULATOR) in str(error.value)


def test_all_problems_are_listed_at_once():
    with pytest.raises(UserError) as error:
        load_config(SIMULATOR, ["seed=-1", "model.dropout=7"])
    assert "seed:" in str(error.value)
    assert "model.dropout:" in str(error.value)


@pytest.mark.parametrize("override", ["batch", "=3", "a..b=3", "training.batch_size.x=[", "name.x=3"])
def test_a_malformed_override_shows_the_form(override):
    with pytest.raises(UserError, match="--set"):
        load_config(SIMULATOR, [override])


def test_overrides_take_yaml_values_at_any_depth():
    config = load_config(
        SIMULATOR, ["training.critic.gamma=0.5", "data.path=null", "model.tower=[9, 8]", "seed=7"]
    )
    assert (config.training.critic.gamma, config.data.path, config.model.tower, config.seed) == (
        0.5,
        None,
        (9, 8),
        7,
    )


@pytest.mark.parametrize("text", ["- a", "just text", "a: [", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load_config(tmp_path / "bad.yaml")


def test_a_missing_file_is_refused_with_where_examples_are():
    with pytest.raises(UserError, match=r"absent\.yaml.*configs/"):
        load_config("absent.yaml")


def test_presets_are_arms_and_the_paper_preset_is_the_papers():
    arms = {arm.name: arm for arm in RunConfig(name="x").training.arms}
    assert list(arms) == list(PRESETS)
    paper = arms["paper"]
    assert (paper.weighting.name, paper.weighting.lam, paper.weighting.power) == ("rmtl", 0.7, 1.0)
    assert (paper.weighting.normalise, paper.weighting.cap) == ("none", None)
    critic = RunConfig(name="x").training.critic_of(paper)
    assert (critic.gamma, critic.beta, critic.learning_rate) == (0.95, 0.2, 1e-3)


def test_an_agent_is_named_alone_or_with_its_settings_and_defaults_to_the_papers():
    override = "training.arms=[control, {name: a, agent: ddpg}, {name: b, agent: {name: td3_bc, tau: 0.1}}]"
    control, plain, changed = (arm.agent for arm in load_config(SIMULATOR, [override]).training.arms)
    assert (control.name, control.start) == ("rmtl", "pretrained")
    assert (plain.name, plain.start, plain.tau) == ("ddpg", "scratch", 0.2)
    assert (changed.alpha, changed.policy_delay, changed.policy_noise, changed.noise_clip) == (
        2.5,
        2,
        0.2,
        0.5,
    )
    assert (changed.tau, changed.start) == (0.1, "scratch")


def test_every_agent_has_a_configuration_and_the_other_way_round():
    from rmtl_tf.rl.agents import AGENTS

    assert set(AGENTS) == set(AGENT_CONFIGS)
    assert all(config().name == name for name, config in AGENT_CONFIGS.items())


def test_an_arm_may_name_a_saved_critic():
    override = "training.arms=[control, {name: x, weighting: {name: rmtl}, critic: {load: runs/a/critic}}]"
    training = load_config(SIMULATOR, [override, "training.critic.gamma=0.5"]).training
    assert [arm.saved_critic for arm in training.arms] == [None, "runs/a/critic"]
    assert training.critic_of(training.arms[1]) == training.critic


def test_the_default_critic_is_the_papers():
    critic = RunConfig(name="x").training.critic
    assert (critic.form, critic.target, critic.loss) == ("shared", "td0", "squared")
    assert critic.output == "softplus"  # the published -relu can die


def test_paper_sizes_are_the_defaults():
    config = RunConfig(name="x")
    assert (config.model.embedding_dim, config.model.bottom, config.model.tower) == (
        128,
        (512, 256),
        (128, 64),
    )
    assert (config.model.experts, config.model.shared_experts, config.model.levels) == (8, 4, 2)
    assert (config.training.batch_size, config.training.pretrain.weight_decay) == (2048, 1e-6)
    assert config.data.split == (0.6, 0.2, 0.2)


def test_configuration_is_frozen():
    with pytest.raises(ValidationError):
        RunConfig(name="x").seed = 3  # type: ignore[misc]


def test_importing_the_package_loads_no_heavy_library():
    script = (
        "import sys, rmtl_tf, rmtl_tf.config, rmtl_tf.schema, components.base; print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for heavy in ("tensorflow", "keras", "apache_beam", "polars", "pyarrow", "numpy", "matplotlib"):
        assert f"'{heavy}'" not in done.stdout


def test_heads_of_a_history_must_share_the_width():
    values = {"name": "x", "model": {"embedding_dim": 6, "history": {"encoder": "attention", "heads": 4}}}
    with pytest.raises(UserError, match=r"model: history\.heads must divide embedding_dim 6, received 4"):
        parse_config(values)
    values["model"]["history"]["encoder"] = "gru"  # has no heads
    assert parse_config(values).model.history.length == 20


def test_the_key_of_a_history_is_corrected():
    with pytest.raises(UserError, match=r'model\.history\.lenght: unknown key; did you mean "length"'):
        parse_config({"name": "x", "model": {"history": {"lenght": 3}}})


def test_arm_is_set_by_its_name_whether_preset_or_written_out():
    config = load_config(SIMULATOR, ["training.arms.paper.weighting.lambda=0.3"])
    assert [arm.name for arm in config.training.arms] == list(PRESETS)
    assert config.training.arms[1].weighting.lam == 0.3
    own = "training.arms=[control, {name: mine, weighting: {name: entropy}}]"
    config = load_config(SIMULATOR, [own, "training.arms.mine.weighting.strength=2"])
    assert (config.training.arms[1].weighting.name, config.training.arms[1].weighting.strength) == (
        "entropy",
        2,
    )
    assert PRESETS["paper"]["weighting"]["lambda"] == 0.7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.arms.papr.weighting.lambda=1"], 'training.arms has no arm papr; did you mean "paper"?'),
        (["training.arms.paper.weighting.lamda=1"], 'lamda: unknown key; did you mean "lambda"?'),
        (["training.arms=3", "training.arms.paper.weighting.lambda=1"], "expected a list of arms"),
        (["tune.spce={}"], 'tune.spce: unknown key; did you mean "space"?'),
    ],
)
def test_wrong_path_of_an_arm_is_refused(overrides, message):
    with pytest.raises(UserError) as caught:
        load_config(SIMULATOR, overrides)
    assert message in str(caught.value)
