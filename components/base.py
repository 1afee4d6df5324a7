"""What a component is: typed inputs and outputs, frozen parameters, one pure-looking function.

A component does not know its runner. It reads its inputs, writes into output directories it is
given empty (or as a killed run left them, where `RESUMABLE`), and returns nothing. Everything
that can change its result is in its inputs, its parameters, its source and `external`: from these
the runner derives the key under which the outputs are kept, so equal keys mean equal work.

`execute` gets local folders; what the others get may be a remote place (`rmtl_tf.places`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rmtl_tf.config import Strict

# Artifact types, named as in TFX where TFX has one.
RAW_LOGS = "RawLogs"
EXAMPLES = "Examples"
EXAMPLE_STATISTICS = "ExampleStatistics"
EXAMPLE_ANOMALIES = "ExampleAnomalies"
TRANSFORM_GRAPH = "TransformGraph"
MODEL = "Model"
MODEL_RUN = "ModelRun"
MODEL_EVALUATION = "ModelEvaluation"
MODEL_BLESSING = "ModelBlessing"
INFRA_BLESSING = "InfraBlessing"
PUSHED_MODEL = "PushedModel"
REPORT = "Report"


@dataclass(frozen=True)
class Output:
    """A reference to one output of a component in the same pipeline."""

    component: str
    key: str
    type: str


class Component:
    """Base of all components.

    Class attributes:
        INPUTS, OUTPUTS: artifact key -> artifact type.
        PARAMETERS: frozen class of the parameters.
        RESUMABLE: True where `execute` goes on from what a killed run left in its outputs.
    """

    INPUTS: ClassVar[Mapping[str, str]] = {}
    OUTPUTS: ClassVar[Mapping[str, str]] = {}
    PARAMETERS: ClassVar[type[Strict]] = Strict
    RESUMABLE: ClassVar[bool] = False

    def __init__(self, parameters: Strict, inputs: Mapping[str, Output] | None = None) -> None:
        inputs = dict(inputs or {})
        if not isinstance(parameters, self.PARAMETERS):
            raise TypeError(
                f"{self.name}: expected {self.PARAMETERS.__name__}, received {type(parameters).__name__}"
            )
        received = {key: output.type for key, output in inputs.items()}
        if received != dict(self.INPUTS):
            raise TypeError(f"{self.name}: expected inputs {dict(self.INPUTS)}, received {received}")
        self.parameters = parameters
        self.inputs = inputs

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def outputs(self) -> dict[str, Output]:
        return {key: Output(self.name, key, kind) for key, kind in self.OUTPUTS.items()}

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: Any) -> dict[str, str]:
        """Digests of what the result depends on outside inputs and parameters (raw files, a pushed model)."""
        return {}

    @staticmethod
    def still_valid(outputs: Mapping[str, Path], parameters: Any) -> bool:
        """Whether cached outputs still stand for the world outside (Pusher: is the version still there?)."""
        return True

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: Any) -> None:
        """Does the work: reads `inputs`, fills the directories `outputs`.

        Raises:
            UserError: with what to do, for anything a person can mend.
        """
        raise NotImplementedError
