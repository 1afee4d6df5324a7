"""All agents, powers chosen by validation, and a user's own model through the phases and onto the disk."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from rmtl_tf.config import ModelConfig, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import Categorical, Numeric, TransformGraph
from rmtl_tf.files import read_json
from rmtl_tf.rl.critic import MultiCritic
from rmtl_tf.rl.mdp import discounted_returns
from rmtl_tf.schema import Task
from rmtl_tf.training.agents import make_networks, train_agent
from rmtl_tf.training.arms import train_arm
from rmtl_tf.training.phases import Trainer
from rmtl_tf.training.predict import Predictor
from rmtl_tf.training.problem import Problem
from rmtl_tf.training.run import load_actor, run_training
from tests.conftest import make_table

GRAPH = TransformGraph(
    features=(
        Categorical("user", tuple("abcde"), is_id=True),
        Categorical("item", tuple("abcdefghi"), is_id=True),
        Numeric("price", 0.0, 1.0),
    ),
    tasks=(Task("click"), Task("buy", parent="click")),
    labels=("click", "buy"),
    timestamp="t",
)
SPEC = GRAPH.input_spec()
PLE = ModelConfig(backbone="ple", embedding_dim=4, bottom=(8,), tower=(4,), levels=1)
SMALL = ModelConfig(backbone="shared_bottom", embedding_dim=4, bottom=(8,), tower=(4,))
POWERED = {"name": "rmtl", "power": "validation", "power_candidates": [-1, 0], "normalise": "batch"}
ARMS = [
    "control",
    {"name": "side_by_side", "agent": {"name": "joint", "every": 2}, "weighting": {"name": "rmtl"}},
    {"name": "d_ple", "agent": "ddpg"},
    {"name": "offline", "agent": {"name": "td3_bc", "start": "pretrained"}},
    {"name": "powered", "weighting": POWERED},
]


def training(*arms, **changes):
    settings = {
        "batch_size": 64,
        "arms": arms or ARMS,
        "critic": {"bottom": [8], "action": 4, "tower": [4], "max_epochs": 2},
        "pretrain": {"max_epochs": 2},
        "finetune": {"max_epochs": 2, "learning_rate": 1e-3},
    }
    return TrainingConfig(**{**settings, **changes})


def problem():
    rng = np.random.default_rng(0)
    tables = [make_table(rng.integers(1, 9, count), cut=(1,), spec=SPEC, seed=count) for count in (50, 30)]
    return Problem(SPEC, GRAPH.tasks, *tables)


def make_trainer(directory, config, kind=Trainer):
    return kind(problem(), SMALL, config, 1, directory / "checkpoints", directory / "logs")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    run_training(problem(), GRAPH, "item", PLE, training(), seed=1, directory=directory)
    return directory


def test_every_arm_has_its_place_in_the_summary_and_can_be_exported(trained):
    run = read_json(trained / "run.json")
    arms = {arm["name"]: arm for arm in run["arms"]}
    assert list(arms) == ["pretrained", "control", "side_by_side", "d_ple", "offline", "powered"]
    assert [arm["agent"] and arm["agent"]["name"] for arm in arms.values()] == [
        *(None, "rmtl", "joint", "ddpg", "td3_bc", "rmtl")
    ]
    assert arms["d_ple"]["weighting"] is None
    assert arms["side_by_side"]["weighting"]["name"] == "rmtl"
    assert set(run["omega"]) == {"control", "side_by_side", "powered"}
    assert run["omega"]["side_by_side"]["click"]["mean"] > 1
    for name, arm in arms.items():
        logits = Predictor(load_actor(trained, name, GRAPH), problem().validation)()
        assert np.isfinite(logits).all()
        assert arm["best_epoch"] > 0 or arm["incumbent_kept"]
    assert arms["d_ple"]["best_epoch"] > 0  # from scratch there is no incumbent


def test_the_history_of_an_agent_has_an_actors_part_and_a_critics(trained):
    history = read_json(trained / "run.json")["history"]
    found = {(entry["phase"], entry["arm"]) for entry in history}
    assert {("finetune", "side_by_side"), ("scratch", "d_ple"), ("finetune", "offline")} <= found
    assert {("critic", arm) for arm in ("side_by_side", "d_ple", "offline", "powered")} <= found
    for entry in history:
        keys = set(entry)
        assert not any(key.startswith("critic/") for key in keys)
        if entry["phase"] == "critic":
            assert {"fit", "loss", "bias/click", "correlation/buy"} <= keys
            assert "auc" not in keys
        else:
            assert {"auc", "loss", "loss/click"} <= keys
            assert "fit" not in keys


def test_q_of_every_agent_is_compared_with_the_return_of_its_own_actor(trained):
    """The kept weights of `d_ple` are those of its best epoch, whose mean return stands in the summary."""
    run = read_json(trained / "run.json")
    assert set(run["critics"]) == {"side_by_side", "d_ple", "offline", "powered"}
    table = problem().validation
    logits = Predictor(load_actor(trained, "d_ple", GRAPH), table)().astype(np.float64)
    reward = -np.logaddexp(0, np.where(table.labels > 0, -logits, logits))
    returns = discounted_returns(reward, table.done, table.lookahead, 0.95)[table.records].mean(axis=0)
    for task, mean in zip(("click", "buy"), returns, strict=True):
        stats = run["critics"]["d_ple"][task]
        assert stats["return_mean"] == pytest.approx(mean, rel=1e-4)
        assert stats["bias"] == pytest.approx(stats["q_mean"] - stats["return_mean"], rel=1e-4, abs=1e-5)
        assert -1 <= stats["correlation"] <= 1


def test_tensorboard_has_critic_and_actor_of_every_agent_and_each_candidate(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = trained / "tensorboard"
    runs = {path.name for path in logs.iterdir()}
    assert {"finetune-side_by_side", "scratch-d_ple", "finetune-offline", "critic-powered"} <= runs
    assert {"finetune-powered", "finetune-powered-power-1", "finetune-powered-power0"} <= runs
    for run in ("finetune-side_by_side", "scratch-d_ple", "finetune-offline"):
        events = EventAccumulator(str(logs / run))
        events.Reload()
        tags = set(events.Tags()["tensors"])
        assert {"actor/validation_auc/click", "critic/train_loss", "critic/validation_bias/buy"} <= tags
        assert {"critic/validation_correlation/click", "critic/q_against_return/buy"} <= tags
        assert ("omega/buy" in tags) == (run == "finetune-side_by_side")


def test_powers_are_those_of_the_best_validation_auc_of_each_task(trained):
    run = read_json(trained / "run.json")
    power = next(arm["power"] for arm in run["arms"] if arm["name"] == "powered")
    assert set(power["candidates"]) == {"-1", "0"}
    for task in ("click", "buy"):
        aucs = {float(key): values[task] for key, values in power["candidates"].items()}
        expected = 0.0 if aucs[0.0] == max(aucs.values()) else -1.0
        assert power["chosen"][task] == expected
    checkpoints = {path.name for path in (trained / ".checkpoints").glob("finetune-powered*")}
    assert checkpoints == {f"finetune-powered{end}.npz" for end in ("", "-power-1", "-power0")}
    control = next(arm for arm in run["arms"] if arm["name"] == "control")
    for task in ("click", "buy"):  # power 0 is the control, to the bit
        assert power["candidates"]["0"][task] == control["validation_auc"][task]


def test_the_final_fine_tuning_weighs_every_task_with_its_own_power(trained):
    power = next(arm["power"] for arm in read_json(trained / "run.json")["arms"] if arm["name"] == "powered")
    with np.load(trained / "omega.npz") as omega:
        for k, task in enumerate(("click", "buy")):
            assert (omega["powered"][:, k].std() == 0) == (
                power["chosen"][task] == 0 and set(power["chosen"].values()) == {0.0}
            )


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return make_trainer(tmp_path_factory.mktemp("frozen"), training()).pretrain()[0]


class KilledError(Exception):
    pass


class Killed(Trainer):
    """Its phases die after `left` batches."""

    left = 3

    def logger(self, *arguments, **settings):
        logger, outer = super().logger(*arguments, **settings), self
        report = logger.on_batch

        def die(logs, seconds):
            outer.left -= 1
            if outer.left < 0:
                raise KilledError
            report(logs, seconds)

        logger.on_batch = die
        return logger


@pytest.mark.parametrize("number", [1, 2, 3], ids=["joint", "ddpg", "td3_bc"])
def test_an_interrupted_agent_ends_with_the_same_bits(number, frozen, tmp_path):
    config = training(checkpoint_steps=2, steps_per_execution=2)
    arm = config.arms[number]
    whole = train_agent(make_trainer(tmp_path / "whole", config), frozen, arm, 0.0)
    with pytest.raises(KilledError):
        train_agent(make_trainer(tmp_path / "killed", config, Killed), frozen, arm, 0.0)
    assert list((tmp_path / "killed" / "checkpoints").iterdir())
    resumed = train_agent(make_trainer(tmp_path / "killed", config), frozen, arm, 0.0)
    assert resumed.progress.history == whole.progress.history
    for a, b in zip(resumed.weights, whole.weights, strict=True):
        assert a.tobytes() == b.tobytes()


def test_fine_tuning_reads_the_critics_encoded_states_and_ends_where_computing_them_does(
    frozen, tmp_path, monkeypatch
):
    trained = []
    for gib in (0, 1):
        config = training("control", "paper", critic_cache=gib)
        trainer = make_trainer(tmp_path / str(gib), config)
        paper = config.arms[1]
        critic, _ = trainer.new_critics(frozen, config.critic_of(paper), trainer.backbone("A"))
        if gib:  # Q of anything but encoded states fails
            monkeypatch.delattr(MultiCritic, "call")
        trained.append(trainer.finetune(frozen, paper, paper.weighting, critic, 0.0))
    computed, kept = trained
    np.testing.assert_allclose(kept.omega, computed.omega, rtol=1e-5)
    assert np.ptp(computed.omega) > 0
    for a, b in zip(kept.weights, computed.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_networks_start_as_the_agent_says(frozen, tmp_path):
    config = training()
    trainer = make_trainer(tmp_path, config)
    same = lambda actor: all((a == b).all() for a, b in zip(actor.get_weights(), frozen.weights, strict=True))  # noqa: E731
    for arm in config.arms[1:4]:
        networks = make_networks(trainer, frozen, arm)
        pretrained = arm.agent.start == "pretrained"
        assert same(networks.actor) == pretrained
        tables = [np.array(embedding.table) for embedding in networks.critic.embeddings]
        for table in tables:
            assert (table == np.array(networks.actor.embedding.table)).all() == pretrained
        assert ("twin" if arm.agent.name == "td3_bc" else "shared") == networks.critic.FORM


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"name": "x", "agent": "joint", "weighting": {"name": "entropy"}}, "x: the agent joint .* entropy"),
        ({"name": "x", "weighting": {"name": "rmtl", "power": {"click": 1}}}, r"x: .*\['click', 'buy'\]"),
        ({"name": "x", "weighting": {"name": "rmtl", "power": {"click": 1, "b": 1}}}, "Name every task once"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(arm, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_training(problem(), GRAPH, "item", SMALL, training("control", arm), seed=1, directory=tmp_path)
    assert not (tmp_path / ".checkpoints").exists()


class OwnModel(Trainer):
    """Trains a plain functional Keras model instead of a backbone."""

    def backbone(self, phase):
        seed = self.seeds[phase]
        inputs = {name: keras.Input((), dtype="int32", name=name) for name, _ in SPEC.categorical}
        inputs |= {name: keras.Input((), name=name) for name in SPEC.numeric}
        start = keras.initializers.GlorotUniform(seed=seed)
        parts = [
            keras.layers.Embedding(size, 3, embeddings_initializer=start)(inputs[name])
            for name, size in SPEC.categorical
        ]
        parts += [keras.layers.Reshape((1,))(inputs[name]) for name in SPEC.numeric]
        hidden = keras.layers.Dense(8, "relu", kernel_initializer=start)(keras.layers.Concatenate()(parts))
        hidden = keras.layers.Dropout(0.2, seed=seed)(hidden)
        return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer=start)(hidden))


def test_any_keras_model_goes_through_pretraining_critic_and_every_agent(tmp_path):
    paper = {"name": "paper", "weighting": {"name": "rmtl"}}
    config = training("control", paper, *ARMS[1:4], pretrain={"max_epochs": 1}, finetune={"max_epochs": 1})
    trainer = make_trainer(tmp_path, config, OwnModel)
    frozen, _ = trainer.pretrain()
    critic, progress = trainer.critic(frozen, config.critic_of(config.arms[1]), ["paper"])
    assert {"correlation/click", "bias/buy"} <= set(progress.history[-1])
    for arm in config.arms[1:]:
        own = critic if arm.agent.name == "rmtl" else None
        done = train_arm(trainer, frozen, arm, own, incumbent=0.0)
        assert [w.shape for w in done.weights] == [w.shape for w in frozen.weights]
        assert any((a != b).any() for a, b in zip(done.weights, frozen.weights, strict=True))
        assert 0 < done.progress.best < 1
        assert (done.omega is None) == (arm.name in ("d_ple", "offline"))
