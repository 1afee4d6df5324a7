from __future__ import annotations

import csv
from pathlib import Path

import pytest

import pipeline
from components.runner import run
from components.tfds_import import TfdsImport, TfdsImportParameters
from rmtl_tf.config import RunConfig
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.tfds import source as tfds_source
from rmtl_tf.data.tfds.source import check_source, export_records, find_dataset
from rmtl_tf.errors import UserError
from rmtl_tf.files import read_json

from .shop import RECORDS, SCHEMA, prepare, records

COLUMNS = ("session_id", "time", "user", "shown/item", "category", "price", "click")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("tfds"))


def _expected() -> list[dict[str, str]]:
    return [
        {
            "session_id": row["session_id"],
            "time": str(row["time"]),
            "user": str(row["user"]),
            "shown/item": row["shown"]["item"],
            "category": row["category"],
            "price": "" if row["price"] != row["price"] else f"{row['price']:g}",
            "click": str(int(row["click"])),
        }
        for split in ("early", "later")
        for row in records(split)
    ]


@pytest.mark.parametrize("batch", [7, 8192])
def test_every_record_is_a_row_in_stored_order(folder, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(tfds_source, "_BATCH", batch)
    target = tmp_path / "records.csv"
    assert export_records(find_dataset("tfds:shop", folder), COLUMNS, target) == 2 * RECORDS
    with target.open(newline="") as stream:
        assert list(csv.DictReader(stream)) == _expected()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("prise", 'no feature "prise"; did you mean "price"?'),
        ("shown/itme", 'no feature "shown/itme"; did you mean "item"?'),
        ("tags", '"tags" is no scalar'),
        ("shown", '"shown" is no scalar'),
    ],
)
def test_a_feature_that_cannot_be_a_column_is_refused(folder, tmp_path, column, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        export_records(find_dataset("tfds:shop", folder), ["time", column], tmp_path / "records.csv")


def test_the_newest_version_is_found_unless_one_is_named(tmp_path):
    for version in ("1.2.0", "1.10.0"):
        directory = tmp_path / "shop" / "small" / version
        directory.mkdir(parents=True)
        (directory / "dataset_info.json").touch()
    assert find_dataset("tfds:shop/small", tmp_path).name == "1.10.0"
    assert find_dataset("tfds:shop/small:1.2.0", tmp_path).name == "1.2.0"
    for absent in ("tfds:shop", "tfds:shop/small:2.0.0", "tfds:other"):
        with pytest.raises(UserError, match="expected a prepared TFDS data set"):
            find_dataset(absent, tmp_path)


@pytest.mark.parametrize("text", ["shop", "tfds:", "tfds:a b", "tfds:shop:1", "tfds:a/b/c"])
def test_a_source_that_names_no_data_set_is_refused(text):
    with pytest.raises(ValueError, match="expected tfds:NAME"):
        check_source(text)


def _config(tmp_path: Path, folder: Path, **data) -> RunConfig:
    schema = tmp_path / "shop.pbtxt"
    schema.write_text(SCHEMA)
    section = {"dataset": "table", "source": "tfds:shop", "path": str(folder), "schema": str(schema), **data}
    return RunConfig.model_validate({"name": "shop", "data": section})


def test_a_pipeline_begins_with_the_import_and_makes_session_examples(folder, tmp_path):
    config = _config(tmp_path, folder, shards=2)
    components = pipeline.create_pipeline(config)
    assert [component.name for component in components[:3]] == [
        "TfdsImport",
        "ExampleGen",
        "ExampleValidator",
    ]
    results = {result.name: result for result in run(components[:3], tmp_path / "root")}
    statistics = read_json(results["ExampleGen"].outputs["statistics"] / "statistics.json")
    assert (statistics["records"], statistics["bad_rows"]) == (2 * RECORDS, 0)
    assert statistics["features"]["price"]["missing"] == 2 * RECORDS / 5
    examples = results["ExampleGen"].outputs["examples"]
    items = {
        item
        for batch in read_record_batches(examples / "Split-train", {"shown/item": "bytes"})
        for row in batch.to_pylist()
        for item in row["shown/item"]
    }
    assert b'i1, "new"' in items
    again = run(components[:3], tmp_path / "root")
    assert [result.state for result in again] == ["cached"] * 3


def test_another_version_of_the_data_is_imported_anew(folder, tmp_path):
    parameters = TfdsImportParameters.of(_config(tmp_path, folder).data)
    before = TfdsImport.external({}, parameters)
    assert set(before) == {"schema", "dataset"}
    assert before == TfdsImport.external({}, parameters)
    Path(parameters.data_schema).write_text(SCHEMA + "# changed")
    assert TfdsImport.external({}, parameters)["schema"] != before["schema"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dataset": "simulator"}, "data.source needs data.dataset: table"),
        ({"path": None}, "data.source needs data.path"),
        ({"source": "shop"}, "expected tfds:NAME"),
    ],
)
def test_a_source_needs_the_table_reader_and_a_folder(folder, tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        _config(tmp_path, folder, **data)
