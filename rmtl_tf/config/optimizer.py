"""How all networks of a run are optimised, beside their learning rates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rmtl_tf.config.base import Strict


class OptimizerConfig(Strict):
    """Adam, with a rule of its own for embedding tables (docs/optimizers.md)."""

    tables: Literal["adam", "adam_lazy", "adagrad", "adagrad_rowwise", "ftrl", "dense"] = Field(
        "adam_lazy",
        description="rule of embedding tables; adam: dense Adam's result, dense: all rows at every step",
    )
    table_learning_rate: float | None = Field(
        None, gt=0, le=10, description="of embedding tables; none: that of the rest"
    )
    clip_norm: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    clip_variable_norm: float | None = Field(
        None, gt=0, description="largest norm of each variable's gradient"
    )

    @model_validator(mode="after")
    def _one_clip(self) -> OptimizerConfig:
        if self.clip_norm is not None and self.clip_variable_norm is not None:
            raise ValueError("clip_norm, clip_variable_norm: expected one of them. Leave the other out")
        return self
