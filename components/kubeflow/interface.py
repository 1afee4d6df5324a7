"""What kfp must know of a step: its artifacts by type, its parameters, and the names it goes by.

The same signature is compiled into the pipeline and read again by kfp's executor in the container.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kfp import dsl

from components import base
from components.base import Component
from components.kubeflow.fields import READS, Field, fields, fields_of

# kfp accepts schema titles of the namespaces `system` and `google` only.
_NAMESPACE, _VERSION = "system", "0.0.1"
OUTSIDE = "outside"
OUTSIDE_STEP = "OutsideDigests"
RUN_REPORT = "RunReport"
PAGE = "page"
STEPS: Mapping[str, type[Component]] = {step.__name__: step for step in READS}


def _artifact_type(name: str) -> type[dsl.Artifact]:
    known = {base.MODEL: dsl.Model}
    if name in known:
        return known[name]
    attributes = {"schema_title": f"{_NAMESPACE}.{name}", "schema_version": _VERSION}
    return type(name, (dsl.Artifact,), attributes)


ARTIFACTS: Mapping[str, type[dsl.Artifact]] = {
    name: _artifact_type(name) for step in READS for name in (*step.INPUTS.values(), *step.OUTPUTS.values())
}
DIGESTS = _artifact_type(OUTSIDE_STEP)


def task_name(step: str) -> str:
    """The name of a step's task, and of the folder of its outputs: `example-gen` of ExampleGen."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", step.removeprefix("File")).lower()


def parameter_name(step: str) -> str:
    return task_name(step).replace("-", "_")


def signature(step: str) -> inspect.Signature:
    """What a step takes: input artifacts, output artifacts, parameters.

    Args:
        step: name of a component's class, `OutsideDigests` or `RunReport`.
    """
    if step == RUN_REPORT:
        return _signature({"name": str, "steps": list, PAGE: dsl.Output[dsl.HTML]})
    if step == OUTSIDE_STEP:
        watched = {parameter_name(name): dsl.OutputPath(str) for name in STEPS if has_outside(name)}
        return _signature({"steps": list, **_parameters(fields()), "digests": dsl.Output[DIGESTS], **watched})
    component = STEPS[step]
    inputs = {key: dsl.Input[ARTIFACTS[kind]] for key, kind in component.INPUTS.items()}
    outputs = {key: dsl.Output[ARTIFACTS[kind]] for key, kind in component.OUTPUTS.items()}
    outside = {OUTSIDE: str} if has_outside(step) else {}
    return _signature({**inputs, **outputs, **outside, **_parameters(fields_of(component))})


def has_outside(step: str) -> bool:
    """Whether a component reads anything that is neither an artifact nor a parameter."""
    return STEPS[step].external is not Component.external


def function(step: str, body: Callable[..., Any]) -> Callable[..., Any]:
    """`body` as kfp wants it: with the step's name and signature."""

    wanted = signature(step)

    def run(*given: Any, **named: Any) -> Any:
        return body(step, wanted.bind(*given, **named).arguments)

    run.__name__ = run.__qualname__ = parameter_name(step)
    run.__signature__ = wanted  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in wanted.parameters.items()}
    return run


def _parameters(wanted: Iterable[Field]) -> dict[str, type]:
    return {each.parameter: each.type for each in wanted}


def _signature(annotations: Mapping[str, Any]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(n, kind, annotation=a) for n, a in annotations.items()])
