"""Trainer: pretrains the actor, learns the critics, fine-tunes every arm, exports the chosen one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from components.base import EXAMPLES, MODEL, MODEL_RUN, TRANSFORM_GRAPH, Component
from rmtl_tf import serving_versions, storage
from rmtl_tf.backbones import BACKBONES
from rmtl_tf.config import FeedbackConfig, ModelConfig, ServingConfig, Strict, TrainingConfig
from rmtl_tf.errors import UserError
from rmtl_tf.files import digest_file, digest_json, digest_tree, read_json, write_json
from rmtl_tf.places import place

if TYPE_CHECKING:
    from rmtl_tf.training.job import TrainingJob

PARITY_RECORDS = 200

logger = logging.getLogger(__name__)


class TrainerParameters(Strict):
    """What training depends on beside the data."""

    data_schema: str = Field(alias="schema", description="schema file of the data set")
    feedback: FeedbackConfig = FeedbackConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    serving: ServingConfig = ServingConfig()
    serving_directory: str | None = Field(None, description="where models are pushed, for a warm start")
    seed: int = 0


class Trainer(Component):
    """Transformed Examples -> `model` (SavedModel, parity records) and `model_run` (weights of all arms,
    critics, TensorBoard logs, `run.json`). Goes on from its checkpoints after a kill."""

    INPUTS: ClassVar[Mapping[str, str]] = {
        "examples": EXAMPLES,
        "transform_graph": TRANSFORM_GRAPH,
        "transformed": EXAMPLES,
    }
    OUTPUTS: ClassVar[Mapping[str, str]] = {"model": MODEL, "model_run": MODEL_RUN}
    PARAMETERS: ClassVar[type[Strict]] = TrainerParameters
    RESUMABLE: ClassVar[bool] = True

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: TrainerParameters) -> dict[str, str]:
        digests = {"schema": digest_file(place(parameters.data_schema)), **_saved_critics(parameters)}
        if (own := BACKBONES.own_file(parameters.model.backbone)) is not None:
            digests["backbone"] = digest_file(own)
        if (earlier := _earlier_model(inputs, parameters)) is not None:
            digests["warm start"] = digest_json(digest_tree(storage.held(earlier) / "model"))
        return digests

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: TrainerParameters
    ) -> None:
        from rmtl_tf.features.graph import TransformGraph
        from rmtl_tf.schema import read_schema
        from rmtl_tf.training.job import train
        from rmtl_tf.training.run import RUN_FILE, load_actor
        from rmtl_tf.training.supervise import lead

        graph = TransformGraph.load(inputs["transform_graph"])
        # A mistake there must not show after training.
        _answers(graph, read_schema(parameters.data_schema), parameters.serving)
        job = training_job(inputs, parameters, outputs["model_run"])
        if parameters.training.strategy == "none":
            train(job)
        else:
            lead(job, job_file(outputs["model_run"].parents[1]))
        arm = read_json(outputs["model_run"] / RUN_FILE)["export"]
        backbone = load_actor(outputs["model_run"], arm, graph)
        _export(backbone, arm, graph, inputs, outputs["model"], parameters)


def training_job(inputs: Mapping[str, Path], parameters: TrainerParameters, directory: Path) -> TrainingJob:
    """What `parameters` say to train from these inputs, into `directory`."""
    from rmtl_tf.training.job import TrainingJob

    earlier = _earlier_model(inputs, parameters)
    return TrainingJob(
        transformed=str(inputs["transformed"]),
        transform_graph=str(inputs["transform_graph"]),
        data_schema=parameters.data_schema,
        feedback=parameters.feedback,
        model=parameters.model,
        training=parameters.training,
        seed=parameters.seed,
        directory=str(directory),
        earlier=None if earlier is None else str(storage.local(earlier)),
    )


def job_file(folder: Path) -> Path:
    """Where the chief shows a training to its workers; `folder`: of all outputs of the Trainer."""
    from rmtl_tf.training.supervise import JOB_FILE

    return folder / JOB_FILE


def _earlier_model(inputs: Mapping[str, Path], parameters: TrainerParameters) -> Path | None:
    """The folder of the Trainer whose model this one starts from; None where it starts from new weights.

    Of pushed models the newest of other data counts: so pushing the model that is trained here changes
    nothing, and a rerun finds the same model again.
    """
    wanted = parameters.training.warm_start
    if wanted == "none":
        return None
    if wanted != "blessed":
        if not (place(wanted) / "model" / "manifest.json").is_file():
            raise UserError(
                f"training.warm_start: expected blessed, none or the folder of a Trainer's outputs, received "
                f"{wanted}. They are in <root>/Trainer/<key>/."
            )
        return place(wanted)
    serving = place(parameters.serving_directory or "")
    own = digest_json(digest_tree(storage.held(inputs["transform_graph"])))
    for version in reversed(serving_versions.versions(serving)):
        folder = serving_versions.source(serving / str(version))
        if folder is None or not (folder.parent / "manifest.json").is_file():
            continue
        if read_json(folder.parent / "manifest.json").get("transform_graph") != own:
            return folder.parent.parent
    return None


def _saved_critics(parameters: TrainerParameters) -> dict[str, str]:
    """Digest of every critic that an arm loads from another run."""
    digests = {}
    for arm in parameters.training.arms:
        if arm.saved_critic is None:
            continue
        folder = place(arm.saved_critic)
        if not folder.is_dir():
            raise UserError(
                f"training.arms, {arm.name}, critic.load: expected a folder with a saved critic, received "
                f"{folder}, which is none. Training writes them to <run>/Trainer/<key>/model_run/critics/."
            )
        digests[f"critic of {arm.name}"] = digest_json(digest_tree(storage.local(folder)))
    return digests


def _answers(graph: Any, schema: Any, serving: ServingConfig) -> tuple[Any, tuple[str, ...]]:
    """The score formula, and the raw inputs that candidates have of their own."""
    from rmtl_tf.export.rank import candidate_inputs
    from rmtl_tf.export.score import ScoreFormula

    score = ScoreFormula.of(serving.score, serving.combine, [task.name for task in graph.tasks])
    return score, candidate_inputs(graph, schema, serving.context)


def _export(
    backbone: Any,
    arm: str,
    graph: Any,
    inputs: Mapping[str, Path],
    directory: Path,
    parameters: TrainerParameters,
) -> None:
    """Writes the SavedModel, its parity records and its manifest."""
    import shutil
    from dataclasses import replace

    from rmtl_tf.data.history import history_spec
    from rmtl_tf.export.parity import hard_records, training_path, write_parity
    from rmtl_tf.export.raw_records import raw_records
    from rmtl_tf.export.saved_model import export_saved_model
    from rmtl_tf.features.history import history_types
    from rmtl_tf.schema import read_schema

    serving = directory / "Format-Serving"
    shutil.rmtree(serving, ignore_errors=True)
    schema = read_schema(parameters.data_schema)
    history = history_spec(parameters.model.history, parameters.feedback, schema)
    score, candidates = _answers(graph, schema, parameters.serving)
    folded = parameters.serving.folded_mb << 20
    graph_directory = inputs["transform_graph"]
    export_saved_model(backbone, graph, graph_directory, score, serving, history, candidates, folded)
    # Lists longer than the model looks back show that it takes the end of them.
    longer = None if history is None else replace(history, length=history.length + 2)
    validation = inputs["examples"] / "Split-validation"
    records = next(raw_records(validation, schema, parameters.feedback, longer))
    raw = hard_records(records, graph, PARITY_RECORDS, history)
    shutil.copytree(inputs["transform_graph"], directory / "transform_graph", dirs_exist_ok=True)
    tasks = [task.name for task in graph.tasks]
    write_parity(directory / "parity.npz", raw, training_path(backbone, graph, raw, history), tasks)
    write_json(
        directory / "manifest.json",
        {
            "tasks": tasks,
            "arm": arm,
            "inputs": graph.raw,
            "transform_graph": digest_json(digest_tree(inputs["transform_graph"])),
            "lists": graph.several,
            "history": {
                "lists": history_types(graph, history),
                "length": 0 if history is None else history.length,
            },
            "candidates": list(candidates),
            "score": score.weights,
            "combine": score.combine,
            "seed": parameters.seed,
        },
    )
