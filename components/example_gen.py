"""ExampleGen: raw CSV logs to session Examples and their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from components.base import EXAMPLE_STATISTICS, EXAMPLES, RAW_LOGS, Component, Output
from rmtl_tf import storage
from rmtl_tf.config import DataConfig, SimulatorConfig, Strict, ValidationConfig
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file
from rmtl_tf.places import place


class ExampleGenParameters(Strict):
    """How the logs are read and cut. `simulate`, `source` and `validation` belong to other steps."""

    data: DataConfig
    beam: tuple[str, ...] = Field((), exclude=True, description="Beam's options; no part of the step's key")

    @classmethod
    def of(cls, data: DataConfig, beam: Sequence[str] = ()) -> ExampleGenParameters:
        """The parameters for a run's data section, without what only other steps read."""
        others = {"simulate": SimulatorConfig(), "validation": ValidationConfig(), "source": None}
        return cls(data=data.model_copy(update=others), beam=tuple(beam))


class ExampleGen(Component):
    """Reads logs that another component made."""

    INPUTS: ClassVar[Mapping[str, str]] = {"logs": RAW_LOGS}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES, "statistics": EXAMPLE_STATISTICS}
    PARAMETERS: ClassVar[type[Strict]] = ExampleGenParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: ExampleGenParameters) -> dict[str, str]:
        """Digests of the schema, and of the raw files where they are no input."""
        from rmtl_tf.data.datasets import get_reader
        from rmtl_tf.schema import read_schema

        schema = place(parameters.data.data_schema)
        if not schema.is_file():
            raise UserError(
                f"schema {schema}: no such file. Give one: --set data.schema=data_schemas/NAME.pbtxt."
            )
        digests = {"schema": digest_file(schema)}
        if "logs" not in inputs:
            reader, source = get_reader(parameters.data.dataset), _source(inputs, parameters)
            files = [*reader.files(source), *reader.side_files(source, read_schema(schema))]
            digests |= {f"file {file.name}": digest_file(file) for file in files}
        return digests

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: ExampleGenParameters
    ) -> None:
        from rmtl_tf.data.ingest import ingest
        from rmtl_tf.schema import read_schema

        data = parameters.data
        source, schema = _source(inputs, parameters), read_schema(data.data_schema)
        ingest(source, outputs["examples"], outputs["statistics"], data, schema, options=parameters.beam)
        describe_examples(outputs["examples"], data)


class FileExampleGen(ExampleGen):
    """Reads logs in the folder `data.path`: the same step of the pipeline, with no input."""

    INPUTS: ClassVar[Mapping[str, str]] = {}

    @property
    def name(self) -> str:
        return ExampleGen.__name__


def example_gen(data: DataConfig, logs: Output | None = None, beam: Sequence[str] = ()) -> ExampleGen:
    """The step for a run's data section: from `logs` where they are simulated, else from `data.path`.

    Args:
        beam: `KEY=VALUE` options for Beam.
    """
    parameters = ExampleGenParameters.of(data, beam)
    return FileExampleGen(parameters) if logs is None else ExampleGen(parameters, {"logs": logs})


def describe_examples(examples: Path, data: DataConfig) -> None:
    """Writes what TFDS needs to read the Examples."""
    from rmtl_tf.data.feedback import feedback_columns
    from rmtl_tf.data.tfds.metadata import raw_columns, write_metadata
    from rmtl_tf.schema import read_schema

    schema = read_schema(data.data_schema)
    write_metadata(
        examples,
        place(data.data_schema).stem,
        raw_columns(schema, feedback_columns(data.feedback, schema)),
        "Session records: one Example is a session window, lists hold a value for each of its steps.",
    )


def _source(inputs: Mapping[str, Path], parameters: ExampleGenParameters) -> Path:
    if "logs" in inputs:
        return inputs["logs"]
    if parameters.data.path is None:
        raise UserError(
            "raw logs: data.path is not given. Give the folder with the raw files: --set data.path=FOLDER."
        )
    return storage.local(place(parameters.data.path))
