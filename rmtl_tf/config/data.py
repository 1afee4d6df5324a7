"""Which logs, how they become sessions, and how raw values become model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rmtl_tf.config.base import Strict, Unit
from rmtl_tf.data.tfds.source import check_source
from rmtl_tf.data.validation.rules import RULES
from rmtl_tf.errors import UserError, nearest


class SimulatorConfig(Strict):
    """Size and seed of simulated logs (`rmtl_tf.data.simulator`)."""

    events: int = Field(60_000, ge=100, le=10**9, description="rows to write, about")
    users: int | None = Field(None, ge=2, description="default: events / 30")
    items: int | None = Field(None, ge=2, description="default: grows with the square root of events")
    seed: int = Field(0, ge=0, lt=2**31)


class SessionConfig(Strict):
    """How rows become sessions."""

    by: Literal["column", "gap"] = Field("column", description="the schema's session column, or user + gap")
    gap_minutes: float = Field(30, gt=0, le=10**6, description="inactivity that ends a session (by: gap)")
    max_steps: int = Field(200, ge=2, le=10_000, description="longer sessions are cut into windows")


class FeedbackConfig(Strict):
    """Past feedback of the session as part of the state (DESIGN 4). Only for labels known at once."""

    enabled: bool = Field(True, description="off where labels arrive after the session")
    label_delay: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="seconds until a task's label is known; default 0"
    )
    exclude: tuple[str, ...] = Field((), description="tasks whose label is never known in the session")


class ValidationConfig(Strict):
    """What data validation does with what it finds (docs/validation.md)."""

    severity: dict[str, Literal["ERROR", "WARNING", "IGNORE"]] = Field(
        default_factory=dict,
        description="rule -> severity, in the place of the rule's own; ERROR stops the run",
    )
    baseline: str | None = Field(
        None,
        description="statistics of an earlier ExampleGen, from which the train split may have drifted",
    )

    @field_validator("severity")
    @classmethod
    def _known_rules(cls, severity: dict[str, str]) -> dict[str, str]:
        for rule in severity:
            if rule not in RULES:
                raise ValueError(f'no rule "{rule}"; {nearest(rule, list(RULES))}')
        return severity


class SpansConfig(Strict):
    """Logs that grow by a folder or file a span, for example a day: `{SPAN}` in data.path (docs/data.md)."""

    validation: int = Field(1, ge=1, description="spans before the test spans that are for validation")
    test: int = Field(1, ge=1, description="newest spans, for test; all others are for training")
    window: int | None = Field(None, ge=3, description="only so many of the newest spans; none: all")

    @model_validator(mode="after")
    def _some_are_left(self) -> SpansConfig:
        if self.window is not None and self.window <= self.validation + self.test:
            raise ValueError(
                f"window: {self.window} spans leave none for training beside {self.validation} to validate "
                f"and {self.test} to test"
            )
        return self


class DataConfig(Strict):
    """Which logs, and how they are cut."""

    dataset: str = Field("simulator", description="reader: a name in rmtl_tf/data/datasets")
    path: str | None = Field(
        None, description="folder with the raw files, or with {SPAN} one of each span; none: simulate"
    )
    source: str | None = Field(
        None, description="tfds:NAME[/CONFIG][:VERSION], a TFDS data set prepared in data.path (docs/tfds.md)"
    )
    data_schema: str = Field("data_schemas/simulator.pbtxt", alias="schema")
    simulate: SimulatorConfig = SimulatorConfig()
    session: SessionConfig = SessionConfig()
    split: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="train, validation, test; by start time; spans are divided by `spans`"
    )
    spans: SpansConfig = SpansConfig()
    max_bad_fraction: Unit = Field(0.01, description="stop when more rows than this are bad")
    feedback: FeedbackConfig = FeedbackConfig()
    validation: ValidationConfig = ValidationConfig()
    shards: int | None = Field(
        None, ge=1, le=4096, description="partitions by session key, files a split; none: by the logs' size"
    )

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str | None) -> str | None:
        return None if source is None else check_source(source)

    @model_validator(mode="after")
    def _table_from_source(self) -> DataConfig:
        if self.source is not None and self.dataset != "table":
            raise ValueError(f"data.source needs data.dataset: table, received {self.dataset}")
        if self.source is not None and self.path is None:
            raise ValueError("data.source needs data.path, the folder the TFDS data set was prepared in")
        return self

    @field_validator("split")
    @classmethod
    def _positive_split(cls, split: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(split) <= 0:
            raise ValueError("every part must be above 0, for example [0.6, 0.2, 0.2]")
        return tuple(part / sum(split) for part in split)  # type: ignore[return-value]


class TableConfig(Strict):
    """What one categorical feature has otherwise than `transform` says; none: as there."""

    min_count: int | None = Field(None, ge=1)
    top_k: int | None = Field(None, ge=0, le=2**31 - 1)
    hash_buckets: int | None = Field(None, ge=0, le=2**30)


class TransformConfig(Strict):
    """How raw values become model inputs. Fitted on the train split only."""

    min_count: int = Field(
        2,
        ge=1,
        description="rarer values of a categorical feature get no row of their own: unknown, or hashed",
    )
    top_k: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="at most this many values of a feature have a row; 0: all hashed",
    )
    hash_buckets: int = Field(
        0, ge=0, le=2**30, description="values without a row of their own share so many; 0: they are unknown"
    )
    features: dict[str, TableConfig] = Field(
        default_factory=dict, description="feature -> its own min_count, top_k, hash_buckets (docs/tables.md)"
    )
    time: tuple[Literal["hour", "weekday"], ...] = Field(
        ("hour", "weekday"), description="from the timestamp, UTC"
    )
    rate_prior_strength: float = Field(2.0, gt=0, description="pseudo-records that smooth a past rate")

    def table(self, feature: str) -> TableConfig:
        """What holds for a categorical feature; only `top_k` can be None."""
        own = self.features.get(feature, TableConfig()).model_dump(exclude_none=True)
        shared = {"min_count": self.min_count, "top_k": self.top_k, "hash_buckets": self.hash_buckets}
        return TableConfig(**{**shared, **own})

    def check_features(self, categorical: Sequence[str]) -> None:
        """Refuses settings of features that are none of these.

        Raises:
            UserError: with the nearest of them.
        """
        for name in self.features:
            if name not in categorical:
                raise UserError(
                    f'transform.features: expected categorical inputs of the schema, received "{name}"; '
                    f"{nearest(name, list(categorical))}"
                )
