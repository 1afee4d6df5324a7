"""The same model in PyTorch answering requests; runs in PyTorch's environment, prints one JSON line.

    {"eager" | "torchscript" | "compile": {batch: [milliseconds, ...]}, "probabilities": [[...]]}

`compile` is left out, and `"compile_error"` says why, where no C++ compiler is at hand.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks.train.setting import Setting
from benchmarks.train.torch_peer.models import MODELS


def main() -> None:
    """Reads {"setting", "weights": path, "ids": path, "batches", "repeats"} from stdin."""
    asked = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(os.cpu_count() or 1)
    setting = Setting.from_json(asked["setting"])
    model = MODELS[setting.backbone](setting).eval()
    with np.load(asked["weights"]) as stored:
        model.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files})
    ids = torch.from_numpy(np.load(asked["ids"]))
    result: dict[str, Any] = {}
    with torch.inference_mode():
        result["probabilities"] = torch.sigmoid(model(ids[:100])).tolist()
        traced = torch.jit.freeze(torch.jit.trace(model, ids[:2]))
        forms = {"eager": model, "torchscript": traced}
        try:
            compiled = torch.compile(model, dynamic=False)
            compiled(ids[:2])
            forms["compile"] = compiled
        except Exception as error:
            result["compile_error"] = str(error).strip().splitlines()[0]
        for name, form in forms.items():
            result[name] = {
                str(batch): _times(form, ids[:batch], asked["repeats"]) for batch in asked["batches"]
            }
    answers.write(json.dumps(result) + "\n")
    answers.flush()


def _times(form: Any, ids: torch.Tensor, repeats: int) -> list[float]:
    for _ in range(20):
        torch.sigmoid(form(ids)).numpy()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        torch.sigmoid(form(ids)).numpy()
        spent.append(1000 * (time.perf_counter() - began))
    return spent


if __name__ == "__main__":
    main()
