"""InfraValidator: does the exported model work in a process that has TensorFlow and nothing of ours?"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from components.base import INFRA_BLESSING, MODEL, Component
from rmtl_tf.config import Strict
from rmtl_tf.files import read_json, write_json

logger = logging.getLogger(__name__)

PROBE = Path(__file__).resolve().parents[1] / "rmtl_tf" / "export" / "probe.py"


class InfraValidatorParameters(Strict):
    """How the model is called, and what it must reach."""

    batch_sizes: tuple[int, ...] = Field((1, 100, 1000), min_length=1, description="rows of the timed calls")
    repeats: int = Field(50, ge=1, le=100_000, description="timed calls for each batch size")
    tolerance: float = Field(1e-6, ge=0, description="largest difference to the trainer's predictions")
    timeout_seconds: float = Field(600, gt=0, description="then the process is killed: not blessed")


class InfraValidator(Component):
    """Loads and calls the SavedModel in a fresh process (`rmtl_tf/export/probe.py`).

    Writes `infra.json`, the file `INFRA_BLESSED` or `INFRA_NOT_BLESSED` and, if blessed,
    `warmup/tf_serving_warmup_requests`.
    """

    INPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"infra_blessing": INFRA_BLESSING}
    PARAMETERS: ClassVar[type[Strict]] = InfraValidatorParameters

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: InfraValidatorParameters
    ) -> None:
        parity = inputs["model"] / "parity.npz"
        directory = outputs["infra_blessing"]
        answer = _probe(inputs["model"] / "Format-Serving", parity, parameters)
        blessed = all(check["passed"] for check in answer["checks"])
        write_json(directory / "infra.json", {"blessed": blessed, **answer})
        if blessed:
            # TF Serving refuses to load a version whose warm-up fails, so only proven requests go in.
            from rmtl_tf.export.probe import read_parity
            from rmtl_tf.export.warmup import write_warmup

            raw, _ = read_parity(parity)
            manifest = inputs["model"] / "manifest.json"
            candidates = read_json(manifest).get("candidates", ()) if manifest.is_file() else ()
            write_warmup(directory / "warmup" / "tf_serving_warmup_requests", raw, candidates)
        (directory / ("INFRA_BLESSED" if blessed else "INFRA_NOT_BLESSED")).touch()
        for check in answer["checks"]:
            if not check["passed"]:
                logger.warning("InfraValidator: %s failed: %s", check["name"], check["explanation"])


def _probe(model: Path, parity: Path, parameters: InfraValidatorParameters) -> dict[str, Any]:
    """{"checks": [...], "timings": {...}} of the probe; a crash or a timeout is a failed check."""
    with tempfile.TemporaryDirectory(prefix="rmtl-probe-") as folder:
        script = Path(shutil.copy(PROBE, folder))
        result = Path(folder) / "result.json"
        command = [sys.executable, "-I", str(script), "--model", str(model.resolve())]
        command += ["--parity", str(parity.resolve()), "--result", str(result)]
        command += ["--batch-sizes", *map(str, parameters.batch_sizes)]
        command += ["--repeats", str(parameters.repeats), "--tolerance", repr(parameters.tolerance)]
        # The trainer's process may hold all memory of the GPU.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
        try:
            process = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=parameters.timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _no_answer(f"no answer within {parameters.timeout_seconds:g} s; the process was killed")
        try:
            return read_json(result)
        except (OSError, json.JSONDecodeError):
            last = "\n".join(process.stderr.strip().splitlines()[-5:])
            return _no_answer(f"the process ended with code {process.returncode} and no answer: {last}")


def _no_answer(explanation: str) -> dict[str, Any]:
    check = {"name": "process", "passed": False, "value": None, "threshold": None, "explanation": explanation}
    return {"checks": [check], "timings": {}}
