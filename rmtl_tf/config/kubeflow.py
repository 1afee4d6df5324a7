"""What every step of the pipeline gets on Kubeflow: compiled into the pipeline, no parameter of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from rmtl_tf.config.base import Strict

Memory = Annotated[str, Field(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$")]
Cpu = Annotated[str, Field(pattern=r"^([0-9]+m|[0-9]*\.?[0-9]+)$")]


class StepResources(Strict):
    """What a container may use; none: as `default` says, or what is built in."""

    cpu: Cpu | None = Field(None, description='cores: "4", "500m"')
    memory: Memory | None = Field(None, description='"8Gi"; beyond it the container is killed')
    accelerator: str | None = Field(
        None, min_length=1, description="resource name, such as nvidia.com/gpu; on Vertex AI a type"
    )
    accelerators: int = Field(1, ge=1, le=64, description="how many of them")


# Enough for the public data sets (docs/kubeflow.md); logs of another size need their own.
_BUILT_IN = {
    "default": StepResources(cpu="1", memory="2Gi"),
    "ExampleGen": StepResources(cpu="2", memory="4Gi"),
    "Transform": StepResources(cpu="2", memory="4Gi"),
    "Trainer": StepResources(cpu="2", memory="8Gi"),
    "Evaluator": StepResources(cpu="2", memory="4Gi"),
}


class KubeflowConfig(Strict):
    """How the compiled pipeline runs (docs/kubeflow.md)."""

    resources: dict[str, StepResources] = Field(
        default_factory=dict,
        description="step -> what it gets; `default`: every step, for what it does not say itself",
    )
    retries: int = Field(2, ge=0, le=100, description="how often a step that failed is started again")
    backoff_seconds: int = Field(
        60, ge=0, le=86_400, description="before the first retry; then twice as long"
    )
    caching: bool = Field(
        True, description="reuse outputs of a step with the same inputs, parameters and image"
    )

    def of(self, step: str) -> StepResources:
        """What a step gets: its own, else `default`, else what is built in."""
        merged: dict[str, Any] = {}
        for table in (_BUILT_IN, self.resources):
            for name in ("default", step):
                if name in table:
                    merged |= table[name].model_dump(exclude_unset=True)
        return StepResources(**merged)
