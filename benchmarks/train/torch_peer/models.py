"""Every backbone of `rmtl_tf.backbones` as one would write it in PyTorch.

Attributes are called as in ours, so that weights are carried over by name; what each model is, its papers and
its settings stand there.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.train.setting import Setting
from benchmarks.train.torch_peer.layers import (
    AdaptiveTransfer,
    CrossStitchUnit,
    Experts,
    Extraction,
    Fields,
    Gate,
    GateNU,
    PersonalTower,
    Towers,
    mix,
    mlp,
)


class Model(nn.Module):
    """Ids [N, F] -> logits [N, K]; `loss` is the mean over records and tasks."""

    def __init__(self, s: Setting) -> None:
        super().__init__()
        self.s = s
        self.embedding = Fields(s.rows, s.fields, s.width)

    def towers_on(self, inputs: int) -> Towers:
        return Towers(self.s.tasks, inputs, self.s.tower, self.s.dropout)

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self(ids), labels)


class SharedBottom(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.shared = mlp(s.state, s.bottom, s.dropout)
        self.towers = self.towers_on(s.bottom[-1])

    def forward(self, ids: Tensor) -> Tensor:
        return self.towers([self.shared(self.embedding(ids))] * self.s.tasks)


class SingleTask(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        del self.embedding
        tasks = range(s.tasks)
        self.embeddings = nn.ModuleList(Fields(s.rows, s.fields, s.width) for _ in tasks)
        self.bottoms = nn.ModuleList(mlp(s.state, s.bottom, s.dropout) for _ in tasks)
        self.towers = self.towers_on(s.bottom[-1])

    def forward(self, ids: Tensor) -> Tensor:
        pairs = zip(self.embeddings, self.bottoms, strict=True)
        return self.towers([bottom(embedding(ids)) for embedding, bottom in pairs])


class CrossStitch(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        widths = [s.state, *s.bottom, *s.tower]
        layers = list(pairwise(widths))
        self.hidden = nn.ModuleList(
            mlp(inputs, (width,), s.dropout) for inputs, width in layers for _ in range(s.tasks)
        )
        self.stitches = nn.ModuleList(CrossStitchUnit(s.tasks, width) for width in widths[1:])
        self.towers = Towers(s.tasks, widths[-1], (), s.dropout)

    def forward(self, ids: Tensor) -> Tensor:
        tasks = self.s.tasks
        states = [self.embedding(ids)] * tasks
        for i, stitch in enumerate(self.stitches):
            layers = self.hidden[i * tasks : (i + 1) * tasks]
            states = stitch([layer(state) for layer, state in zip(layers, states, strict=True)])
        return self.towers(states)


class MMoE(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.mixture = Experts(s.experts, s.state, s.bottom, s.dropout)
        self.gates = nn.ModuleList(Gate(s.state, s.experts) for _ in range(self.gate_count()))
        self.towers = self.towers_on(s.bottom[-1])

    def gate_count(self) -> int:
        return self.s.tasks

    def forward(self, ids: Tensor) -> Tensor:
        state = self.embedding(ids)
        outputs = self.mixture(state)
        mixed = [mix(gate(state), outputs) for gate in self.gates]
        return self.towers(mixed * (self.s.tasks // len(mixed)))


class OMoE(MMoE):
    def gate_count(self) -> int:
        return 1


class PLE(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        inputs, levels = s.state, self.level_count()
        self.extractions = nn.ModuleList()
        for level in range(levels):
            sizes = (s.tasks, s.task_experts, s.shared_experts, inputs, s.bottom, s.dropout)
            self.extractions.append(Extraction(*sizes, shared_output=level < levels - 1))
            inputs = s.bottom[-1]
        self.towers = self.towers_on(inputs)

    def level_count(self) -> int:
        return self.s.levels

    def forward(self, ids: Tensor) -> Tensor:
        states = [self.embedding(ids)] * (self.s.tasks + 1)
        for extraction in self.extractions:
            states = extraction(states)
        return self.towers(states)


class CGC(PLE):
    def level_count(self) -> int:
        return 1


class ESMM(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.bottoms = nn.ModuleList(mlp(s.state, s.bottom, s.dropout) for _ in range(s.tasks))
        self.towers = self.towers_on(s.bottom[-1])

    def conditional(self, state: Tensor) -> Tensor:
        return self.towers([bottom(state) for bottom in self.bottoms])

    def chain(self, own: Tensor) -> Tensor:
        """The logits of the products of probabilities along the funnel."""
        logits: list[Tensor] = []
        for logit, parent in zip(own.unbind(1), self.s.parents, strict=True):
            logits.append(logit if parent < 0 else product_logit(logits[parent], logit))
        return torch.stack(logits, dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.chain(self.conditional(self.embedding(ids)))


def product_logit(a: Tensor, b: Tensor) -> Tensor:
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)


class ESCM2(ESMM):
    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        state = self.embedding(ids)
        own = self.conditional(state)
        logits = self.chain(own)
        children = [k for k, parent in enumerate(self.s.parents) if parent >= 0]
        parents = [self.s.parents[k] for k in children]
        propensity = torch.sigmoid(logits[:, parents]).detach()
        weights = labels[:, parents] / propensity.clamp(min=1 / 15)
        bce = functional.binary_cross_entropy_with_logits
        errors = bce(own[:, children], labels[:, children], reduction="none")
        risk = self.risks(state, errors, weights).sum(1).mean() / self.s.tasks
        return bce(logits, labels) + self.s.counterfactual_weight * risk

    def risks(self, state: Tensor, errors: Tensor, weights: Tensor) -> Tensor:
        return weights * errors


class ESCM2DR(ESCM2):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        children = sum(parent >= 0 for parent in s.parents)
        self.imputation_bottoms = nn.ModuleList(mlp(s.state, s.bottom, s.dropout) for _ in range(children))
        self.imputation_towers = Towers(children, s.bottom[-1], s.tower, s.dropout)

    def risks(self, state: Tensor, errors: Tensor, weights: Tensor) -> Tensor:
        hidden = [bottom(state) for bottom in self.imputation_bottoms]
        imputed = functional.softplus(self.imputation_towers(hidden))
        difference = errors - imputed
        return imputed + weights * difference + weights * difference**2


class DBMTL(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.shared = mlp(s.state, s.bottom, s.dropout)
        self.specific = nn.ModuleList(mlp(s.bottom[-1], s.tower, s.dropout) for _ in range(s.tasks))
        widths: list[int] = []
        self.relations = nn.ModuleDict()
        for k, parent in enumerate(s.parents):
            if parent >= 0:
                self.relations[str(k)] = mlp(s.tower[-1] + widths[parent], s.relation, s.dropout)
            widths.append(s.tower[-1] if parent < 0 else s.relation[-1])
        if len(set(widths)) > 1:
            raise ValueError(f"towers read hidden states of one width, received {widths}")
        self.towers = Towers(s.tasks, widths[0], (), s.dropout)

    def forward(self, ids: Tensor) -> Tensor:
        shared = self.shared(self.embedding(ids))
        hidden: list[Tensor] = []
        for k, parent in enumerate(self.s.parents):
            own = self.specific[k](shared)
            if parent >= 0:
                own = self.relations[str(k)](torch.cat([own, hidden[parent]], dim=1))
            hidden.append(own)
        return self.towers(hidden)


class AITM(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        width = s.bottom[-1]
        self.bottoms = nn.ModuleList(mlp(s.state, s.bottom, s.dropout) for _ in range(s.tasks))
        self.transfers = nn.ModuleDict(
            {str(k): mlp(width, (width,), s.dropout) for k, parent in enumerate(s.parents) if parent >= 0}
        )
        self.attention = AdaptiveTransfer(width)
        self.towers = self.towers_on(width)

    def forward(self, ids: Tensor) -> Tensor:
        state = self.embedding(ids)
        states: list[Tensor] = []
        for k, parent in enumerate(self.s.parents):
            own = self.bottoms[k](state)
            if parent >= 0:
                own = self.attention(torch.stack([self.transfers[str(k)](states[parent]), own], dim=1))
            states.append(own)
        return self.towers(states)

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        logits = self(ids)
        children = [k for k, parent in enumerate(self.s.parents) if parent >= 0]
        probabilities = torch.sigmoid(logits)
        excess = probabilities[:, children] - probabilities[:, [self.s.parents[k] for k in children]]
        calibrator = torch.relu(excess).sum(1).mean() / self.s.tasks
        entropy = functional.binary_cross_entropy_with_logits(logits, labels)
        return entropy + self.s.calibrator_weight * calibrator


class PEPNet(Model):
    IDS = 2  # the first fields are the user and the item

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        domain, prior = ((s.fields - self.IDS) * s.width, self.IDS * s.width)
        widths = (*s.bottom, *s.tower)
        self.epnet = GateNU(domain + s.state, s.state)
        self.towers = nn.ModuleList(
            PersonalTower(s.state, prior + s.state, widths, s.dropout) for _ in range(s.tasks)
        )

    def forward(self, ids: Tensor) -> Tensor:
        state = self.embedding(ids)
        personal, domain = state.split(
            [self.IDS * self.s.width, (self.s.fields - self.IDS) * self.s.width], 1
        )
        scaled = self.epnet(torch.cat([domain, state.detach()], dim=1)) * state
        prior = torch.cat([personal, scaled.detach()], dim=1)
        return torch.cat([tower(scaled, prior) for tower in self.towers], dim=1)


class STEM(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.task_embeddings = nn.ModuleList(Fields(s.rows, s.fields, s.width) for _ in range(s.tasks))
        self.sizes = [s.task_experts] * s.tasks + [s.shared_experts]
        self.experts = nn.ModuleList(Experts(count, s.state, s.bottom, s.dropout) for count in self.sizes)
        self.gates = nn.ModuleList(Gate(s.state, sum(self.sizes)) for _ in range(s.tasks))
        self.towers = self.towers_on(s.bottom[-1])

    def forward(self, ids: Tensor) -> Tensor:
        states = [embedding(ids) for embedding in (*self.task_embeddings, self.embedding)]
        outputs = [experts(state) for experts, state in zip(self.experts, states, strict=True)]
        stopped = [output.detach() for output in outputs]
        mixed = []
        for k, gate in enumerate(self.gates):
            seen = [outputs[j] if j in (k, len(self.gates)) else stopped[j] for j in range(len(outputs))]
            mixed.append(mix(gate(states[k] + states[-1]), torch.cat(seen, dim=1)))
        return self.towers(mixed)


class MetaHeac(Model):
    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.task_embedding = nn.Embedding(s.tasks, s.width)
        self.mixture = Experts(s.experts, s.state, s.bottom, s.dropout)
        self.critics = Towers(s.critic_heads, s.bottom[-1], s.tower, s.dropout)
        hidden = s.bottom[-1]
        self.gate_hidden = nn.ModuleList(mlp(2 * s.width, (hidden,), 0.0) for _ in range(2))
        self.gates = nn.ModuleList(Gate(hidden, count) for count in (s.experts, s.critic_heads))

    def forward(self, ids: Tensor) -> Tensor:
        state, tasks = self.embedding(ids), self.s.tasks
        record = state.view(len(ids), self.s.fields, self.s.width).mean(1)
        task = self.task_embedding.weight.unsqueeze(1).expand(-1, len(ids), -1)
        condition = torch.cat([record.expand(tasks, -1, -1), task], dim=2).flatten(0, 1)  # [K * N, 2 D]
        experts, critics = (
            gate(net(condition)) for gate, net in zip(self.gates, self.gate_hidden, strict=True)
        )
        outputs = self.mixture(state)
        mixed = torch.einsum("kne,new->knw", experts.unflatten(0, (tasks, -1)), outputs).flatten(0, 1)
        heads = self.critics([mixed] * self.s.critic_heads)
        return mixture_logit(critics, heads).view(tasks, -1).T


def mixture_logit(weights: Tensor, logits: Tensor) -> Tensor:
    log = weights.clamp(min=1e-30).log()
    positive = torch.logsumexp(log + functional.logsigmoid(logits), dim=1)
    return positive - torch.logsumexp(log + functional.logsigmoid(-logits), dim=1)


MODELS: dict[str, type[Model]] = {
    "shared_bottom": SharedBottom,
    "single_task": SingleTask,
    "cross_stitch": CrossStitch,
    "omoe": OMoE,
    "mmoe": MMoE,
    "cgc": CGC,
    "ple": PLE,
    "esmm": ESMM,
    "escm2_ips": ESCM2,
    "escm2_dr": ESCM2DR,
    "dbmtl": DBMTL,
    "aitm": AITM,
    "pepnet": PEPNet,
    "stem": STEM,
    "metaheac": MetaHeac,
}
