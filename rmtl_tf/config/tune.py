"""What `pipeline.py tune` tries, and what it calls better (docs/tuning.md)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rmtl_tf.config.base import Strict


class FloatRange(Strict):
    """Numbers between two bounds; four significant digits are used of each, so that what is shown is what was
    trained."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = Field(False, description="every order of magnitude is as likely as another")

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_bounds(self)
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.low, self.high


class IntRange(Strict):
    """Whole numbers between two bounds, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = Field(False, description="every order of magnitude is as likely as another")
    step: int = Field(1, ge=1, description="from low on; with log only 1")

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_bounds(self)
        if self.log and self.step != 1:
            raise ValueError(f"step: with log expected 1, received {self.step}")
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.low, self.high


class Choices(Strict):
    """Values without an order, of any form that the field takes (names, lists, mappings)."""

    kind: Literal["categorical"]
    choices: tuple[Any, ...] = Field(min_length=2, max_length=1000)

    @model_validator(mode="after")
    def _different(self) -> Choices:
        if len(self.named) < len(self.choices):
            raise ValueError(f"choices: some read the same: {list(self.choices)}. Name each once")
        return self

    @property
    def named(self) -> dict[str, Any]:
        """Each choice by what the study's storage, and TensorBoard, call it."""
        return {one if isinstance(one, str) else json.dumps(one): one for one in self.choices}

    @property
    def extremes(self) -> tuple[Any, ...]:
        return self.choices


SPACE_KINDS: dict[str, type[Strict]] = {"float": FloatRange, "int": IntRange, "categorical": Choices}
Range = Annotated[FloatRange | IntRange | Choices, Field(discriminator="kind")]


class TuneConfig(Strict):
    """A study: trials of one configuration that differ in the fields of `space`."""

    study: str = Field(
        "study", min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_-]+$", description="its folder's name"
    )
    trials: int = Field(20, ge=1, le=1_000_000, description="finished, pruned and failed ones together")
    arm: str = Field("control", description="the arm of training.arms whose validation metric counts")
    metric: str = Field(
        "auc",
        pattern=r"^(auc|(auc|logloss)/.+)$",
        description="on validation records: auc (mean over tasks), auc/<task> or logloss/<task>",
    )
    sampler: Literal["tpe", "random"] = Field("tpe", description="what the next trial is chosen by")
    random_trials: int = Field(10, ge=1, le=1_000_000, description="tpe: trials before it knows enough")
    seed: int = Field(0, ge=0, lt=2**31, description="of the sampler")
    pruner: Literal["median", "none"] = Field(
        "median", description="ends a trial whose best epoch is below the median of the others at that epoch"
    )
    unpruned_trials: int = Field(5, ge=1, description="median: trials that must have finished before")
    unpruned_epochs: int = Field(1, ge=0, le=10_000, description="median: epochs every trial may train")
    space: dict[str, Range] = Field(
        min_length=1, description="path of a field, as in --set, -> what is tried for it"
    )

    @property
    def maximise(self) -> bool:
        return not self.metric.startswith("logloss")


def _check_bounds(given: FloatRange | IntRange) -> None:
    if given.low >= given.high:
        raise ValueError(f"low: expected a number below high, {given.high}, received {given.low}")
    if given.log and given.low <= 0:
        raise ValueError(f"low: with log expected a number above 0, received {given.low}")
