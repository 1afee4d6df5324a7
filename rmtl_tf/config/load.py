"""Configuration files and overrides to a checked `RunConfig`."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from rmtl_tf.config.agents import AGENT_CONFIGS
from rmtl_tf.config.run import RunConfig
from rmtl_tf.config.training import PRESETS, ArmConfig, preset
from rmtl_tf.config.tune import SPACE_KINDS, TuneConfig
from rmtl_tf.errors import UserError, nearest
from rmtl_tf.places import place


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration file and applies `path.to.field=value` overrides (values are YAML).

    Raises:
        UserError: the file is missing or no YAML mapping, an override is malformed, a key is unknown,
            or a value is outside its bounds. Every problem is listed with its path.
    """
    values = read_values(path)
    set_values(values, overrides)
    return parse_config(values, str(path))


def read_values(path: str | Path) -> dict[str, Any]:
    """A file's plain values, as they are written: names and bounds are not checked.

    Raises:
        UserError: the file is missing or no YAML mapping.
    """
    try:
        text = place(path).read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(
            f"configuration {path}: cannot be read ({error.strerror}). See configs/ for examples."
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"configuration {path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(
            f"configuration {path}: expected a mapping of sections, received {type(values).__name__}."
        )
    return values


def set_values(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Applies `path.to.field=value` overrides (values are YAML) to plain values.

    Raises:
        UserError: one is malformed.
    """
    for given in overrides:
        field, separator, value = given.partition("=")
        if not separator:
            raise UserError(
                f"--set {given}: expected path.to.field=value, for example training.batch_size=512."
            )
        try:
            override(values, field, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise UserError(f"--set {given}: the value is not valid YAML: {error}") from None


def override(values: dict[str, Any], path: str, value: Any) -> None:
    """Puts `value` at `path.to.field` of plain values. An arm is found by its name, presets included:
    `training.arms.paper.weighting.lambda`.

    Raises:
        UserError: the path is no path, or goes through a value that is no section.
    """
    keys = path.strip().split(".")
    if not all(keys):
        raise UserError(f"--set {path}: expected path.to.field=value, for example training.batch_size=512.")
    node = values
    if keys[:2] == ["training", "arms"] and len(keys) > 3:
        node, keys = _arm(values, keys[2], path), keys[3:]
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {path}: {key} holds a value, not a section.")
        node = child
    node[keys[-1]] = value


def _arm(values: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    """The values of the arm `name`, now written out in `values`."""
    training = values.setdefault("training", {})
    arms = training.setdefault("arms", list(PRESETS)) if isinstance(training, dict) else None
    if not isinstance(arms, list):
        raise UserError(f"--set {path}: expected a list of arms in training.arms, received {arms!r}.")
    names = [arm.get("name") if isinstance(arm, dict) else arm for arm in arms]
    if name not in names:
        known = nearest(name, [str(known) for known in names])
        raise UserError(f"--set {path}: training.arms has no arm {name}; {known}")
    place = names.index(name)
    if not isinstance(arms[place], dict):
        arms[place] = preset(name)
    return arms[place]


def check_names(config: RunConfig) -> None:
    """Refuses names of parts that do not exist; imports no part.

    Raises:
        UserError: with the nearest known name.
    """
    from rmtl_tf.backbones import BACKBONES
    from rmtl_tf.data.datasets import READERS
    from rmtl_tf.weighting import WEIGHTINGS, check_power, check_scaling

    READERS.check(config.data.dataset)
    BACKBONES.check(config.model.backbone)
    for arm in config.training.arms:
        WEIGHTINGS.check(arm.weighting.name)
        check_scaling(arm.weighting)
        check_power(arm.weighting)


def parse_config(values: Mapping[str, Any], origin: str = "configuration") -> RunConfig:
    """A `RunConfig` from plain values; `origin` names them in the error."""
    try:
        config = RunConfig.model_validate(values)
        check_names(config)
        return config
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise UserError(f"configuration {origin}:\n{problems}") from None


def _explain(problem: Mapping[str, Any]) -> str:
    where = [str(part) for part in problem["loc"]]
    path = ".".join(where)
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key; {nearest(where[-1], _known_keys(where[:-1]))}"
    received = "" if problem["type"] in ("missing", "value_error") else f" Received: {problem['input']!r}."
    return f"{path}: {problem['msg'].removeprefix('Value error, ')}.{received}".replace("..", ".")


# Sections that are not one class: a list of arms; one class for each agent and each kind of range, whose name
# is in the path; one that may be absent; one whose keys are paths.
_CHOICES: dict[str, Any] = {
    "arms": ArmConfig,
    "agent": AGENT_CONFIGS,
    "tune": TuneConfig,
    "space": types.GenericAlias(dict, (str, SPACE_KINDS)),
}


def _known_keys(path: Sequence[str]) -> list[str]:
    """The keys of the section at `path`, as written in YAML."""
    section: Any = RunConfig
    for key in path:
        if key.isdigit():
            continue
        if isinstance(section, dict):  # one class for each name
            section = section[key]
            continue
        if get_origin(section) is dict:  # the key is a name of the user's
            section = get_args(section)[1]
            continue
        fields = {(f.alias or name): f for name, f in section.model_fields.items()}
        section = _CHOICES.get(key) or fields[key].annotation
    return [f.alias or name for name, f in section.model_fields.items()]
