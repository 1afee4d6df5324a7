"""ExampleGen and Transform on Apache Flink: the same bytes as on this process's threads.

Flink runs in a JVM that Beam's job server starts; its workers are this process (`environment_type=LOOPBACK`).
`make test-flink` runs this; without Java or Maven it fails.
"""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest

from components.example_gen import example_gen
from components.log_simulator import LogSimulator
from components.runner import run
from components.transform import Transform, TransformParameters
from rmtl_tf.config import DataConfig, SimulatorConfig, TransformConfig
from rmtl_tf.data.beam_options import pipeline
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_tree
from tests_flink.job_server import fetch

# The channels of a job that has ended.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

CHECKOUT = Path(__file__).resolve().parents[1]
SCHEMA = CHECKOUT / "data_schemas" / "simulator.pbtxt"
EVENTS = 20_000


@pytest.fixture(scope="session")
def flink() -> list[str]:
    """The options that a run needs for Flink in a JVM of its own."""
    try:
        jar = fetch()
    except RuntimeError as error:
        pytest.fail(str(error))
    options = {
        "runner": "FlinkRunner",
        "flink_master": "[local]",
        "flink_job_server_jar": jar,
        "environment_type": "LOOPBACK",
        "parallelism": 2,
    }
    return [f"{key}={value}" for key, value in options.items()]


def _outputs(root: Path, beam: list[str]) -> dict[str, dict[str, str]]:
    """The digests of all files that ExampleGen and Transform write."""
    data = DataConfig.model_validate(
        {"schema": str(SCHEMA), "simulate": SimulatorConfig(events=EVENTS), "shards": 6}
    )
    simulator = LogSimulator(data.simulate)
    examples = example_gen(data, simulator.outputs["logs"], beam)
    parameters = TransformParameters.model_validate(
        {
            "transform": TransformConfig(),
            "feedback": data.feedback,
            "schema": str(SCHEMA),
            "beam": tuple(beam),
        }
    )
    transform = Transform(parameters, {"examples": examples.outputs["examples"]})
    results = run([simulator, examples, transform], root)
    paths = {name: path for result in results for name, path in result.outputs.items() if name != "logs"}
    assert set(paths) == {"examples", "statistics", "transform_graph", "transformed"}
    return {name: digest_tree(path) for name, path in paths.items()}


def test_flink_writes_the_bytes_that_a_local_run_writes(tmp_path, flink):
    local = _outputs(tmp_path / "local", [])
    assert sum(name.endswith(".tfrecord") for name in local["examples"]) == 18
    assert _outputs(tmp_path / "flink", flink) == local
    report = json.loads(
        next((tmp_path / "flink").glob("ExampleGen/*/statistics/statistics.json")).read_text()
    )
    assert report["rows_read"] > EVENTS / 2


def test_processes_that_share_nothing_but_files_write_the_same_bytes(tmp_path):
    options = ["runner=DirectRunner", "direct_running_mode=multi_processing", "direct_num_workers=2"]
    local = _outputs(tmp_path / "local", [])
    assert _outputs(tmp_path / "processes", [*options, f"temp_location={tmp_path / 'temp'}"]) == local
    assert list((tmp_path / "temp").iterdir()) == []


def test_an_error_of_a_worker_reaches_the_person(tmp_path, flink):
    def refuse(_):
        raise UserError("events.csv: no such thing. Mend it.")

    with (
        pytest.raises(UserError, match=r"^events\.csv: no such thing\. Mend it\.$"),
        pipeline(flink) as made,
    ):
        _ = made | beam.Create([1]) | beam.Map(refuse)
