"""Loss weightings, one a file. A new one is a dataclass in its own file and a line below.

The form is optax's: `init(num_tasks) -> state`, `update(losses, context, state) -> (weights, state)`.
Gradient methods weigh the tasks' gradients instead: `combine(gram, losses, state) -> (weights, state)`
(`rmtl_tf.weighting.gradient_method`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rmtl_tf.config import BY_VALIDATION, WeightingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.registry import Registry

if TYPE_CHECKING:
    from rmtl_tf.weighting.base import Weighting

LOSS_WEIGHTINGS = {
    "constant": "rmtl_tf.weighting.constant:Constant",
    "rmtl": "rmtl_tf.weighting.rmtl:RMTL",
    "wl": "rmtl_tf.weighting.wl:WL",
    "nlc": "rmtl_tf.weighting.nlc:NLC",
    "session_balanced": "rmtl_tf.weighting.session_balanced:SessionBalanced",
    "monte_carlo": "rmtl_tf.weighting.monte_carlo:MonteCarlo",
    "entropy": "rmtl_tf.weighting.entropy:Entropy",
    "uncertainty": "rmtl_tf.weighting.uncertainty:Uncertainty",
    "rlw": "rmtl_tf.weighting.rlw:RLW",
    "dwa": "rmtl_tf.weighting.dwa:DWA",
    "famo": "rmtl_tf.weighting.famo:FAMO",
    "stch": "rmtl_tf.weighting.stch:STCH",
    "advantage": "rmtl_tf.weighting.advantage:Advantage",
}

GRADIENT_METHODS = {
    "pcgrad": "rmtl_tf.weighting.pcgrad:PCGrad",
    "mgda": "rmtl_tf.weighting.mgda:MGDA",
    "cagrad": "rmtl_tf.weighting.cagrad:CAGrad",
    "imtl_g": "rmtl_tf.weighting.imtl_g:IMTLG",
    "gradnorm": "rmtl_tf.weighting.gradnorm:GradNorm",
    "nash_mtl": "rmtl_tf.weighting.nash_mtl:NashMTL",
}

WEIGHTINGS = Registry("weighting.name", {**LOSS_WEIGHTINGS, **GRADIENT_METHODS})


# The weightings (1 - lambda v)^power, whose power may differ from task to task.
POWER_LAWS = ("rmtl", "monte_carlo")

_SCALING = {"normalise": "none", "cap": None, "temperature": 1.0}


def check_scaling(config: WeightingConfig) -> None:
    """Refuses normalisation, cap and temperature for a gradient method, which has no weights of records.

    Raises:
        UserError: naming the fields.
    """
    changed = [name for name, default in _SCALING.items() if getattr(config, name) != default]
    if config.name in GRADIENT_METHODS and changed:
        raise UserError(
            f"weighting {config.name}: {', '.join(changed)} expected at the default, received "
            f"{[getattr(config, name) for name in changed]}: a gradient method weighs no records. Remove it."
        )


def check_power(config: WeightingConfig) -> None:
    """Refuses a power for each task where the weighting is no power law.

    Raises:
        UserError: naming the weightings that are.
    """
    if not isinstance(config.power, float) and config.name not in POWER_LAWS:
        raise UserError(
            f"weighting {config.name}: power expected as a number, received {config.power!r}: only "
            f"{' and '.join(POWER_LAWS)} take one for each task."
        )


def powers_of(config: WeightingConfig, tasks: Sequence[str]) -> float | tuple[float, ...]:
    """The power of `config`: one, or one for each of `tasks`, in their order.

    Raises:
        UserError: a task has none, or a power is of no task.
    """
    power = config.power
    if isinstance(power, float):
        return power
    if not isinstance(power, dict):
        raise ValueError(f"`power` must be chosen by validation first. Received: {power!r}")
    unknown = [name for name in power if name not in tasks]
    if unknown or len(power) < len(tasks):
        raise UserError(
            f"weighting {config.name}: power expected for each of the tasks {list(tasks)}, received "
            f"{power}. Name every task once."
        )
    return tuple(power[task] for task in tasks)


def build_weighting(config: WeightingConfig, tasks: Sequence[str] = ()) -> Weighting:
    """The weighting `config` names, with the settings it reads from `config`, scaled as asked.

    Args:
        tasks: names of the K tasks, in order; read where `power` names tasks.

    Raises:
        UserError: no weighting has this name, it cannot be scaled, or its powers are not those of the tasks.
    """
    from rmtl_tf.weighting.scaled import Scaled

    kind = WEIGHTINGS[config.name]
    check_scaling(config)
    check_power(config)
    settings = {field.name: getattr(config, field.name) for field in fields(kind)}
    if config.name in POWER_LAWS:
        settings["power"] = powers_of(config, tasks)
    weighting: Weighting = kind(**settings)
    if config.normalise == "none" and config.cap is None and config.temperature == 1:
        return weighting
    return Scaled(weighting, config.normalise, config.cap, config.temperature)


def settings_of(config: WeightingConfig) -> dict[str, Any]:
    """The fields of `config` the weighting it names reads, as in a configuration file."""
    read = {"name", *(field.name for field in fields(WEIGHTINGS[config.name]))}
    if config.name in LOSS_WEIGHTINGS:
        read |= set(_SCALING)
    if config.power == BY_VALIDATION:
        read.add("power_candidates")
    return config.model_dump(mode="json", by_alias=True, include=read)


def __getattr__(name: str) -> Any:
    """`rmtl_tf.weighting.RMTL` and the like, imported when they are used."""
    return WEIGHTINGS.attribute(name)
