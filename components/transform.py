"""Transform: maps raw session Examples to ids and scaled numbers, by rules fitted on the train split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from components.base import EXAMPLES, TRANSFORM_GRAPH, Component
from rmtl_tf.config import FeedbackConfig, Strict, TransformConfig
from rmtl_tf.files import digest_file
from rmtl_tf.places import place
from rmtl_tf.schema import read_schema


class TransformParameters(Strict):
    """How columns are transformed, and what is in them."""

    transform: TransformConfig
    feedback: FeedbackConfig = Field(description="as ExampleGen has it")
    data_schema: str = Field(alias="schema", description="schema file of the data set")
    beam: tuple[str, ...] = Field((), exclude=True, description="Beam's options; no part of the step's key")


class Transform(Component):
    """Fits the transform graph on train and applies it to every split, shard by shard."""

    INPUTS: ClassVar[Mapping[str, str]] = {"examples": EXAMPLES}
    OUTPUTS: ClassVar[Mapping[str, str]] = {"transform_graph": TRANSFORM_GRAPH, "transformed": EXAMPLES}
    PARAMETERS: ClassVar[type[Strict]] = TransformParameters

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: TransformParameters) -> dict[str, str]:
        schema = read_schema(parameters.data_schema)
        parameters.transform.check_features([f.name for f in schema.inputs if f.kind == "categorical"])
        return {"schema": digest_file(place(parameters.data_schema))}

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: TransformParameters
    ) -> None:
        from rmtl_tf.data.feedback import feedback_columns
        from rmtl_tf.data.splits import SPLITS, split_dir
        from rmtl_tf.data.tfds.metadata import transformed_columns, write_metadata
        from rmtl_tf.data.transform import analyze, transform
        from rmtl_tf.features.graph import TransformGraph

        schema = read_schema(parameters.data_schema)
        feedback = feedback_columns(parameters.feedback, schema)
        analyze(
            split_dir(inputs["examples"], "train"),
            schema,
            feedback,
            parameters.transform,
            outputs["transform_graph"],
            parameters.beam,
        )
        raw, transformed = inputs["examples"], outputs["transformed"]
        splits = {split_dir(raw, split): split_dir(transformed, split) for split in SPLITS}
        transform(splits, schema, feedback, outputs["transform_graph"], parameters.beam)
        write_metadata(
            transformed,
            f"{place(parameters.data_schema).stem}_transformed",
            transformed_columns(TransformGraph.load(outputs["transform_graph"])),
            "Transformed session records: lists hold an id or a number for each step of a session window.",
        )
