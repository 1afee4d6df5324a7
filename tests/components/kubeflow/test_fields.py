"""Every field of the configuration is a parameter, and a step has those it reads."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import pipeline
from components.base import Component
from components.kubeflow import fields as parameters
from components.kubeflow.fields import BEAM, READS, config_of, fields, fields_of, values_of
from rmtl_tf.config import RunConfig, Strict, load_config
from rmtl_tf.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
BASES: dict[str, dict[str, Any]] = {
    "simulated": {"push": {"directory": "models"}},
    "files": {
        "data": {"path": "logs"},
        "training": {"warm_start": "blessed"},
        "push": {"directory": "models"},
    },
    "tfds": {
        "data": {"source": "tfds:shop", "path": "tfds", "dataset": "table"},
        "push": {"directory": "models"},
    },
}
# Values of all kinds; a field takes those that are within its bounds.
CANDIDATES: list[Any] = [
    True, False, 0, 1, 2, 3, 7, 150, 0.25, 0.9, 1.5, None, "x", "mmoe", "table", "data/{x}", "tfds:other",
    "paper", "best", [], ["hour"], [3, 4], [0.5, 0.25, 0.25], ["click"], ["control"], {"click": 1.0},
    {"drift": "IGNORE"}, {"item_id": 3}, {"item_id": {"top_k": 3}}, {"label_not_binary": "IGNORE"},
]  # fmt: skip


def config(**sections: Any) -> RunConfig:
    return RunConfig.model_validate({"name": "shop", **sections})


def annotation(field: parameters.Field) -> Any:
    *sections, last = field.attributes
    owner: type[Strict] = reduce(lambda cls, name: cls.model_fields[name].annotation, sections, RunConfig)
    return owner.model_fields[last].annotation


def changed(base: RunConfig, field: parameters.Field) -> list[RunConfig]:
    """`base` with every other value that the field can take here."""
    candidates = list(CANDIDATES)
    if get_origin(annotation(field)) is Literal:
        candidates += get_args(annotation(field))
    values, found = base.model_dump(by_alias=True), []
    for candidate in candidates:
        *sections, last = field.path.split(".")
        node = copied = {**values}
        for section in sections:
            node[section] = {**node[section]}
            node = node[section]
        node[last] = candidate
        try:
            other = RunConfig.model_validate(copied)
        except (ValidationError, UserError):
            continue
        if other != base:
            found.append(other)
    return found


def made_of(config: RunConfig) -> dict[type[Component], Any]:
    return {type(c): c.parameters.model_dump(mode="json") for c in pipeline.create_pipeline(config)}


@pytest.fixture(scope="module")
def readers() -> dict[str, set[type[Component]]]:
    """Field -> the steps whose parameters are others where it is another, or which are not there then."""
    found: dict[str, set[type[Component]]] = {field.path: set() for field in fields()}
    for base in BASES.values():
        before = made_of(config(**base))
        for field in fields():
            for other in changed(config(**base), field) if field.path != BEAM else ():
                after = made_of(other)
                found[field.path] |= {step for step in before if after.get(step) != before[step]}
    return found


class TestReads:
    def test_a_step_gets_every_field_on_which_it_depends(self, readers) -> None:
        # Where the logs come from decides which of these there are: `data.path` is checked by ExampleGen.
        sources = {"LogSimulator", "TfdsImport", "ExampleGen", "FileExampleGen"}
        for field in fields():
            for step in readers[field.path]:
                chosen = field.path in ("data.path", "data.source") and step.__name__ in sources
                assert chosen or field in fields_of(step), (step.__name__, field.path)

    def test_a_step_gets_no_field_on_which_it_does_not_depend(self, readers) -> None:
        # A TFDS source is accepted with `dataset: table` only.
        for step in READS:
            for field in fields_of(step):
                if field.path != BEAM and (step.__name__, field.path) != ("TfdsImport", "data.dataset"):
                    assert step in readers[field.path], (step.__name__, field.path)

    def test_beams_options_go_to_the_steps_on_beam(self) -> None:
        on_beam = {step for step in READS for field in fields_of(step) if field.path == BEAM}
        made = pipeline.create_pipeline(config(), ["runner=x"])
        assert {type(c) for c in made if getattr(c.parameters, "beam", ())} <= on_beam
        assert {step.__name__ for step in on_beam} == {"ExampleGen", "FileExampleGen", "Transform"}

    def test_a_step_that_nobody_listed_is_refused_by_name(self) -> None:
        class Labeler(Component):
            pass

        with pytest.raises(TypeError, match=r"Labeler.*fields\.py"):
            fields_of(Labeler)


class TestValues:
    def test_names_are_unique_and_identifiers(self) -> None:
        names = [field.parameter for field in fields()]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() and name == name.lower() for name in names)

    def test_all_fields_are_there_but_the_root_and_what_is_compiled_in(self) -> None:
        def leaves(cls: type[Strict], before: str = "") -> set[str]:
            found: set[str] = set()
            for name, info in cls.model_fields.items():
                path = before + (info.alias or name)
                nested = isinstance(info.annotation, type) and issubclass(info.annotation, Strict)
                found |= leaves(info.annotation, path + ".") if nested else {path}  # type: ignore[arg-type]
            return found

        missing = leaves(RunConfig) - {field.path for field in fields()}
        assert {path.split(".")[0] for path in missing} == {"root", "kubeflow", "tune"}

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    def test_configurations_come_back_as_they_were(self, file: Path) -> None:
        before = load_config(file)
        after, beam = config_of(values_of(before, ("runner=x",)))
        assert after == before
        assert beam == ("runner=x",)

    def test_arms_come_back_with_their_agents_powers_and_critics(self) -> None:
        arms = [
            "control",
            {"name": "mine", "weighting": {"name": "rmtl", "power": {"click": 1, "conversion": -1}}},
            {"name": "d_ple", "agent": "ddpg", "critic": {"gamma": 0.5}},
        ]
        before = config(training={"arms": arms})
        values = values_of(before)
        assert values["training_arms"][2]["agent"]["name"] == "ddpg"
        assert "noise" not in values["training_arms"][2]["agent"]  # a default is not spelt out
        assert config_of(values)[0] == before

    @settings(max_examples=20)
    @given(st.none() | st.integers(2, 10**6))
    def test_a_field_that_may_be_none_is_yaml(self, users: int | None) -> None:
        values = values_of(config(data={"simulate": {"users": users}}))
        assert values["data_simulate_users"] == ("null" if users is None else str(users))
        assert config_of(values)[0].data.simulate.users == users

    @settings(max_examples=30)
    @given(st.text(min_size=1).filter(lambda text: text.isprintable() and "{" not in text))
    def test_any_path_survives(self, path: str) -> None:
        before = config(data={"path": path})
        assert config_of(values_of(before))[0].data.path == path

    def test_a_value_out_of_bounds_names_its_field(self) -> None:
        with pytest.raises(UserError, match=r"training\.batch_size.*greater than or equal to 2"):
            config_of({"training_batch_size": 1})

    def test_what_a_step_does_not_get_has_its_default(self) -> None:
        found, beam = config_of({"seed": 4})
        assert (found.seed, found.model, beam) == (4, RunConfig(name="x").model, ())
