"""TFDS builders of the data sets that have a reader: import this module, then `tfds.load("deskdrop")`.

They read as ExampleGen does, by the shipped schema and configuration: the same sessions, splits and columns.
Importing the module imports `tensorflow_datasets`, which registers the builders by name.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.data.datasets import READERS
from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.tfds.catalogue import CATALOGUE, About
from rmtl_tf.data.tfds.metadata import VERSION, Columns, features_dict, raw_columns, splits
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file
from rmtl_tf.schema import DataSchema, read_schema

ROOT = Path(__file__).resolve().parents[3]


class SessionBuilder(FileReaderBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Session records of one data set; a subclass says which."""

    VERSION = tfds.core.Version(VERSION)
    ABOUT: ClassVar[About]

    @property
    def run_config(self) -> RunConfig:
        """The shipped configuration of the data set."""
        return load_config(ROOT / "configs" / f"{self.name}.yaml")

    @property
    def data_schema(self) -> DataSchema:
        return read_schema(ROOT / self.run_config.data.data_schema)

    @property
    def columns(self) -> Columns:
        schema = self.data_schema
        columns = raw_columns(schema, feedback_columns(self.run_config.data.feedback, schema))
        absent = {label_time(label) for label in schema.labels if label not in self.ABOUT.label_times}
        return {name: column for name, column in columns.items() if name not in absent}

    def _info(self) -> tfds.core.DatasetInfo:
        # The windows of a session follow each other, so nothing is shuffled.
        return self.dataset_info_from_configs(
            features=features_dict(self.columns),
            description=self.ABOUT.description,
            homepage=self.ABOUT.homepage or None,
            citation=self.ABOUT.citation or None,
            license=self.ABOUT.licence,
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        """Writes what ExampleGen writes: nothing is encoded twice, the files are the same."""
        from rmtl_tf.data.ingest import ingest

        examples = Path(self.data_dir)
        with tempfile.TemporaryDirectory(prefix="rmtl-tf-") as work:
            made, statistics = Path(work) / "logs", Path(work) / "statistics"
            for path in (made, statistics):
                path.mkdir()
            source = self._logs(dl_manager, made)
            ingest(source, examples, statistics, self.run_config.data, self.data_schema)
        self.info.set_splits(splits(examples, self.name))

    def _logs(self, dl_manager: Any, made: Path) -> Path:
        """The folder with the raw files; `made` is an empty one."""
        if not self.ABOUT.files:
            from rmtl_tf.data.simulator import simulate

            simulate(made, self.run_config.data.simulate)
            return made
        folder = Path(dl_manager.manual_dir)
        for name, expected in self.ABOUT.checksums.items():
            if (folder / name).is_file() and (received := digest_file(folder / name)) != expected:
                raise UserError(
                    f"{folder / name}: expected sha256 {expected}, received {received}. It is not the "
                    f"published file: download it again from {self.ABOUT.homepage}."
                )
        return folder


def _define(name: str, about: About) -> type[SessionBuilder]:
    attributes: dict[str, Any] = {
        "name": name,
        "ABOUT": about,
        "__module__": __name__,
        "__doc__": about.description,
    }
    if about.files:
        attributes["MANUAL_DOWNLOAD_INSTRUCTIONS"] = about.instructions()
    return type(name.title(), (SessionBuilder,), attributes)


BUILDERS: dict[str, type[SessionBuilder]] = {
    name: _define(name, about) for name, about in CATALOGUE.items() if name in READERS
}
