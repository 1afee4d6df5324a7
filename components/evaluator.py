"""Evaluator: exact metrics with intervals, slices, the comparison with the live model, the blessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from components.base import (
    EXAMPLES,
    MODEL,
    MODEL_BLESSING,
    MODEL_EVALUATION,
    MODEL_RUN,
    TRANSFORM_GRAPH,
    Component,
)
from rmtl_tf import serving_versions, storage
from rmtl_tf.config import EvaluationConfig, FeedbackConfig, HistoryConfig, Strict
from rmtl_tf.files import digest_file, write_json
from rmtl_tf.places import place

CONTROL = "control"
PUSHED = "pushed"


class EvaluatorParameters(Strict):
    """What evaluation depends on beside the artifacts."""

    evaluation: EvaluationConfig = EvaluationConfig()
    data_schema: str = Field(alias="schema", description="schema file of the data set")
    feedback: FeedbackConfig = FeedbackConfig()
    serving_directory: str = Field(
        description="where models are pushed; its newest other model is the baseline"
    )
    seed: int = 0


class Evaluator(Component):
    """Test split -> `evaluation` (numbers and predictions) and `blessing`."""

    INPUTS: ClassVar[Mapping[str, str]] = {
        "examples": EXAMPLES,
        "transformed": EXAMPLES,
        "transform_graph": TRANSFORM_GRAPH,
        "model": MODEL,
        "model_run": MODEL_RUN,
    }
    OUTPUTS: ClassVar[Mapping[str, str]] = {"evaluation": MODEL_EVALUATION, "blessing": MODEL_BLESSING}
    PARAMETERS: ClassVar[type[Strict]] = EvaluatorParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: EvaluatorParameters) -> dict[str, str]:
        # The baseline is the newest pushed model that is not this one, so pushing this one changes nothing.
        live = _live(inputs, parameters)
        digest = "" if live is None else serving_versions.model_digest(live)
        return {"schema": digest_file(place(parameters.data_schema)), "live model": digest}

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: EvaluatorParameters
    ) -> None:
        import numpy as np

        from rmtl_tf.evaluation.blessing import checks

        evaluation, predictions = _evaluate(inputs, parameters)
        outputs["evaluation"].mkdir(parents=True, exist_ok=True)
        np.savez_compressed(outputs["evaluation"] / "predictions.npz", **predictions)
        write_json(outputs["evaluation"] / "evaluation.json", evaluation)
        results = checks(evaluation, parameters.evaluation)
        blessed = all(check["passed"] for check in results)
        outputs["blessing"].mkdir(parents=True, exist_ok=True)
        write_json(outputs["blessing"] / "blessing.json", {"blessed": blessed, "checks": results})
        (outputs["blessing"] / ("BLESSED" if blessed else "NOT_BLESSED")).touch()


def _live(inputs: Mapping[str, Path], parameters: EvaluatorParameters) -> Path | None:
    candidate = serving_versions.model_digest(storage.held(inputs["model"]) / "Format-Serving")
    return serving_versions.latest_other_than(place(parameters.serving_directory), candidate)


def _evaluate(
    inputs: Mapping[str, Path], parameters: EvaluatorParameters
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of evaluation.json, and the arrays of predictions.npz."""
    import numpy as np

    from rmtl_tf.evaluation.slices import slice_metrics
    from rmtl_tf.features.graph import TransformGraph
    from rmtl_tf.features.spec import InputSpec
    from rmtl_tf.files import read_json
    from rmtl_tf.inputs import read_table
    from rmtl_tf.metrics.bootstrap import bootstrap
    from rmtl_tf.schema import read_schema
    from rmtl_tf.training.predict import Predictor
    from rmtl_tf.training.run import RUN_FILE, load_actor

    config = parameters.evaluation
    graph = TransformGraph.load(inputs["transform_graph"])
    run = read_json(inputs["model_run"] / RUN_FILE)
    spec = InputSpec.from_config(run["inputs"])
    test = read_table(inputs["transformed"] / "Split-test", spec, graph.labels, graph.timestamp)
    tasks, records = [task.name for task in graph.tasks], test.records
    probabilities = {}
    for arm in (entry["name"] for entry in run["arms"]):
        logits = Predictor(load_actor(inputs["model_run"], arm, graph), test)()
        probabilities[arm] = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    labels, session = test.labels[records], test.session[records]
    settings: dict[str, Any] = {
        "replicates": config.bootstrap,
        "confidence": config.confidence,
        "seed": parameters.seed,
    }
    on_records = {arm: values[records] for arm, values in probabilities.items()}
    numbers = bootstrap(labels, on_records, session, tasks, control=CONTROL, **settings)
    item = read_schema(parameters.data_schema).item
    evaluation = {
        "tasks": tasks,
        "arms": list(probabilities),
        "export": run["export"],
        "records": len(records),
        "sessions": len(np.unique(session)),
        "confidence": config.confidence,
        "bootstrap": config.bootstrap,
        **numbers,
        "slices": slice_metrics(test, probabilities[run["export"]], tasks, item),
        "baseline": None,
    }
    live = _live(inputs, parameters)
    if live is not None:
        evaluation["baseline"] = _against_live(
            live, inputs, parameters, on_records[run["export"]], labels, session
        )
    arrays = {f"probabilities/{arm}": values for arm, values in on_records.items()}
    return evaluation, {"labels": labels, "session": session, **arrays}


def _against_live(
    live: Path, inputs: Mapping[str, Path], parameters: EvaluatorParameters, candidate, labels, session
):
    """The `baseline` block of evaluation.json: the live model's metrics, and the paired difference to it."""
    from rmtl_tf.data.history import history_spec
    from rmtl_tf.evaluation.baseline import PushedModel
    from rmtl_tf.export.raw_records import raw_records
    from rmtl_tf.metrics.bootstrap import bootstrap
    from rmtl_tf.schema import read_schema

    config = parameters.evaluation
    schema = read_schema(parameters.data_schema)
    tasks = schema.task_names
    model = PushedModel(storage.local(live))
    # As far back as the pushed model looks, whatever the candidate does; its encoder is its own.
    history = None
    if model.history_length:
        looks = HistoryConfig(encoder="mean", length=model.history_length)
        history = history_spec(looks, parameters.feedback, schema)
    raw = raw_records(inputs["examples"] / "Split-test", schema, parameters.feedback, history)
    arms = {"candidate": candidate, PUSHED: model.probabilities(raw, tasks)}
    settings: dict[str, Any] = {
        "replicates": config.bootstrap,
        "confidence": config.confidence,
        "seed": parameters.seed,
    }
    numbers = bootstrap(labels, arms, session, tasks, control=PUSHED, **settings)
    metrics = {
        task: {name: entry["value"] for name, entry in of_task.items()}
        for task, of_task in numbers["metrics"][PUSHED].items()
    }
    return {
        "version": live.name,
        "path": str(live),
        "metrics": metrics,
        "mean_auc_difference": numbers["difference"]["candidate"]["mean"]["auc"],
    }
