"""A run's components as a pipeline of Kubeflow: IR YAML, from the same list that the local runner works.

Every step is a container of one image, whose command is kfp's own executor on `commands/kubeflow_step.py`.
Three things are added to the list:

- `OutsideDigests` runs first and always. kfp knows nothing of what lies outside (raw files under the same
  path, pushed models), so this step digests it, and each step that reads it has the digest as a parameter:
  its outputs are reused only while that stays the same.
- `Pusher` is never cached: it asks the serving directory.
- `RunReport` is the exit handler: it writes a page whether the others succeeded or not.
"""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.base import Component, Output
from components.example_validator import ExampleValidator
from components.kubeflow.fields import BEAM, Field, fields, fields_of, values_of
from components.pusher import Pusher
from rmtl_tf.config import RunConfig
from rmtl_tf.data.growing import PLACE
from rmtl_tf.errors import UserError, nearest

logger = logging.getLogger(__name__)

# The module that kfp's executor loads, relative to the image's working directory.
ENTRY = "commands/kubeflow_step.py"
_ONE_CONTAINER = ("none", "mirrored")


def compile_pipeline(
    config: RunConfig,
    create_pipeline: Callable[[RunConfig, Sequence[str]], list[Component]],
    image: str,
    pipeline_root: str,
    beam: Sequence[str] = (),
) -> str:
    """The pipeline as IR YAML. Same arguments: same text.

    Args:
        image: with this repository in its working directory (Dockerfile).
        pipeline_root: `gs://`, `s3://` or `minio://` prefix below which artifacts are kept; where
            `push.directory` is not given, models are pushed to `<pipeline_root>/serving/<name>`.

    Raises:
        UserError: the configuration needs what a container a step cannot give.
    """
    from kfp import compiler, dsl

    config = _for_kubeflow(config, pipeline_root)
    components = create_pipeline(config, beam)
    _check_steps(config, [component.name for component in components])
    if not is_fixed(image):
        logger.warning(
            "image %s: a tag that is built again leaves cached outputs of the old code in use. Give a tag of "
            "its own to every build, or a digest (@sha256:...).",
            image,
        )
    body = _body(components, config, image)
    given = dsl.pipeline(name=_name(config.name), pipeline_root=pipeline_root)(
        _pipeline_function(body, values_of(config, tuple(beam)), f"RMTL-TF, {config.name}.")
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(given, str(file))
        # kfp's text begins with comments that have no fixed order.
        return yaml.safe_dump(yaml.safe_load(file.read_text(encoding="utf-8")), width=110)


def _for_kubeflow(config: RunConfig, pipeline_root: str) -> RunConfig:
    """`config` with the directory of pushed models where every container sees it."""
    if config.data.path is not None and PLACE in config.data.path:
        raise UserError(
            f"data.path: {config.data.path} has a step for every span there is, and a compiled pipeline "
            "has the same steps in every run. Give one folder, or schedule the local runner: "
            "docs/scheduling.md."
        )
    if config.training.strategy not in _ONE_CONTAINER:
        raise UserError(
            f"training.strategy: {config.training.strategy} needs several containers, and the Trainer has "
            f"one. Expected {' or '.join(_ONE_CONTAINER)}."
        )
    directory = config.push.directory or f"{pipeline_root.rstrip('/')}/serving/{config.name}"
    return config.model_copy(update={"push": config.push.model_copy(update={"directory": directory})})


def _check_steps(config: RunConfig, names: Sequence[str]) -> None:
    from components.kubeflow.interface import OUTSIDE_STEP

    known = [*names, OUTSIDE_STEP, "default"]
    for step in config.kubeflow.resources:
        if step not in known:
            raise UserError(f'kubeflow.resources: no step "{step}"; {nearest(step, known)}')


def _body(
    components: Sequence[Component], config: RunConfig, image: str
) -> Callable[[Mapping[str, Any]], None]:
    """What kfp calls once to see the pipeline: parameters by name -> tasks."""
    from kfp import dsl

    from components.kubeflow import interface as kfp_of

    names = [component.name for component in components]
    given = [type(component).__name__ for component in components]

    def task(step: str, name: str, arguments: Mapping[str, Any], caching: bool) -> Any:
        made = dsl.container_component(kfp_of.function(step, lambda *_: _container(step, image)))(**arguments)
        made.set_display_name(name).set_caching_options(caching)
        if config.kubeflow.retries:
            made.set_retry(
                config.kubeflow.retries,
                backoff_duration=f"{config.kubeflow.backoff_seconds}s",
                backoff_factor=2.0,
            )
        _give_resources(made, config, name)
        return made

    def body(parameters: Mapping[str, Any]) -> None:
        def of(wanted: Sequence[Field]) -> dict[str, Any]:
            return {field.parameter: parameters[field.parameter] for field in wanted}

        report = task(
            kfp_of.RUN_REPORT, kfp_of.RUN_REPORT, {"name": parameters["name"], "steps": names}, False
        )
        with dsl.ExitHandler(report, name="steps"):
            outside = task(kfp_of.OUTSIDE_STEP, kfp_of.OUTSIDE_STEP, {"steps": given, **of(fields())}, False)
            made: dict[Output, Any] = {}
            gate = None
            for component in components:
                step = type(component).__name__
                arguments = {key: made[output] for key, output in component.inputs.items()}
                if kfp_of.has_outside(step):
                    arguments[kfp_of.OUTSIDE] = outside.outputs[kfp_of.parameter_name(step)]
                caching = config.kubeflow.caching and type(component) is not Pusher
                done = task(step, component.name, {**arguments, **of(fields_of(type(component)))}, caching)
                if gate is not None:
                    done.after(gate)
                if isinstance(component, ExampleValidator):
                    gate = done  # no step reads the anomalies before the report, but an error stops the run
                made |= {output: done.outputs[key] for key, output in component.outputs.items()}

    return body


def _container(step: str, image: str) -> Any:
    from kfp import dsl

    # _KFP_RUNTIME keeps kfp's executor from importing its compiler and client: 0.1 s instead of 1.5 s a step.
    python = ["env", "_KFP_RUNTIME=true", "PYTHONUNBUFFERED=1", "python3"]
    command = [*python, "-m", "kfp.dsl.executor_main", "--component_module_path", ENTRY]
    arguments = [
        "--executor_input",
        dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        "--function_to_execute",
        step,
    ]
    return dsl.ContainerSpec(image=image, command=command, args=arguments)


def _give_resources(task: Any, config: RunConfig, step: str) -> None:
    resources = config.kubeflow.of(step)
    if resources.cpu is not None:
        task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    if resources.memory is not None:
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.accelerator is not None:
        task.set_accelerator_type(resources.accelerator).set_accelerator_limit(resources.accelerators)


def _pipeline_function(
    body: Callable[[Mapping[str, Any]], None], values: Mapping[str, Any], text: str
) -> Callable[..., None]:
    """A function with a parameter for every field, its value as default and its explanation."""

    def run(*given: Any, **named: Any) -> None:
        body({**dict(zip(values, given, strict=False)), **named})

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(field.parameter, kind, annotation=field.type, default=values[field.parameter])
            for field in fields()
        ]
    )
    lines = [f"    {field.parameter}: {_explained(field)}" for field in fields()]
    run.__doc__ = "\n".join([text, "", "Args:", *lines])
    return run


def _explained(field: Field) -> str:
    how = ", in YAML" if field.as_yaml else ""
    path = "run --beam" if field.path == BEAM else field.path
    return f"{path}{how}; {' '.join(field.description.split())}" if field.description else f"{path}{how}"


def _name(name: str) -> str:
    """A pipeline's name is lower case, with hyphens."""
    return name.lower().replace("_", "-").strip("-") or "rmtl-tf"


def is_fixed(image: str) -> bool:
    """Whether an image's name has a tag or a digest, and is not whatever was built last."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@sha256:" in image or tag not in ("", "latest")
