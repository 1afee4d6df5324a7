"""The configuration of one run: `configs/<name>.yaml` read into strict, frozen classes.

Every value is bounded, an unknown key is refused with the nearest known one, and any field can be
overridden as `path.to.field=value`. Defaults are the paper's where the paper has one
(METHOD: Liu et al., WWW 2023, and its published code).
"""

from __future__ import annotations

from rmtl_tf.config.agents import (
    AGENT_CONFIGS,
    AgentConfig,
    DDPGConfig,
    JointConfig,
    RMTLConfig,
    TD3BCConfig,
)
from rmtl_tf.config.base import (
    Strict,
    Unit,
    Width,
    Widths,
)
from rmtl_tf.config.data import (
    DataConfig,
    FeedbackConfig,
    SessionConfig,
    SimulatorConfig,
    SpansConfig,
    TableConfig,
    TransformConfig,
    ValidationConfig,
)
from rmtl_tf.config.kubeflow import KubeflowConfig, StepResources
from rmtl_tf.config.load import (
    check_names,
    load_config,
    override,
    parse_config,
    read_values,
    set_values,
)
from rmtl_tf.config.model import (
    CompressionConfig,
    HistoryConfig,
    ModelConfig,
)
from rmtl_tf.config.optimizer import OptimizerConfig
from rmtl_tf.config.run import (
    EvaluationConfig,
    PushConfig,
    RunConfig,
    ServingConfig,
)
from rmtl_tf.config.training import (
    BEST,
    BY_VALIDATION,
    LOAD,
    PRESETS,
    ArmConfig,
    CriticConfig,
    PhaseConfig,
    TrainingConfig,
    WeightingConfig,
)
from rmtl_tf.config.tune import (
    Choices,
    FloatRange,
    IntRange,
    Range,
    TuneConfig,
)

__all__ = [
    "AGENT_CONFIGS",
    "BEST",
    "BY_VALIDATION",
    "LOAD",
    "PRESETS",
    "AgentConfig",
    "ArmConfig",
    "Choices",
    "CompressionConfig",
    "CriticConfig",
    "DDPGConfig",
    "DataConfig",
    "EvaluationConfig",
    "FeedbackConfig",
    "FloatRange",
    "HistoryConfig",
    "IntRange",
    "JointConfig",
    "KubeflowConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PhaseConfig",
    "PushConfig",
    "RMTLConfig",
    "Range",
    "RunConfig",
    "ServingConfig",
    "SessionConfig",
    "SimulatorConfig",
    "SpansConfig",
    "StepResources",
    "Strict",
    "TD3BCConfig",
    "TableConfig",
    "TrainingConfig",
    "TransformConfig",
    "TuneConfig",
    "Unit",
    "ValidationConfig",
    "WeightingConfig",
    "Width",
    "Widths",
    "check_names",
    "load_config",
    "override",
    "parse_config",
    "read_values",
    "set_values",
]
