"""ExampleValidator: looks for anomalies in session Examples, and stops the run where one is an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from components.base import EXAMPLE_ANOMALIES, EXAMPLE_STATISTICS, EXAMPLES, Component
from rmtl_tf import storage
from rmtl_tf.config import FeedbackConfig, Strict, ValidationConfig
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, digest_json, digest_tree
from rmtl_tf.places import place

logger = logging.getLogger(__name__)


class ExampleValidatorParameters(Strict):
    """What the Examples are held against, and what is done about anomalies."""

    data_schema: str = Field(alias="schema", description="schema file of the data set")
    feedback: FeedbackConfig = Field(FeedbackConfig(), description="as ExampleGen has it")
    validation: ValidationConfig = ValidationConfig()


class ExampleValidator(Component):
    """Writes `anomalies`; see `rmtl_tf.data.validation`."""

    INPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES, "statistics": EXAMPLE_STATISTICS}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"anomalies": EXAMPLE_ANOMALIES}
    PARAMETERS: ClassVar[type[Strict]] = ExampleValidatorParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: ExampleValidatorParameters) -> dict[str, str]:
        digests = {"schema": digest_file(place(parameters.data_schema))}
        if (baseline := _baseline(parameters)) is not None:
            digests["baseline"] = digest_json(digest_tree(baseline))
        return digests

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: ExampleValidatorParameters
    ) -> None:
        """Writes the anomalies.

        Raises:
            UserError: an anomaly has severity ERROR; the error keeps `anomalies.json`.
        """
        from rmtl_tf.data.feedback import feedback_columns
        from rmtl_tf.data.validation.artifact import ANOMALIES_FILE, stop_on_errors, summary, write_validation
        from rmtl_tf.data.validation.examples import validate_examples
        from rmtl_tf.schema import read_schema

        schema = read_schema(parameters.data_schema)
        found = validate_examples(
            inputs["examples"],
            inputs["statistics"],
            schema,
            feedback_columns(parameters.feedback, schema),
            parameters.validation.severity,
            _baseline(parameters),
        )
        write_validation(found, outputs["anomalies"])
        logger.log(logging.WARNING if found.anomalies else logging.INFO, "%s", summary(found))
        stop_on_errors(found, [outputs["anomalies"] / ANOMALIES_FILE])


def _baseline(parameters: ExampleValidatorParameters) -> Path | None:
    if parameters.validation.baseline is None:
        return None
    folder = place(parameters.validation.baseline)
    if not (folder / "Split-train").is_dir():
        raise UserError(
            f"data.validation.baseline: expected statistics of an earlier run with Split-train in it, "
            f"received {folder}. ExampleGen writes them to <run>/ExampleGen/<key>/statistics."
        )
    return storage.local(folder)
