"""TfdsImport: the records of a TFDS data set, as raw files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from components.base import RAW_LOGS, Component
from rmtl_tf import storage
from rmtl_tf.config import DataConfig, SessionConfig, Strict
from rmtl_tf.files import digest_file, digest_json, digest_tree
from rmtl_tf.places import place


class TfdsImportParameters(Strict):
    """Which data set, and which of its features."""

    source: str = Field(description="tfds:NAME[/CONFIG][:VERSION]")
    path: str = Field(description="folder it was prepared in")
    data_schema: str = Field(alias="schema", description="schema file: its features are the columns")
    session: SessionConfig = SessionConfig()

    @classmethod
    def of(cls, data: DataConfig) -> TfdsImportParameters:
        """The parameters for a run's data section that has a source."""
        assert data.source is not None
        assert data.path is not None
        return cls(source=data.source, path=data.path, schema=data.data_schema, session=data.session)


class TfdsImport(Component):
    """Writes `logs`: `records.csv`, a row for each record of the data set."""

    OUTPUTS: ClassVar[Mapping[str, str]] = {"logs": RAW_LOGS}
    PARAMETERS: ClassVar[type[Strict]] = TfdsImportParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: TfdsImportParameters) -> dict[str, str]:
        from rmtl_tf.data.tfds.source import find_dataset

        directory = storage.local(find_dataset(parameters.source, place(parameters.path)))
        return {
            "schema": digest_file(place(parameters.data_schema)),
            "dataset": digest_json(digest_tree(directory)),
        }

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: TfdsImportParameters
    ) -> None:
        """Writes the records.

        Raises:
            UserError: the data set is missing or lacks a feature of the schema.
        """
        from rmtl_tf.data.tfds.source import RECORDS_FILE, export_records, find_dataset
        from rmtl_tf.schema import read_schema

        schema = read_schema(parameters.data_schema)
        by_column = parameters.session.by == "column"
        columns = [f.name for f in schema.features if f.kind != "key" or by_column]
        directory = storage.local(find_dataset(parameters.source, place(parameters.path)))
        export_records(directory, columns, outputs["logs"] / RECORDS_FILE)
