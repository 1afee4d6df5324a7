"""How actor and critics are trained: phases, critics, arms and their weightings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from rmtl_tf.config.agents import AGENT_CONFIGS, AgentConfig, RMTLConfig
from rmtl_tf.config.base import Strict, Unit, Width, Widths
from rmtl_tf.config.optimizer import OptimizerConfig
from rmtl_tf.errors import nearest


class CriticConfig(Strict):
    """The critic and what it learns towards (METHOD 3-6)."""

    form: Literal["shared", "separate", "twin"] = Field(
        "shared",
        description="paper: one bottom; published code: a network a task; two critics, lower targets",
    )
    output: Literal["softplus", "relu"] = Field(
        "softplus", description="Q = -softplus(x), or -relu(x) as published, which can die"
    )
    target: Literal["td0", "nstep", "td_lambda", "monte_carlo"] = Field(
        "td0", description="what Q is trained towards; paper: td0"
    )
    n: int = Field(5, ge=1, le=10_000, description="steps of target: nstep")
    trace: Unit = Field(0.9, description="lambda of target: td_lambda; 0: td0, 1: monte_carlo")
    loss: Literal["squared", "huber"] = Field(
        "squared", description="huber: linear beyond an error of 1; Q then is no mean, but nearer the median"
    )
    gamma: Unit = Field(0.95, description="discount")
    beta: float = Field(0.2, gt=0, le=1, description="soft-update rate of the target critic")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    bottom: Widths = (512, 256)
    action: Width = Field(64, description="width of the action layer")
    tower: Widths = (128, 64)
    dropout: float = Field(0.2, ge=0, lt=1)
    id_dropout: float = Field(0.0, ge=0, lt=1, description="see METHOD 11: 0.2 cuts the bias by two thirds")
    max_epochs: int = Field(20, ge=1, le=10_000)
    patience: int = Field(2, ge=1, description="epochs without a better fit to the validation return")


BY_VALIDATION = "validation"
Power = Annotated[float, Field(ge=-4, le=4)]


class WeightingConfig(Strict):
    """A loss weighting of `rmtl_tf.weighting`: omega for every record and task."""

    name: str = Field("constant", description="a name in rmtl_tf/weighting")
    lam: float = Field(0.7, ge=0, le=1000, alias="lambda", description="omega = (1 - lambda Q)^power")
    power: Power | dict[str, Power] | Literal["validation"] = Field(
        1.0,
        description="1: paper, 0: constant, -1: inverse; for all tasks, or task -> power; or validation: "
        "each task's best of power_candidates",
    )
    power_candidates: tuple[Power, ...] = Field(
        (-1.0, 0.0, 1.0), min_length=1, max_length=20, description="power: validation: what is tried"
    )
    normalise: Literal["none", "batch", "task"] = Field(
        "none", description="divide by the mean over the batch, or per task"
    )
    cap: float | None = Field(None, gt=0, description="largest omega, applied after normalising")
    temperature: float = Field(1.0, ge=0.01, le=100, description="omega^(1 / T), before normalising")
    strength: float = Field(5.0, ge=0, le=1000, description="entropy: omega = 1 / (1 + strength * H)")
    rate: float = Field(0.025, gt=0, le=1, description="uncertainty, famo, gradnorm: step of their weights")
    decay: float = Field(1e-3, ge=0, le=1, description="famo: weight decay of its logits")
    window: int = Field(
        100,
        ge=1,
        le=10**7,
        description="batches of a window: dwa compares two, stch takes its scale from one",
    )
    softness: float = Field(2.0, gt=0, le=1000, description="dwa: temperature of its softmax")
    mu: float = Field(1.0, ge=0.01, le=1000, description="stch: smoothing; small: the worst task alone")
    alpha: float = Field(1.5, ge=0, le=10, description="gradnorm: how strongly slow tasks are pulled along")
    radius: float = Field(0.5, ge=0, lt=1, description="cagrad: c, how far from the mean gradient")
    update_every: int = Field(1, ge=1, le=10**7, description="nash_mtl: batches between new weights")
    max_norm: float | None = Field(
        1.0, gt=0, description="nash_mtl: largest norm of the tasks' summed gradient; none: no limit"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="rlw: of its weights; pcgrad: of its orders")

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, populate_by_name=True)


BEST = "best"
LOAD = "load"


class ArmConfig(Strict):
    """One training beside the others: an agent, a weighting where the agent weighs losses, and a critic where
    either needs one."""

    name: str = Field(min_length=1, max_length=40, pattern=r"^[a-z0-9_]+$")
    agent: AgentConfig = Field(
        RMTLConfig(), description="a name in rmtl_tf/rl/agents.py, or with its settings"
    )
    weighting: WeightingConfig = WeightingConfig()
    critic: dict[str, Any] = Field(
        default_factory=dict,
        description="overrides of training.critic; or {load: FOLDER}, a critic another run has saved",
    )

    @field_validator("agent", mode="before")
    @classmethod
    def _named(cls, agent: Any) -> Any:
        values = {"name": agent} if isinstance(agent, str) else agent
        if isinstance(values, dict):
            name = values.get("name")
            if name not in AGENT_CONFIGS:
                raise ValueError(f'no agent "{name}"; {nearest(str(name), list(AGENT_CONFIGS))}')
        return values

    @property
    def saved_critic(self) -> str | None:
        """Folder of the saved critic this arm uses instead of training one."""
        return self.critic.get(LOAD)


# `paper` is the published setting. `recommended` is the inverse weight, which validation data of real logs
# chose (docs/architecture.md); on other data the paper's sign can be better, so a run trains both.
PRESETS: dict[str, dict[str, Any]] = {
    "control": {"weighting": {"name": "constant"}},
    "paper": {
        "weighting": {"name": "rmtl", "lambda": 0.7, "power": 1.0},
        "critic": {"gamma": 0.95, "id_dropout": 0.0},
    },
    "recommended": {
        "weighting": {"name": "rmtl", "lambda": 5.0, "power": -1.0, "normalise": "batch"},
        "critic": {"gamma": 0.95, "id_dropout": 0.2},
    },
}


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise ValueError(f'no preset "{name}"; {nearest(name, list(PRESETS))}')
    return {"name": name, **PRESETS[name]}


class PhaseConfig(Strict):
    """Optimisation of the actor in phase A (pretrain) or C (fine-tune); `training.optimizer` says by what."""

    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(1e-6, ge=0, le=1)
    max_epochs: int = Field(20, ge=1, le=10_000)
    patience: int = Field(2, ge=1, description="epochs without a better validation mean AUC")


class TrainingConfig(Strict):
    """The three phases (METHOD 5)."""

    batch_size: int = Field(2048, ge=2, le=10**7, description="records a batch; whole sessions")
    records: Literal["auto", "memory", "disk"] = Field(
        "auto",
        description="where the features of the train records are while it trains; auto: in memory, or in a "
        "file in the run's folder where they would take more than half of what is free; changes no number",
    )
    shuffle_records: int = Field(
        1 << 20,
        ge=1,
        description="records that are shuffled with one another; in a longer train split sixteen stretches "
        "of sessions that have so many together, drawn at random, then the next sixteen",
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32",
        description="mixed_bfloat16: the actor's steps multiply in bfloat16, in A and, of the agent rmtl, in "
        "C; weights, optimizer, evaluation, critics and the exported model stay float32",
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    pretrain: PhaseConfig = PhaseConfig()
    warm_start: str = Field(
        "none",
        description="blessed: phase A starts from the newest pushed model of other data; or the folder of a "
        "Trainer's outputs; none: from new weights",
    )
    critic: CriticConfig = CriticConfig()
    finetune: PhaseConfig = PhaseConfig(learning_rate=1e-4)
    arms: tuple[ArmConfig, ...] = Field(
        default_factory=lambda: tuple(ArmConfig(**_preset(name)) for name in PRESETS), min_length=1
    )
    export: str = Field("best", description="the arm that is exported: its name, or best on validation")
    checkpoint_steps: int = Field(
        200, ge=1, description="batches between checkpoints; every epoch ends with one"
    )
    strategy: Literal["none", "mirrored", "multi_worker", "parameter_server"] = Field(
        "none",
        description="of tf.distribute: all GPUs of one machine; workers in step, or servers that hold the "
        "variables, as TF_CONFIG says (docs/distributed.md)",
    )
    shards: int = Field(
        1,
        ge=1,
        le=10_000,
        description="parts of the train files that each fill an equal share of every batch; a multiple of "
        "the replicas, on whose number the result then does not depend",
    )
    restarts: int = Field(
        10, ge=0, le=10_000, description="how often a training whose processes were lost is started again"
    )
    steps_per_execution: int = Field(
        8, ge=1, le=10_000, description="batches the compiled step takes in one call; changes no number"
    )
    log_steps: int = Field(10, ge=1, description="batches between TensorBoard points")
    memory: Literal["stop", "warn"] = Field(
        "stop", description="where the estimate says that training does not fit (docs/tables.md)"
    )

    @field_validator("arms", mode="before")
    @classmethod
    def _presets(cls, arms: Any) -> Any:
        if not isinstance(arms, list | tuple):
            return arms
        return [_preset(arm) if isinstance(arm, str) else arm for arm in arms]

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms: every name once; received {names}")
        control = self.arms[0]
        if (control.name, control.weighting.name, control.agent.name) != ("control", "constant", "rmtl"):
            raise ValueError('arms: the first must be "control", what the others are compared with')
        if self.export not in (BEST, *names):
            raise ValueError(f'export: "{self.export}" is no arm; {nearest(self.export, [BEST, *names])}')
        if {BEST, "pretrained"} & set(names):
            raise ValueError('arms: "best" and "pretrained" are taken. Choose another name')
        for arm in self.arms:
            known = [*CriticConfig.model_fields, LOAD]
            unknown = set(arm.critic) - set(known)
            if unknown:
                key = min(unknown)
                raise ValueError(f"arms, {arm.name}, critic.{key}: unknown key; {nearest(key, known)}")
            _check_agent(arm)
            if LOAD in arm.critic:
                _check_load(arm)
            else:
                self.critic_of(arm)
        return self

    def critic_of(self, arm: ArmConfig) -> CriticConfig:
        """The critic configuration of an arm: `critic` with the arm's overrides."""
        own = {key: value for key, value in arm.critic.items() if key != LOAD}
        return CriticConfig(**{**self.critic.model_dump(), **own})


def _check_agent(arm: ArmConfig) -> None:
    """Refuses what the arm's agent does not read."""
    agent = arm.agent
    if not agent.WEIGHS and arm.weighting != WeightingConfig():
        raise ValueError(
            f"arms, {arm.name}: the agent {agent.name} weighs no losses, received weighting "
            f"{arm.weighting.name}. Leave weighting out, or agent"
        )
    if agent.name == "joint" and arm.weighting.power == BY_VALIDATION:
        raise ValueError(
            f"arms, {arm.name}: power: validation needs the agent rmtl, whose critic does not depend on the "
            "power. Name the powers"
        )
    unread = set(arm.critic) - agent.CRITIC if agent.CRITIC is not None else set()
    if unread:
        raise ValueError(
            f"arms, {arm.name}, critic: the agent {agent.name} does not read {sorted(unread)}; it reads "
            f"{sorted(agent.CRITIC or ())}"
        )


def _check_load(arm: ArmConfig) -> None:
    folder, others = arm.critic[LOAD], sorted(set(arm.critic) - {LOAD})
    if not isinstance(folder, str) or not folder:
        raise ValueError(f"arms, {arm.name}, critic.load: expected a folder, received {folder!r}")
    if others:
        raise ValueError(
            f"arms, {arm.name}, critic: a saved critic keeps its own settings. Leave out {others}, or load"
        )
