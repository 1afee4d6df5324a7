"""Every field of the configuration as a parameter of the compiled pipeline.

kfp reuses a step's outputs where the values of its parameters are the same. So a field is a parameter
of its own, and a step gets those it reads and no other: changing one runs the steps again that read it, and
what comes after them.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter

from components.base import Component
from components.evaluator import Evaluator
from components.example_gen import ExampleGen, FileExampleGen
from components.example_validator import ExampleValidator
from components.infra_validator import InfraValidator
from components.log_simulator import LogSimulator
from components.pusher import Pusher
from components.reporter import Reporter
from components.tfds_import import TfdsImport
from components.trainer import Trainer
from components.transform import Transform
from rmtl_tf.config import RunConfig, Strict, parse_config
from rmtl_tf.errors import UserError

BEAM = "beam"
# The pipeline root is Kubeflow's; what a step gets is compiled in; no step reads `tune`.
_NO_PARAMETERS = ("root", "kubeflow", "tune")

_CUT = (
    "data.dataset",
    "data.path",
    "data.schema",
    "data.session",
    "data.split",
    "data.spans",
    "data.max_bad_fraction",
    "data.feedback",
    "data.shards",
    BEAM,
)
# Step -> the fields and sections that `create_pipeline` makes its parameters of.
READS: dict[type[Component], tuple[str, ...]] = {
    LogSimulator: ("data.simulate",),
    TfdsImport: ("data.dataset", "data.source", "data.path", "data.schema", "data.session"),
    ExampleGen: ("data.source", *_CUT),
    FileExampleGen: _CUT,
    ExampleValidator: ("data.schema", "data.feedback", "data.validation"),
    Transform: ("transform", "data.feedback", "data.schema", BEAM),
    Trainer: ("data.schema", "data.feedback", "model", "training", "serving", "push.directory", "seed"),
    Evaluator: ("evaluation", "data.schema", "data.feedback", "push.directory", "seed"),
    InfraValidator: (),
    Pusher: ("push",),
    Reporter: ("",),
}


@dataclass(frozen=True)
class Field:
    """One field of the configuration that is no section.

    Attributes:
        path: as in `--set`.
        attributes: the same in Python.
        parameter: its name in the compiled pipeline.
        type: of the parameter: bool, int, float, str, list or dict.
        as_yaml: the parameter is text with the value in YAML, because it may be none or of several types.
        description: what the configuration says about it.
    """

    path: str
    attributes: tuple[str, ...]
    parameter: str
    type: type
    as_yaml: bool
    description: str

    def encode(self, value: Any) -> Any:
        """A value of the configuration (as JSON has it) as the parameter's."""
        return _yaml_line(value) if self.as_yaml else value

    def decode(self, value: Any) -> Any:
        return yaml.safe_load(value) if self.as_yaml else value


@cache
def fields() -> tuple[Field, ...]:
    """All of them, in the order of the configuration; then `beam`, the options of `run --beam`."""
    found = [field for field in _fields(RunConfig) if field.path not in _NO_PARAMETERS]
    options = Field(
        BEAM, (BEAM,), BEAM, list, False, "KEY=VALUE options of Beam for ExampleGen and Transform"
    )
    return (*found, options)


def fields_of(step: type[Component]) -> list[Field]:
    """The fields that a step reads.

    Raises:
        TypeError: nobody said which.
    """
    if step not in READS:
        raise TypeError(
            f"{step.__name__}: not known which fields it reads. Add it to components/kubeflow/fields.py"
        )
    return [field for field in fields() if _belongs(field.path, READS[step])]


def values_of(config: RunConfig, beam: tuple[str, ...] = ()) -> dict[str, Any]:
    """The value of every parameter, by its name."""
    values = {field.parameter: field.encode(_plain(config, field)) for field in fields()[:-1]}
    return {**values, BEAM: list(beam)}


def config_of(values: Mapping[str, Any]) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration that parameters stand for, and Beam's options; what is missing has its default.

    Raises:
        UserError: a value is not within its bounds.
    """
    nested: dict[str, Any] = {"name": "kubeflow"}
    for field in fields():
        if field.parameter not in values or field.path == BEAM:
            continue
        *sections, last = field.path.split(".")
        node = nested
        for section in sections:
            node = node.setdefault(section, {})
        try:
            node[last] = field.decode(values[field.parameter])
        except yaml.YAMLError as error:
            raise UserError(f"{field.parameter}: expected a value in YAML, received: {error}") from None
    return parse_config(nested, "of the pipeline's parameters"), tuple(values.get(BEAM, ()))


def _belongs(path: str, parts: tuple[str, ...]) -> bool:
    if path == BEAM:
        return BEAM in parts
    return any(not part or path == part or path.startswith(f"{part}.") for part in parts)


def _fields(section: type[Strict], path: str = "", attributes: tuple[str, ...] = ()) -> Iterator[Field]:
    for name, info in section.model_fields.items():
        here, names = f"{path}{info.alias or name}", (*attributes, name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Strict):
            if here not in _NO_PARAMETERS:
                yield from _fields(info.annotation, f"{here}.", names)
            continue
        kind = _kind(info.annotation)
        yield Field(here, names, here.replace(".", "_"), kind or str, kind is None, info.description or "")


def _kind(annotation: Any) -> type | None:
    """The type of the parameter; None for what may be none or of several types."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return None
    if origin is Literal:
        return str
    if origin in (tuple, list):
        return list
    return dict if origin is dict else annotation


def _plain(config: RunConfig, field: Field) -> Any:
    """The field's value as JSON has it; of arms and other open structures only what somebody wrote."""
    value = reduce(getattr, field.attributes, config)
    return TypeAdapter(Any).dump_python(value, mode="json", by_alias=True, exclude_unset=True)


def _yaml_line(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")
