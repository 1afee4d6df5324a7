from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from components.base import EXAMPLES, Output
from components.transform import Transform, TransformParameters
from rmtl_tf.config import FeedbackConfig, TransformConfig
from rmtl_tf.data.feedback import feedback_columns
from rmtl_tf.data.records import batch_of, read_record_batches, shard_path, write_record_batches
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import TransformGraph
from rmtl_tf.schema import read_schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_FILE = ROOT / "data_schemas" / "deskdrop.pbtxt"
SPLITS = ("train", "validation", "test")


def parameters(feedback: FeedbackConfig | None = None, schema: Path = SCHEMA_FILE) -> TransformParameters:
    feedback = feedback or FeedbackConfig()
    return TransformParameters(transform=TransformConfig(min_count=1), feedback=feedback, schema=str(schema))


def write_examples(directory: Path, feedback: FeedbackConfig) -> None:
    """Two sessions a split; the person and the article `<split>` occur nowhere else."""
    past = feedback_columns(feedback, read_schema(SCHEMA_FILE))
    for split in SPLITS:
        columns = {
            "session_id": [[b"s1"], [b"s2"]],
            "lookahead": [[0], [0]],
            "person_id": [[b"p"], [split.encode()]],
            "content_id": [[b"c1", b"c2"], [split.encode()]],
            "region": [[b"", b"SP"], [b"MG"]],
            "country": [[b"BR", b"BR"], [b"US"]],
            "timestamp": [[0, 60], [86_400]],
            "engage": [[1, 0], [1]],
            "save": [[0, 0], [1]],
            **{name: [[0.0, 1.0], [0.0]] for name in past},
        }
        batch = batch_of({name: pa.array(values) for name, values in columns.items()})
        write_record_batches(shard_path(directory / f"Split-{split}", 0, 1), [batch])


@pytest.fixture(params=[True, False], ids=["feedback", "no feedback"])
def executed(request, tmp_path):
    feedback = FeedbackConfig(enabled=request.param)
    write_examples(tmp_path / "examples", feedback)
    outputs = {key: tmp_path / key for key in Transform.OUTPUTS}
    for directory in outputs.values():
        directory.mkdir()
    Transform.execute({"examples": tmp_path / "examples"}, outputs, parameters(feedback))
    return feedback, outputs


def test_every_split_is_transformed_by_a_graph_fitted_on_train(executed):
    feedback, outputs = executed
    graph = TransformGraph.load(outputs["transform_graph"])
    assert graph.features[1].vocabulary == ("c1", "c2", "train")
    rates = ["past_records", "past_engage_rate", "past_save_rate"] if feedback.enabled else []
    assert list(graph.input_spec().numeric) == rates
    for split, last in zip(SPLITS, (4, 1, 1), strict=True):
        (batch,) = read_record_batches(
            outputs["transformed"] / f"Split-{split}", {"content_id": "int", "save": "int"}
        )
        assert batch["content_id"].to_pylist() == [[2, 3], [last]]
        assert batch["save"].to_pylist() == [[0, 0], [1]]


def test_feedback_of_excluded_tasks_is_not_an_input(tmp_path):
    feedback = FeedbackConfig(exclude=("save",))
    write_examples(tmp_path / "examples", feedback)
    outputs = {key: tmp_path / key for key in Transform.OUTPUTS}
    Transform.execute({"examples": tmp_path / "examples"}, outputs, parameters(feedback))
    graph = TransformGraph.load(outputs["transform_graph"])
    assert graph.input_spec().numeric == ("past_records", "past_engage_rate")


def test_changed_schema_changes_the_key(tmp_path):
    copy = tmp_path / "schema.pbtxt"
    copy.write_bytes(SCHEMA_FILE.read_bytes())
    before = Transform.external({}, parameters(schema=copy))
    assert before == Transform.external({}, parameters())
    copy.write_bytes(SCHEMA_FILE.read_bytes() + b"# one more line\n")
    assert Transform.external({}, parameters(schema=copy)) != before


def test_missing_schema_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Transform.external({}, parameters(schema=tmp_path / "none.pbtxt"))


def test_component_takes_examples_only():
    component = Transform(parameters(), {"examples": Output("ExampleGen", "examples", EXAMPLES)})
    assert {key: output.type for key, output in component.outputs.items()} == {
        "transform_graph": "TransformGraph",
        "transformed": "Examples",
    }
    with pytest.raises(TypeError, match="expected inputs"):
        Transform(parameters())


def test_interface_imports_nothing_heavy():
    code = (
        "import sys, components.transform\n"
        "print([m for m in ('tensorflow', 'apache_beam', 'polars', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_of_a_feature_the_schema_does_not_have_are_refused_with_the_nearest(tmp_path):
    wrong = TransformParameters(
        transform=TransformConfig(features={"content": {"hash_buckets": 9}}),
        feedback=FeedbackConfig(),
        schema=str(SCHEMA_FILE),
    )
    with pytest.raises(UserError, match='did you mean "content_id"'):
        Transform.external({}, wrong)
