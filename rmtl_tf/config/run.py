"""One run of the pipeline: all sections together, and those that come after training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rmtl_tf.config.base import Strict, Unit
from rmtl_tf.config.data import DataConfig, TransformConfig
from rmtl_tf.config.kubeflow import KubeflowConfig
from rmtl_tf.config.model import ModelConfig
from rmtl_tf.config.training import TrainingConfig
from rmtl_tf.config.tune import TuneConfig
from rmtl_tf.places import place


class EvaluationConfig(Strict):
    """Metrics, slices, and what a model must reach to be blessed."""

    bootstrap: int = Field(200, ge=20, le=100_000, description="resamples of sessions for the intervals")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    min_auc: Unit = Field(0.5, description="every task's AUC must be above")
    max_calibration_error: Unit = Field(
        0.2, description="every task's expected calibration error must be below"
    )
    max_auc_drop: Unit = Field(
        0.01, description="allowed drop of mean AUC against the pushed model: lower bound of its interval"
    )


class ServingConfig(Strict):
    """What the SavedModel answers beside one probability a task."""

    score: dict[str, Annotated[float, Field(ge=-100, le=100)]] = Field(
        default_factory=dict,
        description="task -> exponent or factor of its probability in the score; empty: 1 for each task",
    )
    combine: Literal["product", "sum"] = Field(
        "product", description="score = product of p ** exponent, or sum of factor * p"
    )
    context: tuple[str, ...] = Field(
        (), description="step features of which a request to rank sends one value for all its candidates"
    )
    folded_mb: int = Field(
        128,
        ge=0,
        le=100_000,
        description="MiB for embeddings exported as their products with a model's first matrices; 0: none",
    )


class PushConfig(Strict):
    """Where the model goes, and how many versions stay."""

    directory: str | None = Field(
        None, description="model base path TF Serving watches; none: <root>/serving/<name>"
    )
    keep: int = Field(5, ge=2, le=1000, description="with fewer than 2 there is nothing to roll back to")
    label: Literal["stable", "canary"] = Field(
        "stable", description="a canary stands beside the stable version until it is promoted or taken back"
    )


class RunConfig(Strict):
    """One run of the pipeline: one YAML file."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$")
    seed: int = Field(0, ge=0, lt=2**31)
    root: str | None = Field(
        None, description="pipeline root, a folder or a URI (docs/remote.md); none: runs/<name>"
    )
    data: DataConfig = DataConfig()
    transform: TransformConfig = TransformConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    serving: ServingConfig = ServingConfig()
    push: PushConfig = PushConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()
    tune: TuneConfig | None = Field(None, description="what pipeline.py tune tries; no part of a run")

    @property
    def pipeline_root(self) -> Path:
        return place(self.root or f"runs/{self.name}")

    @property
    def serving_directory(self) -> Path:
        return (
            place(self.push.directory) if self.push.directory else self.pipeline_root / "serving" / self.name
        )
