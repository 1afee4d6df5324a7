"""Pusher: publishes a blessed SavedModel as the next version TF Serving picks up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from components.base import INFRA_BLESSING, MODEL, MODEL_BLESSING, PUSHED_MODEL, Component
from rmtl_tf import serving_versions, storage
from rmtl_tf.config import Strict
from rmtl_tf.files import read_json, write_json
from rmtl_tf.places import is_remote, place

logger = logging.getLogger(__name__)

PUSHED_FILE = "pushed.json"


class PusherParameters(Strict):
    """Where the model goes, and how many versions stay."""

    directory: str = Field(min_length=1, description="model base path TF Serving watches")
    keep: int = Field(5, ge=1, le=1000, description="versions that stay")
    label: Literal["stable", "canary"] = Field("stable", description="what the version becomes")


class Pusher(Component):
    """Pushes only what both the Evaluator and the InfraValidator blessed.

    Writes `pushed.json`: {"pushed", "version", "path", "reason"}. `pushed` is true if the model is
    the newest version, be it new or there already. A model that was rolled back is not pushed again.
    """

    INPUTS: ClassVar[Mapping[str, str]] = {
        "model": MODEL,
        "blessing": MODEL_BLESSING,
        "infra_blessing": INFRA_BLESSING,
    }
    OUTPUTS: ClassVar[Mapping[str, str]] = {"pushed": PUSHED_MODEL}
    PARAMETERS: ClassVar[type[Strict]] = PusherParameters

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: PusherParameters
    ) -> None:
        record = push_blessed(inputs, parameters)
        logger.info("Pusher: %s", record["reason"])
        write_json(outputs["pushed"] / PUSHED_FILE, record)

    @staticmethod
    def still_valid(outputs: Mapping[str, Path], parameters: PusherParameters) -> bool:
        """False once `pushed.json` no longer says what a new push would do.

        That is: the version is not the newest any more (removed, rolled back, or another model was
        pushed since), or the rolled-back model that stood in the way is gone.
        """
        pushed = read_json(outputs["pushed"] / PUSHED_FILE)
        if pushed["path"] is None:
            return True
        if pushed["pushed"]:
            return serving_versions.latest(_directory(parameters)) == place(pushed["path"])
        return place(pushed["path"]).is_dir()


def push_blessed(inputs: Mapping[str, Path], parameters: PusherParameters) -> dict[str, Any]:
    """Pushes the model if both blessed it; returns the content of `pushed.json`.

    Args:
        inputs: directories of `model`, `blessing` and `infra_blessing`.
    """
    inputs = {key: storage.local(inputs[key]) for key in Pusher.INPUTS}
    refusals = []
    if not (inputs["blessing"] / "BLESSED").is_file():
        refusals.append(f"the Evaluator did not bless it ({_failed(inputs['blessing'] / 'blessing.json')})")
    if not (inputs["infra_blessing"] / "INFRA_BLESSED").is_file():
        refusals.append(
            f"the InfraValidator did not bless it ({_failed(inputs['infra_blessing'] / 'infra.json')})"
        )
    if refusals:
        reason = "not pushed: " + "; ".join(refusals)
        return {"pushed": False, "version": None, "path": None, "reason": reason}
    warmup = inputs["infra_blessing"] / "warmup" / "tf_serving_warmup_requests"
    push = serving_versions.push(
        inputs["model"] / "Format-Serving",
        _directory(parameters),
        keep=parameters.keep,
        warmup=warmup if warmup.is_file() else None,
        label=parameters.label,
    )
    if push.rolled_back:
        reason = (
            f"not pushed: version {push.version} held this model and was rolled back; "
            f"to push it again remove {push.path}"
        )
    elif push.new:
        canary = " (canary)" if parameters.label == "canary" else ""
        reason = f"pushed as version {push.version}{canary}"
    else:
        reason = f"version {push.version} holds this model already"
    pushed = {"pushed": not push.rolled_back, "version": str(push.version), "path": str(push.path)}
    return {**pushed, "reason": reason}


def _directory(parameters: PusherParameters) -> Path:
    directory = place(parameters.directory)
    return directory if is_remote(directory) else directory.resolve()


def _failed(report: Path) -> str:
    """Names of the checks that failed in `blessing.json` or `infra.json`."""
    names = [check["name"] for check in read_json(report)["checks"] if not check["passed"]]
    return ", ".join(names) or "no reason given"
