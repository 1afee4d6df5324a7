"""Metadata beside session Examples, so that TFDS reads the directory as it stands:

tfds.builder_from_directory(DIR).as_dataset(split="train")

The names of the files stay ours: TFDS takes a template, `Split-{SPLIT}/data-{SHARD_X_OF_Y}.{FILEFORMAT}`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtl_tf.data.datasets.base import label_time
from rmtl_tf.data.records import FeatureType, read_examples
from rmtl_tf.data.session_reader import LOOKAHEAD, SESSION_ID
from rmtl_tf.data.splits import SPLITS, split_dir
from rmtl_tf.data.validation.contract import session_columns
from rmtl_tf.data.validation.decode import names_of
from rmtl_tf.schema import DataSchema

if TYPE_CHECKING:
    from rmtl_tf.features.graph import TransformGraph

TEMPLATE = "Split-{SPLIT}/data-{SHARD_X_OF_Y}.{FILEFORMAT}"
VERSION = "1.0.0"

# Name -> type of the values, and whether an Example has a list of them.
Columns = Mapping[str, tuple[FeatureType, bool]]


def raw_columns(schema: DataSchema, feedback: Sequence[str]) -> Columns:
    """The columns of ExampleGen's Examples: those with times of labels are there for some data sets only."""
    return {
        column.name: (column.type, column.length != "one") for column in session_columns(schema, feedback)
    }


def transformed_columns(graph: TransformGraph) -> Columns:
    """The columns of transformed Examples: those with times of labels are there for some data sets only."""
    spec = graph.input_spec()
    columns: dict[str, tuple[FeatureType, bool]] = {SESSION_ID: ("bytes", False), LOOKAHEAD: ("int", False)}
    times = [label_time(label) for label in graph.labels]
    columns |= dict.fromkeys((graph.timestamp, *graph.labels, *times), ("int", True))
    columns |= {name: ("int", True) for name, _ in spec.categorical}
    return columns | dict.fromkeys(spec.numeric, ("float", True))


def features_dict(columns: Columns) -> Any:
    """The `tfds.features.FeaturesDict` of these columns."""
    import numpy as np
    import tensorflow_datasets as tfds

    dtypes = {"bytes": np.object_, "int": np.int64, "float": np.float32}

    def feature(kind: FeatureType, several: bool) -> Any:
        scalar = tfds.features.Scalar(dtypes[kind])
        return tfds.features.Sequence(scalar) if several else scalar

    return tfds.features.FeaturesDict({name: feature(*column) for name, column in columns.items()})


def write_metadata(examples: Path, name: str, columns: Columns, description: str) -> None:
    """Writes `dataset_info.json` and `features.json` into the directory of `Split-*/data-*.tfrecord`.

    Args:
        name: of the data set; what is no letter or digit becomes "_".
        columns: of the Examples; one that they do not have is left out.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_info import DatasetIdentity

    name = dataset_name(name)
    identity = DatasetIdentity(
        name=name, version=tfds.core.Version(VERSION), data_dir=str(examples), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=features_dict(_written(examples, columns)),
        description=description,
        disable_shuffling=True,
    )
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    info.set_splits(splits(examples, name))
    info.write_to_directory(examples)


def _written(examples: Path, columns: Columns) -> Columns:
    """The columns that the first Example has; all Examples have the same."""
    shards = sorted(split_dir(examples, SPLITS[0]).glob("data-*.tfrecord"))
    first = next(itertools.chain.from_iterable(map(read_examples, shards)))
    there = names_of(first)
    return {name: column for name, column in columns.items() if name in there}


def dataset_name(name: str) -> str:
    """A name as TFDS allows it."""
    return re.sub(r"\W+", "_", name.lower()).strip("_") or "sessions"


def splits(examples: Path, name: str) -> Any:
    """The `SplitDict` of a directory of `Split-*/data-*.tfrecord`."""
    import tensorflow_datasets as tfds

    return tfds.core.SplitDict([_split(examples, name, split) for split in SPLITS])


def _split(examples: Path, name: str, split: str) -> Any:
    import tensorflow_datasets as tfds

    paths = sorted(split_dir(examples, split).glob("data-*.tfrecord"))
    template = tfds.core.ShardedFileTemplate(
        data_dir=examples, template=TEMPLATE, dataset_name=name, split=split, filetype_suffix="tfrecord"
    )
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[sum(1 for _ in read_examples(path)) for path in paths],
        num_bytes=sum(path.stat().st_size for path in paths),
        filename_template=template,
    )
