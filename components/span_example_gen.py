"""ExampleGen for logs that grow: a step for every span, and one that joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from components.base import Component
from components.example_gen import ExampleGen, ExampleGenParameters, FileExampleGen, describe_examples
from rmtl_tf import storage
from rmtl_tf.config import DataConfig, SpansConfig, Strict
from rmtl_tf.places import place


class SpanParameters(ExampleGenParameters):
    """As ExampleGen's, for the logs of one span; how spans are divided plays no part."""

    span: str = Field(description="name of the span")


class SpanExampleGen(FileExampleGen):
    """Reads the logs of one span: all sessions in one split, for `JoinSpans`."""

    PARAMETERS = SpanParameters

    @property
    def name(self) -> str:
        return f"{ExampleGen.__name__}-{self.parameters.span}"  # type: ignore[attr-defined]

    @staticmethod
    def execute(
        inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: ExampleGenParameters
    ) -> None:
        from rmtl_tf.data.ingest import ingest
        from rmtl_tf.schema import read_schema

        assert isinstance(parameters, SpanParameters)
        data = parameters.data
        ingest(
            storage.local(place(data.path or "")),
            outputs["examples"],
            outputs["statistics"],
            data,
            read_schema(data.data_schema),
            options=parameters.beam,
            log_span=parameters.span,
        )


class JoinParameters(Strict):
    """Which spans, oldest first, and how they are divided."""

    data: DataConfig
    spans: tuple[str, ...]


class JoinSpans(Component):
    """Joins the Examples of spans: to the steps after it, it is the ExampleGen."""

    OUTPUTS = ExampleGen.OUTPUTS
    PARAMETERS = JoinParameters

    def __init__(self, parameters: JoinParameters, steps: Sequence[SpanExampleGen]) -> None:
        inputs = {f"{key}-{s.parameters.span}": output for s in steps for key, output in s.outputs.items()}  # type: ignore[attr-defined]
        self.INPUTS = {key: output.type for key, output in inputs.items()}  # type: ignore[misc]
        super().__init__(parameters, inputs)

    @property
    def name(self) -> str:
        return ExampleGen.__name__

    @staticmethod
    def external(inputs: Mapping[str, Path], parameters: JoinParameters) -> dict[str, str]:
        from rmtl_tf.files import digest_file

        return {"schema": digest_file(place(parameters.data.data_schema))}

    @staticmethod
    def execute(inputs: Mapping[str, Path], outputs: Mapping[str, Path], parameters: JoinParameters) -> None:
        from rmtl_tf.data.feedback import feedback_columns
        from rmtl_tf.data.growing import join_spans
        from rmtl_tf.schema import read_schema

        data = parameters.data
        schema = read_schema(data.data_schema)
        parts = {
            span: (inputs[f"examples-{span}"], inputs[f"statistics-{span}"]) for span in parameters.spans
        }
        feedback = feedback_columns(data.feedback, schema)
        join_spans(parts, data.spans, schema, feedback, outputs["examples"], outputs["statistics"])
        describe_examples(outputs["examples"], data)


def span_steps(data: DataConfig, beam: Sequence[str] = ()) -> tuple[list[Component], JoinSpans]:
    """The steps for a `data.path` with `{SPAN}`: one for each span there is now, and the one that joins them.

    Raises:
        UserError: there are too few spans.
    """
    from rmtl_tf.data.growing import find_spans

    spans = find_spans(data.path or "", data.spans)
    general = ExampleGenParameters.of(data, beam).data
    steps = [
        SpanExampleGen(
            SpanParameters(
                data=general.model_copy(update={"path": str(span.path), "spans": SpansConfig()}),
                beam=tuple(beam),
                span=span.name,
            )
        )
        for span in spans
    ]
    names = tuple(span.name for span in spans)
    return list(steps), JoinSpans(JoinParameters(data=general, spans=names), steps)
