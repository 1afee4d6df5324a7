"""The parts of the PyTorch models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Fields(nn.Module):
    """An nn.Embedding a field; ids [N, F] -> state [N, F * D]."""

    def __init__(self, rows: int, fields: int, width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(fields))

    def forward(self, ids: Tensor) -> Tensor:
        return torch.cat([table(ids[:, i]) for i, table in enumerate(self.tables)], dim=1)


def mlp(inputs: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear, ReLU and dropout for every width."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([inputs, *widths]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class Towers(nn.ModuleList):
    """An MLP with one output for each task; K states [N, W] -> logits [N, K]."""

    def __init__(self, count: int, inputs: int, widths: Sequence[int], dropout: float) -> None:
        last = [inputs, *widths][-1]
        super().__init__(mlp(inputs, widths, dropout).append(nn.Linear(last, 1)) for _ in range(count))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return torch.cat([tower(state) for tower, state in zip(self, states, strict=True)], dim=1)


class Experts(nn.ModuleList):
    """MLPs on one input [N, I] -> [N, E, W]."""

    def __init__(self, count: int, inputs: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__(mlp(inputs, widths, dropout) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([expert(x) for expert in self], dim=1)


class Gate(nn.Linear):
    """Softmax of a linear map without bias; [N, I] -> [N, E]."""

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__(inputs, count, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x), dim=1)


def mix(gate: Tensor, experts: Tensor) -> Tensor:
    """Gate [N, E], experts [N, E, W] -> [N, W]."""
    return torch.einsum("ne,new->nw", gate, experts)


class Extraction(nn.Module):
    """A level of PLE; every expert is computed once."""

    def __init__(
        self,
        tasks: int,
        task_experts: int,
        shared_experts: int,
        inputs: int,
        widths: Sequence[int],
        dropout: float,
        shared_output: bool,
    ) -> None:
        super().__init__()
        counts = [task_experts] * tasks + [shared_experts]
        self.tasks = tasks
        self.experts = nn.ModuleList(Experts(count, inputs, widths, dropout) for count in counts)
        seen = [task_experts + shared_experts] * tasks + [sum(counts)] * shared_output
        self.gates = nn.ModuleList(Gate(inputs, count) for count in seen)

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        outputs = [experts(state) for experts, state in zip(self.experts, states, strict=True)]
        mixed = []
        for k, gate in enumerate(self.gates):
            seen = [outputs[k], outputs[-1]] if k < self.tasks else outputs
            mixed.append(mix(gate(states[k]), torch.cat(seen, dim=1)))
        return mixed


class GateNU(nn.Module):
    """PEPNet's gate: twice the sigmoid of a small network; [N, I] -> [N, units]."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, units)
        self.score = nn.Linear(units, units)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.score(torch.relu(self.hidden(x))))


class PersonalTower(nn.Module):
    """PEPNet's tower: hidden units scaled by gates; O_ep [N, I] and prior [N, P] -> logit [N, 1]."""

    def __init__(self, inputs: int, prior: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([inputs, *widths]))
        self.gates = nn.ModuleList(GateNU(prior, width) for width in widths)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        for dense, gate in zip(self.dense, self.gates, strict=True):
            x = self.drop(gate(prior) * torch.relu(dense(x)))
        return self.last(x)


class CrossStitchUnit(nn.Module):
    """K activations [N, W] -> K, each a combination of all."""

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((tasks, tasks, width), 1 / tasks))

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        return list(torch.einsum("ijw,jnw->inw", self.alpha, torch.stack(list(states))))


class AdaptiveTransfer(nn.Module):
    """AITM's attention over what was passed on and the task's own; [N, 2, W] -> [N, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = (self.query(x) * self.key(x)).sum(-1) / x.shape[-1] ** 0.5
        return torch.einsum("nu,nuw->nw", torch.softmax(scores, dim=1), self.value(x))
