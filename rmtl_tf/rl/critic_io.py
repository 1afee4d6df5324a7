"""Critics on disk: a critic of one run weighs the losses of another (the paper's transfer study)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.files import digest_file, read_json, write_json
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_forms import FORMS

CRITIC_FILE = "critic.json"
WEIGHTS_FILE = "weights.npz"
_VERSION = 1


def save_critic(directory: Path, critic: Critic, metadata: Mapping[str, Any]) -> None:
    """Writes `critic.json` (form, settings, inputs, `metadata`) and `weights.npz` into `directory`.

    Same critic, same metadata: same bytes. The JSON file comes last and holds the digest of the other, so
    a save that was cut short is not read as a critic.

    Args:
        critic: with its variables made.
        metadata: JSON-able facts about it, for example tasks and discount.
    """
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {f"{number:04d}": np.asarray(variable) for number, variable in enumerate(critic.weights)}
    np.savez(directory / WEIGHTS_FILE, **arrays)  # type: ignore[arg-type]
    config = {key: value for key, value in critic.get_config().items() if key != "name"}
    write_json(
        directory / CRITIC_FILE,
        {
            "version": _VERSION,
            "form": critic.FORM,
            "config": config,
            "metadata": dict(metadata),
            "weights": digest_file(directory / WEIGHTS_FILE),
        },
    )


def read_metadata(directory: Path) -> dict[str, Any]:
    """The metadata `save_critic` was given.

    Raises:
        UserError: `directory` holds no whole critic.
    """
    return _read(directory)["metadata"]


def load_critic(
    directory: Path,
    spec: InputSpec,
    num_tasks: int,
    embedding_dim: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Critic:
    """The critic in `directory`, for states of `spec` and K = `num_tasks`.

    The order of the inputs does not matter, and neither does which of them are ids of a user or an item.

    Args:
        embedding_dim: width D its embeddings must have; None: any.
        metadata: entries its metadata must have, for example `{"tasks": ["click", "buy"]}`; entries of a
            nested mapping are compared one by one.

    Raises:
        UserError: `directory` holds no whole critic, or the critic is of other states, tasks or metadata;
            every difference is named.
    """
    stored = _read(directory)
    config = stored["config"]
    saved = _facts(InputSpec.from_config(config["spec"]), config["num_tasks"])
    wanted = _facts(spec, num_tasks)
    if embedding_dim is not None:
        saved["embedding width"], wanted["embedding width"] = config["embedding_dim"], embedding_dim
    expected = _flat(metadata or {})
    wanted |= expected
    # Metadata nobody asked for is no difference; a mapping that was asked for must hold nothing else.
    groups = set(metadata or {})
    saved |= {key: value for key, value in _flat(stored["metadata"]).items() if key.split(":")[0] in groups}
    different = [key for key in {**saved, **wanted} if saved.get(key) != wanted.get(key)]
    if different:
        lines = "".join(
            f"\n  {key}: the critic has {_show(saved.get(key))}, here {_show(wanted.get(key))}"
            for key in different
        )
        raise UserError(
            f"critic {directory}: expected one trained on the states of this run, received one with other "
            f"states:{lines}\nLoad a critic of a run with the same data, transform and tasks, or train one."
        )
    critic = FORMS[stored["form"]].from_config(config)
    critic.build()
    with np.load(directory / WEIGHTS_FILE, allow_pickle=False) as arrays:
        values = [arrays[key] for key in sorted(arrays.files)]
    for variable, value in zip(critic.weights, values, strict=True):
        variable.assign(value)
    return critic


def _read(directory: Path) -> dict[str, Any]:
    try:
        stored = read_json(directory / CRITIC_FILE)
        if stored["version"] != _VERSION:
            raise ValueError(f"format version {stored['version']}, not {_VERSION}")
        if digest_file(directory / WEIGHTS_FILE) != stored["weights"]:
            raise ValueError(f"{WEIGHTS_FILE} is not the file {CRITIC_FILE} was written with")
    except (OSError, json.JSONDecodeError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"critic {directory}: expected a folder that training wrote (<run>/Trainer/<key>/model_run/"
            f"critics/<name>), but it cannot be read ({type(error).__name__}: {error})."
        ) from None
    return stored


def _facts(spec: InputSpec, num_tasks: int) -> dict[str, Any]:
    """What two compatible states have in common, by name."""
    facts: dict[str, Any] = {f"input {name!r}": f"{size} ids" for name, size in spec.categorical}
    facts |= {f"input {name!r}": "a number" for name in spec.numeric}
    facts |= {f"input {name!r}, values": most for name, most in spec.several}
    if spec.compression is not None:
        operation = spec.compression.operation
        facts |= {
            f"input {name!r}, table": f"{operation} of quotient and remainder, ratio {ratio}"
            for name, ratio in spec.compression.ratios
        }
    if spec.history is not None:
        facts |= {f"history {key}": value for key, value in asdict(spec.history).items()}
    return {**facts, "number of tasks": num_tasks}


def _flat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}: {inner}": content for inner, content in value.items()}
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def _show(value: Any) -> str:
    return "none" if value is None else str(value)
