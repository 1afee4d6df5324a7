"""The actor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rmtl_tf.config.base import Strict, Width, Widths


class HistoryConfig(Strict):
    """The session's earlier records as one more field of the state (`rmtl_tf.layers.history`).

    What is known of their labels, and when, is as `data.feedback` says; switched off there, the history is
    records without labels.
    """

    encoder: Literal["none", "mean", "gru", "attention"] = Field(
        "none", description="how the earlier records become one vector; none: no such field"
    )
    length: int = Field(20, ge=1, le=1000, description="only this many of the latest earlier records")
    heads: int = Field(2, ge=1, le=64, description="attention: heads; they share embedding_dim")


class CompressionConfig(Strict):
    """Quotient-remainder tables for inputs with many ids (`rmtl_tf.features.compression`, docs/tables.md)."""

    above: int | None = Field(None, ge=1, description="inputs of more ids are compressed; none: none is")
    ratio: int = Field(4, ge=2, le=2**20, description="rows shrink to about 1 / ratio")
    features: dict[str, Annotated[int, Field(ge=1, le=2**20)]] = Field(
        default_factory=dict, description="input -> its ratio, whatever its size; 1: never compressed"
    )
    operation: Literal["product", "sum"] = Field(
        "product", description="how the two rows of an id become one"
    )


class ModelConfig(Strict):
    """The actor: a backbone of `rmtl_tf.backbones` on embedded features. Paper sizes are the defaults."""

    backbone: str = Field("ple", description="a name in rmtl_tf/backbones")
    embedding_dim: Width = 128
    bottom: Widths = Field((512, 256), description="shared bottom, or every expert")
    tower: Widths = (128, 64)
    experts: int = Field(8, ge=1, le=256, description="MMoE, OMoE, MetaHeac: experts")
    shared_experts: int = Field(4, ge=1, le=256, description="PLE, CGC, STEM: shared experts a level")
    task_experts: int = Field(4, ge=1, le=256, description="PLE, CGC, STEM: experts of each task a level")
    levels: int = Field(2, ge=1, le=8, description="PLE: extraction levels")
    relation: Widths = Field((64,), description="DBMTL: layers that join a task with its parent")
    critic_heads: int = Field(
        5, ge=1, le=256, description="MetaHeac: its critics, output heads that are mixed"
    )
    counterfactual_weight: float = Field(
        0.01, ge=0, le=1000, description="ESCM2: weight of the counterfactual risk, lambda_c"
    )
    calibrator_weight: float = Field(
        0.6, ge=0, le=1000, description="AITM: weight of its calibrator (a child no likelier than its parent)"
    )
    cross_layers: int = Field(
        0, ge=0, le=8, description="DCN-v2 cross layers between the embedded inputs and the backbone; 0: none"
    )
    dropout: float = Field(0.2, ge=0, lt=1)
    id_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of user and item ids replaced by 'unknown' in training"
    )
    history: HistoryConfig = HistoryConfig()
    compression: CompressionConfig = CompressionConfig()

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ModelConfig:
        if self.history.encoder == "attention" and self.embedding_dim % self.history.heads:
            raise ValueError(
                f"history.heads must divide embedding_dim {self.embedding_dim}, received {self.history.heads}"
            )
        return self
