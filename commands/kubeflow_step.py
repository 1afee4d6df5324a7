"""What kfp's executor loads in a step's container: a function for every step, under its name.

`python3 -m kfp.dsl.executor_main --component_module_path commands/kubeflow_step.py ...`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from components.kubeflow.interface import function
from components.kubeflow.step import run_step
from rmtl_tf.errors import UserError


def __getattr__(name: str) -> Callable[..., None]:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return function(name, _run)
    except KeyError:
        raise AttributeError(f"no step {name}") from None


def _run(step: str, given: Mapping[str, Any]) -> None:
    import pipeline

    pipeline.set_up_logging(debug=bool(os.environ.get("RMTL_TF_DEBUG")))
    try:
        run_step(step, given, pipeline.create_pipeline)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
