"""How an arm is trained: one class an agent of `rmtl_tf.rl`, with the published values as defaults."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rmtl_tf.config.base import Strict

_NETWORK = frozenset({"form", "output", "gamma", "bottom", "action", "tower", "dropout", "id_dropout"})

Start = Literal["pretrained", "scratch"]
Rate = Annotated[float, Field(gt=0, le=1)]


class RMTLConfig(Strict):
    """The paper's three phases: weighted losses, with a critic of the frozen pretrained actor."""

    WEIGHS: ClassVar[bool] = True
    CRITIC: ClassVar[frozenset[str] | None] = None  # all of CriticConfig

    name: Literal["rmtl"] = "rmtl"
    start: Literal["pretrained"] = "pretrained"


class JointConfig(Strict):
    """RMTL without a frozen actor: critic sweeps and weighted actor steps alternate."""

    WEIGHS: ClassVar[bool] = True
    CRITIC: ClassVar[frozenset[str] | None] = _NETWORK | {
        "target",
        "n",
        "trace",
        "loss",
        "beta",
        "learning_rate",
    }

    name: Literal["joint"] = "joint"
    start: Start = Field(
        "pretrained", description="scratch: new weights, optimised as training.pretrain says"
    )
    every: int | None = Field(
        None, ge=1, le=10**7, description="batches of a sweep before the other learns; none: an epoch"
    )


class DDPGConfig(Strict):
    """DDPG: the actor climbs the critic's gradient. Defaults: D-PLE of the RMTL paper (METHOD 6); for
    control tasks of millions of steps Lillicrap et al. have 1e-4, 1e-3 and tau 1e-3."""

    WEIGHS: ClassVar[bool] = False
    CRITIC: ClassVar[frozenset[str] | None] = _NETWORK

    name: Literal["ddpg"] = "ddpg"
    start: Start = Field("scratch", description="as published; pretrained: from theta0")
    learning_rate: Rate = Field(1e-3, description="of the actor")
    critic_learning_rate: Rate = 1e-3
    critic_weight_decay: float = Field(
        1e-2, ge=0, le=1, description="published as L2, here Adam's, decoupled"
    )
    tau: Rate = Field(0.2, description="soft-update rate of both targets")
    noise: float = Field(
        0.2, ge=0, le=2, description="exploration: standard deviation, in half widths of the action range"
    )
    margin: float = Field(
        1e-3, gt=0, lt=0.5, description="noisy actions stay this far from 0 and 1, where a reward is infinite"
    )


class TD3BCConfig(Strict):
    """TD3+BC: climbs the critic's gradient near the behaviour's actions. Defaults: Fujimoto, Gu, 2021."""

    WEIGHS: ClassVar[bool] = False
    CRITIC: ClassVar[frozenset[str] | None] = _NETWORK - {"form"}

    name: Literal["td3_bc"] = "td3_bc"
    start: Start = Field("scratch", description="as published; pretrained: from theta0")
    learning_rate: Rate = Field(3e-4, description="of the actor")
    critic_learning_rate: Rate = 3e-4
    tau: Rate = Field(0.005, description="soft-update rate of all targets")
    alpha: float = Field(2.5, ge=0, le=1000, description="weight of Q against imitation")
    policy_delay: int = Field(2, ge=1, le=1000, description="critic steps for each step of the actor")
    policy_noise: float = Field(
        0.2,
        ge=0,
        le=2,
        description="target smoothing: standard deviation, in half widths of the action range",
    )
    noise_clip: float = Field(0.5, ge=0, le=2, description="largest smoothing, in half widths")
    behaviour_noise: float = Field(
        0.2, ge=0, le=2, description="spread of the behaviour's actions, in half widths; see rl/td3_bc.py"
    )
    margin: float = Field(
        1e-3, gt=0, lt=0.5, description="noisy actions stay this far from 0 and 1, where a reward is infinite"
    )


AGENT_CONFIGS: dict[str, type[Strict]] = {
    "rmtl": RMTLConfig,
    "joint": JointConfig,
    "ddpg": DDPGConfig,
    "td3_bc": TD3BCConfig,
}
AgentConfig = Annotated[RMTLConfig | JointConfig | DDPGConfig | TD3BCConfig, Field(discriminator="name")]
