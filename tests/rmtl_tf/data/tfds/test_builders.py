from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from rmtl_tf.config import load_config
from rmtl_tf.data.datasets import READERS
from rmtl_tf.data.ingest import ingest
from rmtl_tf.data.records import read_examples
from rmtl_tf.data.splits import SPLITS
from rmtl_tf.data.tfds import builders
from rmtl_tf.data.tfds.catalogue import CATALOGUE
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_tree
from rmtl_tf.schema import read_schema

CHECKOUT = Path(__file__).resolve().parents[4]
EVENTS = "timestamp,eventType,contentId,personId,sessionId,userRegion,userCountry"


def _deskdrop(folder: Path) -> Path:
    """A few sessions in the published form."""
    rows = [
        f"{1_465_000_000 + 1000 * s + t},{kind},c{(s + t) % 5},p{s % 3},{s},SP,BR"
        for s in range(40)
        for t, kind in enumerate(("VIEW", "VIEW", "LIKE" if s % 2 else "FOLLOW"))
    ]
    rows += [f"{1_465_000_003 + 1000 * s},VIEW,c{(s + 2) % 5},p{s % 3},{s},SP,BR" for s in range(40)]
    folder.mkdir()
    (folder / "users_interactions.csv").write_text("\n".join([EVENTS, *rows]) + "\n")
    return folder


def _build(name: str, tmp_path: Path, manual: Path | None = None) -> tfds.core.DatasetBuilder:
    builder = tfds.builder(name, data_dir=tmp_path / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=manual)
    builder.download_and_prepare(download_config=config)
    return builder


def test_every_data_set_with_a_reader_has_a_builder():
    assert set(builders.BUILDERS) == set(READERS) & set(CATALOGUE)
    assert {"deskdrop", "simulator"} <= set(tfds.list_builders(with_community_datasets=False))


def test_a_built_data_set_is_what_example_gen_writes(tmp_path):
    raw = _deskdrop(tmp_path / "raw")
    builder = _build("deskdrop", tmp_path, raw)
    for name in ("examples", "statistics"):
        (tmp_path / name).mkdir()
    data = load_config(CHECKOUT / "configs" / "deskdrop.yaml").data
    schema = read_schema(CHECKOUT / data.data_schema)
    report = ingest(raw, tmp_path / "examples", tmp_path / "statistics", data, schema)
    built = {name: digest for name, digest in digest_tree(Path(builder.data_dir)).items() if "Split-" in name}
    assert built == digest_tree(tmp_path / "examples")
    windows = {split: report["splits"][split]["windows"] for split in SPLITS}
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == windows
    loaded = tfds.load("deskdrop", data_dir=tmp_path / "tfds", split="test")
    assert sum(1 for _ in loaded) == windows["test"]


@pytest.mark.parametrize("name", ["deskdrop", "kuairand", "retailrocket"])
def test_files_in_the_published_form_are_read_with_every_column(tmp_path, monkeypatch, name):
    """The declared features are those that the Examples have: several values and times of labels too."""
    raw = CHECKOUT.parent / "shared" / "data" / name
    config = load_config(CHECKOUT / "configs" / f"{name}.yaml")
    if name == "kuairand":  # the sample's side tables do not join
        settings = ["data.schema=data_schemas/kuairand_log.pbtxt"]
        config = load_config(CHECKOUT / "configs" / "kuairand.yaml", settings)
    if name == "retailrocket":
        from rmtl_tf.data.retailrocket_simulator import simulate_retailrocket

        raw = tmp_path / "raw"
        raw.mkdir()
        simulate_retailrocket(raw, events=4000)
        about = replace(CATALOGUE[name], checksums={})
        monkeypatch.setattr(builders.BUILDERS[name], "ABOUT", about)
    monkeypatch.setattr(builders, "load_config", lambda path: config)
    builder = _build(name, tmp_path, raw)
    shard = next(Path(builder.data_dir).glob("Split-train/data-00000-*"))
    example = tf.train.Example.FromString(next(read_examples(shard)))
    assert set(example.features.feature) == set(builder.info.features)
    (first,) = tfds.as_numpy(builder.as_dataset(split="train[:1]"))
    for column, feature in example.features.feature.items():
        values = getattr(feature, feature.WhichOneof("kind")).value
        read = [first[column]] if np.ndim(first[column]) == 0 else list(first[column])
        np.testing.assert_array_equal(read, list(values))


def test_without_the_files_it_says_how_to_obtain_them(tmp_path):
    with pytest.raises(AssertionError, match=r"(?s)Download the archive.*users_interactions\.csv.*ODbL"):
        _build("deskdrop", tmp_path)
    assert not list(tmp_path.rglob("*.tfrecord"))


def test_the_simulator_needs_no_files(tmp_path, monkeypatch):
    small = load_config(CHECKOUT / "configs" / "simulator.yaml", ["data.simulate.events=2000"])
    monkeypatch.setattr(builders, "load_config", lambda path: small)
    builder = _build("simulator", tmp_path)
    assert builder.info.splits.total_num_examples > 100
    assert set(builder.info.features) >= {"session_id", "item_id", "click", "past_records"}


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path, monkeypatch):
    raw = _deskdrop(tmp_path / "raw")
    changed = replace(CATALOGUE["deskdrop"], checksums={"users_interactions.csv": "0" * 64})
    monkeypatch.setattr(builders.BUILDERS["deskdrop"], "ABOUT", changed)
    with pytest.raises(UserError, match=r"users_interactions\.csv: expected sha256 000.*download it again"):
        _build("deskdrop", tmp_path, raw)


def test_the_known_checksum_is_that_of_the_published_category_tree():
    from rmtl_tf.files import digest_file

    tree = CHECKOUT.parent / "shared" / "data" / "retailrocket" / "category_tree.csv"
    if not tree.is_file():
        pytest.fail(f"the real category tree is missing: expected {tree}")
    assert CATALOGUE["retailrocket"].checksums == {"category_tree.csv": digest_file(tree)}


def test_the_catalogue_imports_nothing_heavy():
    heavy = "{'tensorflow_datasets', 'tensorflow', 'polars', 'numpy'}"
    modules = "rmtl_tf.data.tfds.catalogue, rmtl_tf.data.tfds.source"
    program = f"import sys, {modules}; sys.exit(len({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT)
