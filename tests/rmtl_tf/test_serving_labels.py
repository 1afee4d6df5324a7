"""`models.config` as TF Serving reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from rmtl_tf.errors import UserError
from rmtl_tf.serving_labels import MODELS_CONFIG, read_labels, write_labels


def parsed(directory: Path):
    text = (directory / MODELS_CONFIG).read_text()
    return text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config


def test_it_names_the_model_and_loads_exactly_the_labelled_versions(tmp_path: Path) -> None:
    directory = tmp_path / "shop"
    assert read_labels(directory) == {}
    write_labels(directory, {"stable": 3, "canary": 5})
    (model,) = parsed(directory)
    assert (model.name, model.base_path, model.model_platform) == ("shop", "/models/shop", "tensorflow")
    assert list(model.model_version_policy.specific.versions) == [3, 5]
    assert dict(model.version_labels) == {"stable": 3, "canary": 5}
    assert read_labels(directory) == {"stable": 3, "canary": 5}


def test_one_version_with_both_labels_is_loaded_once(tmp_path: Path) -> None:
    write_labels(tmp_path, {"stable": 3, "canary": 5})
    write_labels(tmp_path, {"stable": 5, "canary": 5})
    (model,) = parsed(tmp_path)
    assert list(model.model_version_policy.specific.versions) == [5]
    assert [path.name for path in tmp_path.iterdir()] == [MODELS_CONFIG]


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    write_labels(tmp_path, {"stable": 1, "canary": 1})
    path = tmp_path / MODELS_CONFIG
    path.write_text(path.read_text().replace("/models/", "/mnt/serving/"))
    write_labels(tmp_path, {"stable": 1, "canary": 2})
    assert parsed(tmp_path)[0].base_path == f"/mnt/serving/{tmp_path.name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [("model_config_list { confg {} }", "text form.*confg"), ("", "expected one model, found 0")],
)
def test_file_that_cannot_be_understood_is_not_overwritten(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / MODELS_CONFIG).write_text(text)
    with pytest.raises(UserError, match=message):
        write_labels(tmp_path, {"stable": 1, "canary": 1})
    assert (tmp_path / MODELS_CONFIG).read_text() == text
