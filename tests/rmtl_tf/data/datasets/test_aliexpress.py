from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rmtl_tf.config import load_config
from rmtl_tf.data.datasets.aliexpress import ALIEXPRESS, FEATURES
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.splits import SPLITS
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Feature, read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
SCHEMA = read_schema(CHECKOUT / "data_schemas" / "aliexpress.pbtxt")
HEADER = ",".join(["search_id", *FEATURES, "click", "conversion"])


def _write(path: Path, searches: int, seed: int) -> None:
    """Pages of three rows, the first two of which are equal in all but their place."""
    rng = np.random.default_rng(seed)
    lines = [HEADER]
    for search in range(searches):
        user = [str(n) for n in rng.integers(0, 5, 9)]
        query = [f"{n:.6f}" for n in rng.random(23)]
        item = ["1"] * 7
        numbers = ["0.5"] * 40
        bought = int(search % 4 == 0)
        for click, buy in ((0, 0), (0, 0), (int(search % 2 == 0), bought)):
            lines.append(",".join([str(search), *user, *item, *query, *numbers, str(click), str(buy)]))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What ExampleGen makes of 30 training and 20 test pages with the shipped configuration."""
    folder = tmp_path_factory.mktemp("aliexpress")
    _write(folder / "train.csv", 30, 0)
    _write(folder / "test.csv", 20, 1)
    for name in ("examples", "statistics"):
        (folder / name).mkdir()
    config = load_config(CHECKOUT / "configs" / "aliexpress.yaml", ["data.shards=2"]).data
    report = ingest(folder, folder / "examples", folder / "statistics", config, SCHEMA)
    kinds = {
        "session_id": "bytes",
        "place": "int",
        "click": "int",
        "conversion": "int",
        "categorical_1": "bytes",
    }
    rows = {
        split: [
            row
            for batch in read_record_batches(folder / "examples" / f"Split-{split}", kinds)  # type: ignore[arg-type]
            for row in batch.to_pylist()
        ]
        for split in SPLITS
    }
    return report, rows


def test_training_pages_come_before_test_pages(run):
    _, rows = run
    ids = {split: {row["session_id"][0].decode() for row in rows[split]} for split in SPLITS}
    assert all(session.startswith("0-") for session in ids["train"])
    assert all(session.startswith("1-") for session in ids["test"])
    assert len(set().union(*ids.values())) == 50


def test_a_page_is_a_session_at_one_place_in_the_order_of_its_rows(run):
    report, rows = run
    assert report["records"] == 150
    pages = {row["session_id"][0].decode(): row for split in SPLITS for row in rows[split]}
    assert pages["0-0"]["place"] == [2, 2, 2]
    assert pages["0-1"]["place"] == [5, 5, 5]
    assert pages["1-0"]["place"] == [1_000_000_002] * 3
    assert (pages["0-4"]["click"], pages["0-4"]["conversion"]) == ([0, 0, 1], [0, 0, 1])


def test_equal_rows_are_different_items(run):
    report, _ = run
    assert report["bad_rows"] == 0


def test_user_and_query_are_the_pages_and_the_items_the_rows():
    context = [feature.name for feature in SCHEMA.inputs if feature.context]
    assert context == [*(f"categorical_{i}" for i in range(1, 10)), *(f"numerical_{i}" for i in range(1, 24))]
    assert {feature.name for feature in SCHEMA.inputs} == set(FEATURES)
    assert (SCHEMA.user, SCHEMA.item) == (None, None)


def test_the_files_are_read_in_the_order_of_time_and_one_is_enough(tmp_path):
    for name in ("test.csv", "train.csv"):
        (tmp_path / name).touch()
    assert [file.name for file in ALIEXPRESS.files(tmp_path)] == ["train.csv", "test.csv"]
    (tmp_path / "test.csv").unlink()
    assert [file.name for file in ALIEXPRESS.files(tmp_path)] == ["train.csv"]


def test_a_feature_that_is_not_there_is_refused():
    schema = replace(SCHEMA, features=(*SCHEMA.features, Feature("categorical_17", "categorical")))
    with pytest.raises(
        UserError, match=r'aliexpress: the schema asks for feature "categorical_17".*did you mean'
    ):
        ALIEXPRESS.columns(schema)
