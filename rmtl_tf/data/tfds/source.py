"""A TFDS data set of flat records as raw logs: one CSV row a record, read on by the reader `table`.

`data.source: tfds:NAME[/CONFIG][:VERSION]` names it; `data.path` is the folder it was prepared in (TFDS calls
it data_dir). Nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmtl_tf.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

RECORDS_FILE = "records.csv"

_BATCH = 8192
_SOURCE = re.compile(r"tfds:(?P<name>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>\d+\.\d+\.\d+))?")


def check_source(source: str) -> str:
    """`source`, if it names a TFDS data set.

    Raises:
        ValueError: it does not.
    """
    if not _SOURCE.fullmatch(source):
        raise ValueError(
            "expected tfds:NAME, tfds:NAME/CONFIG or either with :VERSION, for example tfds:shop:1.0.0"
        )
    return source


def find_dataset(source: str, folder: Path) -> Path:
    """The directory of the prepared data set; its newest version where `source` names none.

    Raises:
        UserError: it is not there.
    """
    match = _SOURCE.fullmatch(source)
    assert match is not None
    base = folder / match["name"] / (match["config"] or "")
    if match["version"]:
        found = [base / match["version"]]
    else:
        versions = [path for path in base.glob("*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
        found = sorted(versions, key=lambda path: [int(part) for part in path.name.split(".")])
    found = [path for path in found if (path / "dataset_info.json").is_file()]
    if not found:
        wanted = base / (match["version"] or "VERSION")
        raise UserError(
            f"data.source {source}: expected a prepared TFDS data set in {wanted}, found none. Give the "
            "folder that it was prepared in (--set data.path=DATA_DIR), or prepare it: "
            "tfds build --data_dir DATA_DIR."
        )
    return found[-1]


def export_records(directory: Path, columns: Sequence[str], target: Path) -> int:
    """Writes the wanted columns of all splits, in the order they are stored, to the CSV file `target`.

    Memory holds a batch at a time. Text that is no UTF-8 goes into the file as it is, for ExampleGen to set
    aside.

    Args:
        directory: of a prepared data set.
        columns: names of scalar features; inside a nested one as `outer/inner`.

    Returns:
        The number of records.

    Raises:
        UserError: a feature is missing, or no scalar.
    """
    import pyarrow.csv
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(directory)
    features = {name: _feature(builder.info.features, name, directory) for name in columns}
    written = 0
    writer = None
    for split in sorted(builder.info.splits):
        for batch in _batches(builder, split, columns):
            table = pyarrow.record_batch({name: _text(batch[name], features[name]) for name in columns})
            writer = writer or pyarrow.csv.CSVWriter(target, table.schema)
            writer.write_batch(table)
            written += table.num_rows
    if writer is None:
        raise UserError(f"{directory}: the TFDS data set has no records.")
    writer.close()
    return written


def _feature(features: Any, name: str, directory: Path) -> Any:
    """The feature connector of a column."""
    import tensorflow_datasets as tfds

    found = features
    for part in name.split("/"):
        known = list(found.keys()) if isinstance(found, tfds.features.FeaturesDict) else []
        if part not in known:
            raise UserError(
                f'{directory}: the TFDS data set has no feature "{name}"; {nearest(part, known)} '
                "Change the schema."
            )
        found = found[part]
    info = found.get_tensor_info()
    if isinstance(info, dict) or isinstance(found, tfds.features.Sequence) or info.shape != ():
        raise UserError(
            f'{directory}: feature "{name}" is no scalar ({found}). A record has one value of each '
            "feature: leave it out of the schema."
        )
    return found


def _batches(builder: Any, split: str, columns: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    config = tfds.ReadConfig(
        try_autocache=False, interleave_cycle_length=1, num_parallel_calls_for_interleave_files=1
    )
    dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=config)

    def flat(record: Any) -> dict[str, Any]:
        chosen = {}
        for name in columns:
            value = record
            for part in name.split("/"):
                value = value[part]
            chosen[name] = value
        return chosen

    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.map(flat, num_parallel_calls=2).batch(_BATCH).with_options(options)
    yield from dataset.as_numpy_iterator()


def _text(values: np.ndarray, feature: Any) -> pa.Array:
    """A column as CSV has it: names for classes, 0 and 1 for truth, nothing for NaN."""
    import numpy as np
    import pyarrow as pa
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel) and feature.names:
        names = pa.array(feature.names, pa.large_string())
        return names.take(pa.array(values, mask=values < 0))
    if values.dtype == np.bool_:
        return pa.array(values.astype(np.int8))
    if values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values))
    if values.dtype == np.object_:
        return pa.array(values, pa.large_binary()).view(pa.large_string())
    return pa.array(values)
