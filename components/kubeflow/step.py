"""What happens in a step's container: parameters to a component, its executor on the artifacts' folders."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from components.base import Component
from components.kubeflow.fields import config_of
from components.kubeflow.interface import (
    OUTSIDE,
    OUTSIDE_STEP,
    PAGE,
    RUN_REPORT,
    STEPS,
    has_outside,
    parameter_name,
    task_name,
)
from components.kubeflow.records import StepRecord, run_folder
from components.kubeflow.run_report import write_run_report
from components.provenance import commit, versions
from components.sources import source_digest
from components.store import CHECKPOINTS
from rmtl_tf.config import RunConfig
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.files import digest_json, digest_tree, write_json, write_text

CreatePipeline = Callable[[RunConfig, Sequence[str]], list[Component]]
DIGESTS_FILE = "outside.json"

logger = logging.getLogger(__name__)


def run_step(step: str, given: Mapping[str, Any], create_pipeline: CreatePipeline) -> None:
    """Does a step's work.

    Args:
        step: as in `interface.signature`.
        given: what kfp's executor passes for that signature: artifacts (`path`, `uri`, `metadata`), values,
            and a file's path for each output value.

    Raises:
        UserError: from the component, or because the parameters ask for another pipeline than was compiled.
    """
    if step == RUN_REPORT:
        page = given[PAGE]
        folder = run_folder(page.uri, task_name(RUN_REPORT))
        write_run_report(folder, given["name"], given["steps"], Path(page.path))
        return
    names = {OUTSIDE_STEP: ((), ("digests",))}.get(step) or (STEPS[step].INPUTS, STEPS[step].OUTPUTS)
    inputs, outputs = ({key: given[key] for key in keys} for keys in names)
    places = [{key: artifact.uri for key, artifact in artifacts.items()} for artifacts in (inputs, outputs)]
    one = next(iter(outputs.values()))
    folder = run_folder(one.uri, task_name(step))
    with StepRecord(folder, step.removeprefix("File"), *places).kept():
        try:
            if step == OUTSIDE_STEP:
                _outside(given, outputs["digests"], create_pipeline)
            else:
                _execute(_component(step, given, create_pipeline), given, inputs, outputs)
        except Exception as error:
            mended = None if isinstance(error, UserError) else from_system(error, Path(one.path))
            if mended:
                raise mended from error
            raise


def _component(step: str, given: Mapping[str, Any], create_pipeline: CreatePipeline) -> Component:
    """The component that the local runner would run for these parameters."""
    config, beam = config_of(given)
    found = {type(component).__name__: component for component in create_pipeline(config, beam)}
    # A step that does not read where the logs come from cannot know which others there are.
    if step not in found:
        raise UserError(
            f"{step}: the parameters data_path {given.get('data_path')!r} and data_source "
            f"{given.get('data_source')!r} need other steps ({', '.join(found)}) than were compiled. "
            "Compile the pipeline again: pipeline.py compile --set data.path=..."
        )
    return found[step]


def _execute(
    component: Component, given: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> None:
    """Runs the component; a retried one finds its outputs empty, or what was left where it can go on."""
    paths = {key: Path(artifact.path) for key, artifact in outputs.items()}
    for path in paths.values():
        if not component.RESUMABLE:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
    component.execute({k: Path(artifact.path) for k, artifact in inputs.items()}, paths, component.parameters)
    for key, path in paths.items():
        for scratch in sorted(path.rglob(CHECKPOINTS)):
            shutil.rmtree(scratch, ignore_errors=True)
        outputs[key].metadata.update(
            component=component.name,
            digest=digest_json(digest_tree(path)),
            parameters=digest_json(component.parameters.model_dump(mode="json")),
            source=source_digest(type(component)),
            outside=given.get(OUTSIDE, ""),
            commit=commit() or "",
            versions=versions(),
        )


def _outside(given: Mapping[str, Any], digests: Any, create_pipeline: CreatePipeline) -> None:
    """Digests what each step reads that is neither artifact nor parameter: a value a step, all in a file.

    There are no artifacts yet, so each component is asked with empty ones. What it then sees is all that is
    outside: an Evaluator whose model is no pushed one compares with the newest pushed model, so every push
    changes its digest.
    """
    config, beam = config_of(given)
    components = {type(component).__name__: component for component in create_pipeline(config, beam)}
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as empty:
        for step in given["steps"]:
            component = components.get(step)
            if component is None or not has_outside(step):
                continue
            nothing = {key: Path(empty) for key in component.INPUTS}
            found[step] = dict(component.external(nothing, component.parameters))
    values = {parameter_name(step): digests_of for step, digests_of in found.items()}
    for name in {parameter_name(step) for step in STEPS if has_outside(step)}:
        write_text(Path(given[name]), digest_json(values.get(name, {})))
    write_json(Path(digests.path) / DIGESTS_FILE, found)
    for step, digests_of in found.items():
        for name, digest in digests_of.items():
            logger.info("%s reads %s: %s", step, name, digest[:16] or "nothing")
