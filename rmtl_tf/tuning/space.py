"""The values a trial tries: asked of the sampler, put into a configuration, shown as `--set` takes them."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from rmtl_tf.config import Choices, FloatRange, IntRange, Range, RunConfig, TuneConfig, override, parse_config
from rmtl_tf.errors import UserError, nearest

if TYPE_CHECKING:
    from optuna.trial import Trial

SECTIONS = ("seed", "data", "transform", "model", "training")
_DIGITS = 4


def suggest(trial: Trial, space: Mapping[str, Range]) -> dict[str, Any]:
    """Asks for a value of every field; they are `values_of(trial.params, space)`."""
    for path, given in space.items():
        if isinstance(given, FloatRange):
            trial.suggest_float(path, given.low, given.high, log=given.log)
        elif isinstance(given, IntRange):
            trial.suggest_int(path, given.low, given.high, log=given.log, step=given.step)
        else:
            trial.suggest_categorical(path, list(given.named))
    return values_of(trial.params, space)


def values_of(params: Mapping[str, Any], space: Mapping[str, Range]) -> dict[str, Any]:
    """Path -> value of the configuration, from what the storage keeps.

    The storage keeps categories as text and floats with all their digits; what is trained, and shown, has
    four significant ones.
    """
    values = {}
    for path, given in space.items():
        kept = params[path]
        if isinstance(given, FloatRange):
            values[path] = min(max(float(f"{kept:.{_DIGITS}g}"), given.low), given.high)
        elif isinstance(given, Choices):
            values[path] = given.named[kept]
        else:
            values[path] = int(kept)
    return values


def present(config: RunConfig, space: Mapping[str, Range]) -> dict[str, Any] | None:
    """What the storage keeps of the configuration as it stands; None where a field lies outside its range."""
    params: dict[str, Any] = {}
    for path, given in space.items():
        value = _field(config.model_dump(mode="json", by_alias=True), path)
        if isinstance(given, Choices):
            known = [name for name, choice in given.named.items() if choice == value]
            if not known:
                return None
            params[path] = known[0]
        elif isinstance(value, int | float) and _inside(value, given):
            params[path] = value
        else:
            return None
    return params


def _inside(value: float, given: FloatRange | IntRange) -> bool:
    step = given.step if isinstance(given, IntRange) else None
    return given.low <= value <= given.high and (step is None or (value - given.low) % step == 0)


def _field(values: Any, path: str) -> Any:
    """The value at a path; None where the section is not written out."""
    for key in path.split("."):
        if isinstance(values, list):
            values = {one["name"]: one for one in values}
        values = values.get(key) if isinstance(values, dict) else None
    return values


def applied(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a configuration with those of a trial in their place, without a section `tune`."""
    result = copy.deepcopy({key: value for key, value in base.items() if key != "tune"})
    for path, value in values.items():
        override(result, path, copy.deepcopy(value))
    return result


def check_space(base: Mapping[str, Any], config: RunConfig) -> TuneConfig:
    """Refuses, before anything runs, a search that cannot be: every bound and choice alone must be a valid
    configuration.

    Args:
        base: plain values of the configuration.
        config: the same, checked.

    Raises:
        UserError: naming the field; an unknown one with the nearest known.
    """
    tune = config.tune
    if tune is None:
        raise UserError(
            "tune: the configuration has no section tune, which says what to try. Add one, or give a file "
            "with --space FILE (docs/tuning.md)."
        )
    arms = [arm.name for arm in config.training.arms]
    if tune.arm not in arms:
        raise UserError(f'tune.arm: training.arms has no "{tune.arm}"; {nearest(tune.arm, arms)}')
    if config.training.strategy != "none":
        raise UserError(
            f"tune: expected training.strategy none, received {config.training.strategy}: each trial trains "
            "in one process, several trials side by side with --workers."
        )
    for path, given in tune.space.items():
        section = path.partition(".")[0]
        if section in RunConfig.model_fields and section not in SECTIONS:
            raise UserError(
                f"tune.space.{path}: {section} changes no validation metric. Expected a field of "
                f"{', '.join(SECTIONS)}."
            )
        for value in given.extremes:
            try:
                parse_config(applied(base, {path: value}), f"with {shown({path: value})}")
            except UserError as error:
                raise UserError(f"tune.space.{path}: {error}") from None
    return tune


def shown(values: Mapping[str, Any]) -> str:
    """The values as words behind `--set`, quoted for a shell where that is needed."""
    return " ".join(shlex.quote(f"{path}={text(value)}") for path, value in values.items())


def text(value: Any) -> str:
    """A value in one line of YAML."""
    lines = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False).splitlines()
    return lines[0]  # a bare scalar is followed by the end of the document
