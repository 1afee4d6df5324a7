"""`models.config` beside the versions: which of them TF Serving loads, and what `stable` and `canary` mean.

TF Serving reads it with `--model_config_file` and, polling it, follows every change without a restart. It is
the only place where labels are kept. Both labels are always there, so a client of either never fails; they
differ while a canary waits to be promoted or taken back. The file changes by one rename.

It takes labels of loaded versions only: a poll that finds a new version and its label may load the one and
assign the other with the next poll.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmtl_tf.errors import UserError
from rmtl_tf.files import read_text, write_text
from rmtl_tf.places import is_remote

MODELS_CONFIG = "models.config"
STABLE, CANARY = "stable", "canary"
LABELS = (STABLE, CANARY)
# Where TF Serving's image expects models.
SERVED_BELOW = "/models"


def read_labels(directory: Path) -> dict[str, int]:
    """Label -> version, of the `models.config` in `directory`; empty if there is none yet.

    Raises:
        UserError: the file cannot be understood.
    """
    config = _read(directory / MODELS_CONFIG)
    if config is None:
        return {}
    return {
        label: int(version) for label, version in config.model_config_list.config[0].version_labels.items()
    }


def write_labels(directory: Path, labels: Mapping[str, int]) -> None:
    """Makes TF Serving load exactly the versions that are labelled, under the name of `directory`.

    What else a person wrote into the file (the base path, logging) stays.

    Args:
        labels: label -> version; `stable` and `canary`.

    Raises:
        UserError: the file that is there cannot be understood.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = _read(directory / MODELS_CONFIG)
    if config is None:
        config = model_server_config_pb2.ModelServerConfig()
        name = directory.resolve().name
        # Of the stores TF Serving reads gs:// itself; from others the folder is copied or mounted.
        own = is_remote(directory) and str(directory).startswith("gs://")
        base = str(directory) if own else f"{SERVED_BELOW}/{name}"
        config.model_config_list.config.add(name=name, base_path=base, model_platform="tensorflow")
    model = config.model_config_list.config[0]
    model.model_version_policy.Clear()
    model.model_version_policy.specific.versions.extend(sorted(set(labels.values())))
    model.version_labels.clear()
    for label, version in labels.items():
        model.version_labels[label] = version
    write_text(directory / MODELS_CONFIG, text_format.MessageToString(config))


def _read(path: Path) -> Any:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        text = read_text(path)
    except FileNotFoundError:
        return None
    try:
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise UserError(
            f"{path}: expected a ModelServerConfig in text form: {error}. Mend or remove it."
        ) from None
    if len(config.model_config_list.config) != 1:
        raise UserError(
            f"{path}: expected one model, found {len(config.model_config_list.config)}. A server of several "
            "models needs a file of its own; remove the others from this one."
        )
    return config
