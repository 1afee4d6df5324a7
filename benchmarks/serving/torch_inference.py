"""The same model in PyTorch answering requests; runs in PyTorch's environment, prints one JSON line.

    {"milliseconds": {"eager" | "torchscript" | "compile": {"text" | "ids": {batch: [...]}}},
     "probabilities": [[...]], "missing": why `compile` is left out, or ""}

From text: lists of bytes, one look-up in a dict each, one tensor, the model, a numpy array. PyTorch has no
strings; a dict is the fastest look-up that Python has.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.train.setting import Setting
from benchmarks.train.torch_peer.models import MODELS

UNKNOWN, FIRST = 1, 2


def main() -> None:
    """Reads {"setting", "weights", "text", "vocabularies": paths, "batches", "repeats"} from stdin."""
    asked = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(os.cpu_count() or 1)
    setting = Setting.from_json(asked["setting"])
    model = MODELS[setting.backbone](setting).eval()
    with np.load(asked["weights"]) as stored:
        model.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files})
    columns, tables = _read(asked["text"]), _read(asked["vocabularies"])
    ids_of = {name: {value: FIRST + n for n, value in enumerate(values)} for name, values in tables.items()}

    def encode(rows: dict[str, list[bytes]]) -> torch.Tensor:
        return torch.tensor([[ids_of[f].get(value, UNKNOWN) for value in rows[f]] for f in ids_of]).T

    milliseconds: dict[str, Any] = {}
    missing = ""
    with torch.inference_mode():
        ids = encode(columns).contiguous()
        forms = {"eager": model, "torchscript": torch.jit.freeze(torch.jit.trace(model, ids[:2]))}
        try:
            compiled = torch.compile(model, dynamic=False)
            compiled(ids[:2])
            forms["compile"] = compiled
        except Exception as error:
            missing = f"compile ({str(error).strip().splitlines()[0]})"
        for name, form in forms.items():
            by_start = milliseconds[name] = {"text": {}, "ids": {}}
            for batch in asked["batches"]:
                rows = {field: values[:batch] for field, values in columns.items()}
                some = ids[:batch]
                calls: dict[str, Callable[[], Any]] = {
                    "text": lambda f=form, r=rows: torch.sigmoid(f(encode(r))).numpy(),
                    "ids": lambda f=form, i=some: torch.sigmoid(f(i)).numpy(),
                }
                for start, call in calls.items():
                    by_start[start][str(batch)] = _times(call, asked["repeats"])
        probabilities = torch.sigmoid(model(ids[:100])).tolist()
    answer = {"milliseconds": milliseconds, "probabilities": probabilities, "missing": missing}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _read(path: str) -> dict[str, list[bytes]]:
    with open(path, encoding="utf-8") as file:
        return {name: [value.encode() for value in values] for name, values in json.load(file).items()}


def _times(call: Callable[[], Any], repeats: int) -> list[float]:
    for _ in range(20):
        call()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - began))
    return spent


if __name__ == "__main__":
    main()
