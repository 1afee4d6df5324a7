"""XLA: on a GPU, never on a CPU, not under a strategy; and the steps compile with it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rmtl_tf import xla
from rmtl_tf.backbones import SharedBottom
from rmtl_tf.config import PhaseConfig, WeightingConfig
from rmtl_tf.inputs import Batcher, epoch_plan
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic import MultiCritic
from rmtl_tf.schema import Task
from rmtl_tf.training.networks import build, compile_model
from rmtl_tf.weighting import build_weighting
from tests.conftest import make_table, small_spec

TASKS = (Task("click"), Task("buy", parent="click"))


def with_devices(monkeypatch, *kinds):
    devices = [tf.config.PhysicalDevice(f"/physical_device:{kind}:0", kind) for kind in kinds]
    visible = lambda kind=None: [each for each in devices if kind in (None, each.device_type)]  # noqa: E731
    monkeypatch.setattr(tf.config, "get_visible_devices", visible)


def make_agent():
    """Weighted by a critic, with tables under the row-sparse rule that is the default."""
    spec, sizes = small_spec(), {"embedding_dim": 4, "bottom": (8,), "tower": (4,), "dropout": 0.0}
    backbone, critic = SharedBottom(spec, TASKS, seed=3, **sizes), MultiCritic(spec, 2, seed=9, **sizes)
    build(backbone, spec)
    critic.build()
    return Agent(backbone, build_weighting(WeightingConfig(name="rmtl")), ["click", "buy"], critic)


def test_it_is_chosen_where_there_is_a_gpu_and_never_on_a_cpu(monkeypatch):
    assert not xla.chosen()  # of this machine, which the tests hide GPUs from or which has none
    for kinds, chosen in ((["CPU"], False), (["CPU", "TPU"], False), (["CPU", "GPU"], True)):
        with_devices(monkeypatch, *kinds)
        assert xla.chosen() is chosen
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert not xla.chosen()


def test_a_model_is_compiled_as_the_devices_say_and_trains_to_the_same_weights(monkeypatch):
    trained, table, function = [], make_table([3, 4, 2, 3]), tf.function
    tf.config.experimental.enable_op_determinism()  # as in a run
    batches = Batcher(table).batches(epoch_plan(table, 12, seed=0))
    for kinds in (["CPU"], ["CPU", "GPU"]):
        with_devices(monkeypatch, *kinds)
        asked: list[bool | None] = []

        def recording(*arguments, asked=asked, **settings):
            asked.append(settings.get("jit_compile"))
            return function(*arguments, **settings)

        monkeypatch.setattr(tf, "function", recording)
        agent = make_agent()
        compile_model(agent, agent.backbone, PhaseConfig(learning_rate=1e-2))
        agent.fit(batches, epochs=2, verbose=0)  # on the CPU in fact, by XLA all the same
        assert any(asked) is ("GPU" in kinds)
        trained.append(agent.backbone.get_weights())
    for plain, compiled in zip(*trained, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)
