from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rmtl_tf.config import load_config
from rmtl_tf.data.datasets.aliccp import ALICCP
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.records import read_record_batches
from rmtl_tf.data.splits import SPLITS
from rmtl_tf.errors import UserError
from rmtl_tf.schema import Feature, read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
SCHEMA = read_schema(CHECKOUT / "data_schemas" / "aliccp.pbtxt")


def _features(*triples: tuple[str, str, float]) -> str:
    return "\x01".join(f"{field}\x02{feature}\x03{value}" for field, feature, value in triples)


def _write(folder: Path, split: str, users: int) -> None:
    """Four samples for each index; the last of user 0 is a conversion without a click."""
    folder.mkdir(parents=True, exist_ok=True)
    samples, common = [], []
    for user in range(users):
        index = f"{split}{user:04x}"
        of_user = [("101", f"{user}", 1.0), ("121", "9", 1.0), ("109_14", "77", 2.3), ("109_14", "78", 0.7)]
        common.append(f"{index},{len(of_user)},{_features(*of_user)}")
        for place in range(4):
            item = [("2050", "wrong", 1.0), ("205", f"i{place}", 1.0), ("206", "c", 1.0)]
            item += [("210", "a", 1.0), ("210", "b", 1.0), ("508", "x", 0.25)]
            click, buy = int(place < 2), int(place == 0 and user % 2 == 0)
            if user == 0 and place == 3:
                click, buy = 0, 1
            samples.append(f"{user * 4 + place},{click},{buy},{index},{len(item)},{_features(*item)}")
    (folder / f"sample_skeleton_{split}.csv").write_text("\n".join(samples) + "\n")
    (folder / f"common_features_{split}.csv").write_text("\n".join(reversed(common)) + "\n")


EXTRA = (
    Feature("field_109_14", "categorical", context=True, max_values=5, separator="|"),
    Feature("field_210", "categorical", max_values=5, separator="|"),
    Feature("field_508", "numeric"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aliccp")
    _write(folder / "sample_train", "train", 20)
    _write(folder / "sample_test", "test", 20)
    for name in ("examples", "statistics"):
        (folder / name).mkdir()
    features = tuple(feature for feature in SCHEMA.features if feature.name != "field_508")
    schema = replace(SCHEMA, features=(*features, *EXTRA))
    config = load_config(CHECKOUT / "configs" / "aliccp.yaml", ["data.shards=3"]).data
    report = ingest(folder, folder / "examples", folder / "statistics", config, schema)
    kinds = dict.fromkeys(
        ("session_id", "field_101", "field_205", "field_207", "field_210", "field_109_14"), "bytes"
    )
    kinds |= {"field_508": "float", "click": "int", "conversion": "int", "place": "int"}
    rows = {
        split: [
            row
            for batch in read_record_batches(folder / "examples" / f"Split-{split}", kinds)  # type: ignore[arg-type]
            for row in batch.to_pylist()
        ]
        for split in SPLITS
    }
    return report, rows


def test_samples_with_one_index_are_a_session_with_the_common_features(run):
    _, rows = run
    sessions = {row["session_id"][0].decode(): row for split in SPLITS for row in rows[split]}
    assert len(sessions) == 40
    third = sessions["0-train0003"]
    assert third["field_101"] == [b"3"]
    assert third["field_205"] == [b"i0", b"i1", b"i2", b"i3"]
    assert third["field_207"] == [b""] * 4
    assert third["place"] == [13] * 4
    assert (third["click"], third["conversion"]) == ([1, 1, 0, 0], [0, 0, 0, 0])
    assert third["field_109_14"] == [b"77", b"78"]
    assert third["field_210"] == [b"a", b"b"] * 4
    assert third["field_508"] == [0.25] * 4


def test_training_samples_come_before_test_samples(run):
    _, rows = run
    assert all(row["session_id"][0].startswith(b"0-train") for row in rows["train"])
    assert all(row["session_id"][0].startswith(b"1-test") for row in rows["test"])


def test_a_conversion_without_a_click_is_left_out_and_counted(run):
    report, _ = run
    assert report["reasons"] == {"conversion without a click": 2}
    assert (report["excluded_rows"], report["bad_rows"], report["records"]) == (2, 0, 158)


def test_the_first_line_is_a_sample_because_the_files_have_no_header(run):
    report, rows = run
    assert report["rows_read"] == 160
    assert min(row["place"][0] for row in rows["train"]) == 1


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no sample_skeleton_train\.csv"):
        ALICCP.files(tmp_path)
    _write(tmp_path, "train", 1)
    (tmp_path / "common_features_train.csv").unlink()
    with pytest.raises(UserError, match=r"holds no common_features_train\.csv, where some features are"):
        ALICCP.side_files(tmp_path, SCHEMA)


def test_a_field_that_is_not_there_is_refused():
    schema = replace(SCHEMA, features=(*SCHEMA.features, Feature("field_208", "categorical")))
    with pytest.raises(UserError, match='aliccp: the schema asks for feature "field_208"'):
        ALICCP.columns(schema)
