"""The files a team copies: as TF Serving, compose and KServe read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from rmtl_tf import serving_labels

DEPLOY = Path(__file__).resolve().parents[2] / "serving" / "deploy"
_TYPES = descriptor_pb2.FieldDescriptorProto


def message(name: str, fields: list[tuple[str, int, int, str, bool]], *others: tuple):
    """A message class that the Python package leaves out; a field: (name, number, type, class, repeated)."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto",
        package="published",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for title, own in (*others, (name, fields)):
        target = file.message_type.add(name=title)
        for field, number, kind, of, repeated in own:
            label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
            target.field.add(name=field, number=number, type=kind, type_name=of or None, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"published.{name}"))


# tensorflow_serving/servables/tensorflow/session_bundle_config.proto
INT = ".google.protobuf.Int64Value"
BATCHING = message(
    "BatchingParameters",
    [
        ("max_batch_size", 1, _TYPES.TYPE_MESSAGE, INT, False),
        ("batch_timeout_micros", 2, _TYPES.TYPE_MESSAGE, INT, False),
        ("max_enqueued_batches", 3, _TYPES.TYPE_MESSAGE, INT, False),
        ("num_batch_threads", 4, _TYPES.TYPE_MESSAGE, INT, False),
        ("thread_pool_name", 5, _TYPES.TYPE_MESSAGE, ".google.protobuf.StringValue", False),
        ("allowed_batch_sizes", 6, _TYPES.TYPE_INT64, "", True),
        ("pad_variable_length_inputs", 7, _TYPES.TYPE_BOOL, "", False),
    ],
)
# tensorflow_serving/config/monitoring_config.proto
MONITORING = message(
    "MonitoringConfig",
    [("prometheus_config", 1, _TYPES.TYPE_MESSAGE, ".published.PrometheusConfig", False)],
    (
        "PrometheusConfig",
        [("enable", 1, _TYPES.TYPE_BOOL, "", False), ("path", 2, _TYPES.TYPE_STRING, "", False)],
    ),
)


def parse(name: str, kind):
    return text_format.Parse((DEPLOY / name).read_text(), kind())


def test_models_config_is_what_a_push_writes(tmp_path: Path) -> None:
    serving_labels.write_labels(tmp_path / "simulator", {"stable": 1, "canary": 2})
    written = text_format.Parse(
        (tmp_path / "simulator" / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    assert parse("models.config", model_server_config_pb2.ModelServerConfig) == written


def test_batching_parameters_are_what_the_server_accepts() -> None:
    batching = parse("batching.config", BATCHING)
    assert batching.max_batch_size.value >= 1
    assert batching.num_batch_threads.value >= 1
    # Padding repeats a tensor's first value, which a list of the session's history would take for a record.
    assert not batching.pad_variable_length_inputs
    with pytest.raises(text_format.ParseError, match="max_batchsize"):
        text_format.Parse("max_batchsize { value: 1 }", BATCHING())


def test_prometheus_reads_the_path_that_the_server_exposes() -> None:
    monitoring = parse("monitoring.config", MONITORING).prometheus_config
    assert monitoring.enable
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]
    services = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
    assert job["metrics_path"] == monitoring.path
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in services
    assert f"{port}:{port}" in services[host]["ports"]


@pytest.mark.parametrize("name", ["docker-compose.yaml", "docker-compose.batching.yaml"])
def test_every_file_that_the_server_is_told_to_read_is_mounted(name: str) -> None:
    base = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]["serving"]
    command = yaml.safe_load((DEPLOY / name).read_text())["services"]["serving"]["command"]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in command)
    assert base["image"].startswith("tensorflow/serving:")
    assert flags["model_config_file"] == "/models/${NAME:-simulator}/" + serving_labels.MODELS_CONFIG
    mounted = {target: source for source, target, _ in (v.rsplit(":", 2) for v in base["volumes"])}
    assert serving_labels.SERVED_BELOW in mounted
    for flag in ("monitoring_config_file", "batching_parameters_file"):
        if flag in flags:
            assert (DEPLOY / mounted[flags[flag]]).is_file()
    assert ("batching_parameters_file" in flags) == (flags.get("enable_batching") == "true")


def test_inference_service_has_the_fields_of_kserve() -> None:
    service = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    assert predictor["model"]["modelFormat"]["name"] == "tensorflow"
    assert predictor["model"]["storageUri"].startswith(("pvc://", "gs://", "s3://"))
    assert 0 <= predictor["canaryTrafficPercent"] <= 100
