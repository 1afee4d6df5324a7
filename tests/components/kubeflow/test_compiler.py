"""The compiled pipeline: its text, kfp's own reading of it, and what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import components as kfp_components
from kfp.pipeline_spec import pipeline_spec_pb2

import pipeline
from components.kubeflow.compiler import compile_pipeline, is_fixed
from components.kubeflow.fields import READS, fields, fields_of, values_of
from components.kubeflow.interface import has_outside, task_name
from rmtl_tf.config import RunConfig, load_config
from rmtl_tf.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("simulator.yaml")
IMAGE, ROOT = "registry.example/rmtl-tf:1", "s3://bucket/rmtl"
AGAIN = (
    f"python pipeline.py compile --config configs/simulator.yaml --image {IMAGE} --pipeline-root {ROOT} "
    f"-o {GOLDEN.relative_to(REPOSITORY)}"
)


def compiled(config: RunConfig) -> str:
    return compile_pipeline(config, pipeline.create_pipeline, IMAGE, ROOT)


def config(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "shop", **sections})


@pytest.fixture(scope="module")
def text() -> str:
    return compiled(load_config(REPOSITORY / "configs" / "simulator.yaml"))


@pytest.fixture(scope="module")
def spec(text: str) -> dict[str, Any]:
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    return spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]


class TestText:
    def test_it_is_the_golden_file(self, text: str) -> None:
        assert text == GOLDEN.read_text(), f"if that is meant: {AGAIN}"

    def test_equal_configurations_have_equal_text(self, text: str) -> None:
        assert compiled(load_config(REPOSITORY / "configs" / "simulator.yaml")) == text

    def test_kfp_reads_it_as_a_pipeline_spec_and_as_a_component(
        self, text: str, spec: dict[str, Any]
    ) -> None:
        parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        assert parsed.schema_version == "2.1.0"
        loaded = kfp_components.load_component_from_text(text)
        assert set(loaded.component_spec.inputs) == {field.parameter for field in fields()}
        assert loaded.pipeline_spec == parsed

    def test_logs_in_files_need_no_simulator(self) -> None:
        spec = yaml.safe_load(compiled(load_config(REPOSITORY / "configs" / "deskdrop.yaml")))
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        assert "log-simulator" not in spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]


class TestSteps:
    def test_the_tasks_are_the_components_with_typed_artifacts(self, spec, tasks) -> None:
        components = pipeline.create_pipeline(config())
        assert set(tasks) == {"outside-digests", *(task_name(c.name) for c in components)}
        for component in components:
            entry = spec["components"][f"comp-{task_name(component.name)}"]
            for side, declared in (("input", component.INPUTS), ("output", component.OUTPUTS)):
                found = entry.get(f"{side}Definitions", {}).get("artifacts", {})
                titles = {key: value["artifactType"]["schemaTitle"] for key, value in found.items()}
                assert titles == {key: f"system.{kind}" for key, kind in declared.items()}
            produced = tasks[task_name(component.name)]["inputs"].get("artifacts", {})
            makers = {key: value["taskOutputArtifact"]["producerTask"] for key, value in produced.items()}
            assert makers == {k: task_name(output.component) for k, output in component.inputs.items()}

    def test_every_field_is_a_parameter_with_its_value_as_default(self, spec) -> None:
        found = spec["root"]["inputDefinitions"]["parameters"]
        configuration = load_config(REPOSITORY / "configs" / "simulator.yaml")
        wanted = values_of(configuration) | {"push_directory": f"{ROOT}/serving/simulator"}
        assert {name: entry["defaultValue"] for name, entry in found.items()} == wanted
        kinds = {bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING", list: "LIST"}
        for field in fields():
            assert found[field.parameter]["parameterType"] == kinds.get(field.type, "STRUCT")
            assert found[field.parameter]["description"].startswith(field.path.replace("beam", "run --beam"))

    def test_changing_one_parameter_changes_the_inputs_of_the_steps_that_read_it_only(self, tasks) -> None:
        made = {task_name(step.__name__): step for step in READS}
        for field in fields():
            getting = {
                task
                for task, entry in tasks.items()
                for given in entry.get("inputs", {}).get("parameters", {}).values()
                if given.get("componentInputParameter") == f"pipelinechannel--{field.parameter}"
            }
            reading = {t for t in tasks if t in made and field in fields_of(made[t])}
            # `example-gen` is one name of two components; the simulator's is not the one of files.
            assert getting - {"outside-digests", "example-gen"} == reading - {"example-gen"}, field.path
            assert "outside-digests" in getting

    def test_steps_that_read_the_world_have_its_digest_as_a_parameter(self, tasks) -> None:
        for step in pipeline.create_pipeline(config()):
            given = tasks[task_name(step.name)].get("inputs", {}).get("parameters", {}).get("outside")
            assert (given is not None) == has_outside(type(step).__name__)
            if given is not None:
                assert given["taskOutputParameter"]["producerTask"] == "outside-digests"

    def test_an_anomaly_stops_the_steps_after_the_validator(self, tasks) -> None:
        after = {
            name for name, task in tasks.items() if "example-validator" in task.get("dependentTasks", [])
        }
        assert after == set(tasks) - {"log-simulator", "outside-digests", "example-gen", "example-validator"}


class TestBehaviour:
    def test_caching_is_on_but_for_what_asks_the_world(self, tasks) -> None:
        off = {name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")}
        assert off == {"outside-digests", "pusher"}

    def test_every_step_is_retried(self, spec, tasks) -> None:
        for task in [*tasks.values(), spec["root"]["dag"]["tasks"]["run-report"]]:
            assert task["retryPolicy"]["maxRetryCount"] == 2
            assert task["retryPolicy"]["backoffDuration"] == "60s"

    def test_the_report_of_the_run_is_written_whatever_became_of_the_steps(self, spec) -> None:
        exit_task = spec["root"]["dag"]["tasks"]["run-report"]
        assert exit_task["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        assert exit_task["dependentTasks"] == ["exit-handler-1"]
        page = spec["components"]["comp-run-report"]["outputDefinitions"]["artifacts"]["page"]
        assert page["artifactType"]["schemaTitle"] == "system.HTML"

    def test_resources_accelerators_retries_and_caching_are_as_configured(self) -> None:
        resources = {
            "default": {"cpu": "500m"},
            "Trainer": {"cpu": "8", "memory": "32Gi", "accelerator": "nvidia.com/gpu", "accelerators": 2},
        }
        kubeflow = {"resources": resources, "retries": 0, "caching": False}
        spec = yaml.safe_load(compiled(config(kubeflow=kubeflow)))
        for task in spec["components"]["comp-exit-handler-1"]["dag"]["tasks"].values():
            assert "retryPolicy" not in task
            assert not task["cachingOptions"].get("enableCache")
        executors = spec["deploymentSpec"]["executors"]
        trainer = executors["exec-trainer"]["container"]["resources"]
        assert (trainer["resourceCpuLimit"], trainer["resourceMemoryRequest"]) == ("8", "32Gi")
        assert trainer["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert trainer["accelerator"]["resourceCount"] == "2"
        pusher = executors["exec-pusher"]["container"]["resources"]
        assert (pusher["resourceCpuLimit"], pusher["resourceMemoryLimit"]) == ("500m", "2Gi")

    def test_every_container_is_the_image_with_kfps_executor_and_installs_nothing(self, spec) -> None:
        for name, executor in spec["deploymentSpec"]["executors"].items():
            container = executor["container"]
            assert container["image"] == IMAGE, name
            assert "kfp.dsl.executor_main" in container["command"]
            assert "pip" not in " ".join([*container["command"], *container["args"]])
            entry = container["command"][container["command"].index("--component_module_path") + 1]
            assert (REPOSITORY / entry).is_file()


class TestMistakes:
    def test_resources_of_a_step_that_is_not_there(self) -> None:
        with pytest.raises(UserError, match='no step "Traner"; did you mean "Trainer"'):
            compiled(config(kubeflow={"resources": {"Traner": {"cpu": "1"}}}))

    def test_spans_are_refused_with_what_to_do_instead(self) -> None:
        with pytest.raises(UserError, match=r"\{SPAN\}.*scheduling\.md"):
            compiled(config(data={"path": "logs/{SPAN}"}))

    def test_several_workers_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"training\.strategy: multi_worker.*none or mirrored"):
            compiled(config(training={"strategy": "multi_worker"}))

    @pytest.mark.parametrize(
        ("image", "fixed"),
        [
            ("rmtl-tf", False),
            ("host:5000/rmtl-tf", False),
            ("host/rmtl-tf:latest", False),
            ("host:5000/rmtl-tf:3", True),
            ("rmtl-tf@sha256:" + "0" * 64, True),
        ],
    )
    def test_an_image_that_may_change_under_its_name_is_known(self, image: str, fixed: bool) -> None:
        assert is_fixed(image) == fixed
