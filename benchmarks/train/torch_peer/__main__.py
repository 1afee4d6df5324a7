"""The worker that trains in PyTorch: eager, dense fused Adam, as many threads as there are cores."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch

from benchmarks.train.serve import serve
from benchmarks.train.setting import LEARNING_RATE, Setting
from benchmarks.train.torch_peer.models import MODELS


class TorchModel:
    """A model, Adam on all of it, and its batches."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(setting.seed)
        ids, labels = setting.records()
        self.batches = list(zip(torch.from_numpy(ids), torch.from_numpy(labels), strict=True))
        self.model = MODELS[setting.backbone](setting)
        self.optimizer = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, fused=True)
        self.done = 0

    def steps(self, count: int) -> float:
        self.model.train()
        began = time.perf_counter()
        for _ in range(count):
            ids, labels = self.batches[self.done % len(self.batches)]
            self.optimizer.zero_grad()
            self.model.loss(ids, labels).backward()
            self.optimizer.step()
            self.done += 1
        return time.perf_counter() - began

    def loss(self, ids: np.ndarray, labels: np.ndarray) -> float:
        self.model.eval()
        with torch.no_grad():
            return float(self.model.loss(torch.from_numpy(ids), torch.from_numpy(labels)))

    def logits(self, ids: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.no_grad():
            return self.model(torch.from_numpy(ids)).numpy()

    def set_weights(self, **weights: np.ndarray) -> None:
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


class Torch:
    def make(self, setting: Setting) -> TorchModel:
        return TorchModel(setting)

    def describe(self) -> dict[str, Any]:
        return {"version": f"PyTorch {torch.__version__}", "threads": torch.get_num_threads()}


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    serve(Torch())
