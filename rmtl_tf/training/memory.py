"""How much memory a training will need, told before anything of size is made.

What grows with the catalogue are embedding tables, and everything that exists once for each of their rows:
moments of the optimizer, targets, critics, the best weights so far. So a stage of training is a list of
networks with how many copies of their weights are alive at its peak; a network is the width of its tables and
the number of its other weights. `rmtl_tf.training.memory_limit` compares the sum with what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np

from rmtl_tf.backbones import build_backbone
from rmtl_tf.config import ArmConfig, CriticConfig, ModelConfig, TrainingConfig
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.inputs import RecordTable
from rmtl_tf.layers import FieldEmbedding
from rmtl_tf.rl.agents import AGENTS
from rmtl_tf.rl.critic_forms import build_critic
from rmtl_tf.training.critics import needs_critic
from rmtl_tf.training.networks import build
from rmtl_tf.training.phases import critic_name
from rmtl_tf.training.problem import Problem

FLOAT = 4  # bytes
RUNTIME = 384 << 20  # traced functions, threads, buffers: measured, whatever the size of the tables
ACTIVATIONS = 3  # floats a unit and record: its output, its gradient, one more for masks and intermediates


# Rule of tables (docs/optimizers.md) -> copies of a table it keeps between steps. A step of one that visits
# rows makes none; "dense" has the dense gradient and intermediate results of that size, about four (measured:
# benchmarks/train/big_tables.py, 4 M rows of width 32). Putting the best weights back takes one.
_KEPT = {"adam_lazy": 2.0, "adam": 2.0, "adagrad": 1.0, "adagrad_rowwise": 0.1, "ftrl": 2.0, "dense": 2.0}
_DENSE_STEP, _SPARSE_STEP = 5.0, 1.0


def optimizer_copies(rule: str, followed: bool = False) -> tuple[float, float]:
    """Of the optimizer, copies of the tables it trains: kept between steps, and made for the time of a step.

    Args:
        rule: `training.optimizer.tables`.
        followed: a target network follows what is trained; then exact Adam visits all rows.
    """
    dense = rule == "dense" or (rule == "adam" and followed)
    return _KEPT[rule], _DENSE_STEP if dense else _SPARSE_STEP


@dataclass(frozen=True)
class Network:
    """The weights of a network.

    Attributes:
        width: of all its embedding tables together; each table has a row for every id.
        others: number of weights that are in no table.
        units: number of outputs of its layers, which a batch holds for every record.
    """

    width: int
    others: int
    units: int

    def bytes(self, rows: int) -> int:
        """Of one copy of its weights with tables of `rows` rows."""
        return FLOAT * (self.width * rows + self.others)


@dataclass(frozen=True)
class Part:
    """What a stage holds: `copies` of a network's weights."""

    what: str
    network: Network
    copies: float


@dataclass(frozen=True)
class Stage:
    """A part of training and what it holds at its peak."""

    name: str
    parts: tuple[Part, ...]

    def bytes(self, rows: int) -> int:
        return sum(round(part.copies * part.network.bytes(rows)) for part in self.parts)


@dataclass(frozen=True)
class Estimate:
    """The memory of a training, beyond what the process holds before it.

    Attributes:
        tables: input -> rows of its table.
        width: model.embedding_dim.
        stages: all of them.
        batches: bytes of copies of the records' labels for TensorFlow and of the activations of a batch.
    """

    tables: Mapping[str, int]
    width: int
    stages: tuple[Stage, ...]
    batches: int

    @property
    def rows(self) -> int:
        return sum(self.tables.values())

    def peak(self, rows: int | None = None) -> int:
        """Bytes at the peak, with tables of `rows` rows in place of its own."""
        rows = self.rows if rows is None else rows
        return RUNTIME + self.batches + max(stage.bytes(rows) for stage in self.stages)


def estimate(problem: Problem, model: ModelConfig, training: TrainingConfig, warm: bool = False) -> Estimate:
    """What training will hold.

    Args:
        warm: it starts from weights of an earlier model.
    """
    spec, rule = problem.spec, training.optimizer.tables
    actor, width = _actor(problem, model)
    critics = _critics(problem, training, width)
    earlier = (Part("earlier model", actor, 1),) if warm else ()
    stages = [Stage("pretrain", (*earlier, *_learning("actor", actor, rule)))]
    base = (*earlier, Part("pretrained weights", actor, 1))
    made: list[str] = []
    for place, arm in enumerate(training.arms):
        later = {_critic_key(training, other) for other in training.arms[place:] if needs_critic(other)}
        loaded = {_critic_key(training, other) for other in training.arms if other.saved_critic is not None}
        made = [name for name in made if name in later]
        idle = tuple(Part("critic", critics[name], 1) for name in {*made, *(loaded & later)})
        name = _critic_key(training, arm)
        if arm.agent.name != "rmtl":
            pair = (Part("target actor", actor, 1), Part("target critic", critics[name], 1))
            both = (
                *_learning("actor", actor, rule, followed=True),
                *_learning("critic", critics[name], rule, best=False, followed=True),
            )
            stages.append(Stage(arm.name, (*base, *idle, *both, *pair)))
            continue
        if needs_critic(arm) and name not in made:
            if name not in loaded:
                learning = (
                    *_learning("critic", critics[name], rule, followed=True),
                    Part("target critic", critics[name], 1),
                )
                stages.append(Stage(f"critic of {arm.name}", (*base, *idle, *learning)))
                idle = (*idle, Part("critic", critics[name], 1))
            made.append(name)
        stages.append(Stage(f"finetune-{arm.name}", (*base, *idle, *_learning("actor", actor, rule))))
    tables = {name: spec.layout(name).rows for name, _ in spec.categorical}
    units = max(network.units for network in (actor, *critics.values()))
    batch = FLOAT * ACTIVATIONS * training.batch_size * units
    # At a time there are two copies of the train table's columns for TensorFlow, and one of validation's;
    # features are looked up where they are.
    records = 2 * _size(problem.train) + _size(problem.validation)
    return Estimate(tables, model.embedding_dim, tuple(stages), batch + records)


def measure(spec: InputSpec, make: Callable[[InputSpec], keras.layers.Layer]) -> Network:
    """A network's size by its tables, from one that is made with two ids an input.

    Args:
        make: spec -> the network, built.
    """
    small = replace(spec, categorical=tuple((name, 2) for name, _ in spec.categorical), compression=None)
    layer = make(small)
    embeddings = [part for part in layer._flatten_layers() if isinstance(part, FieldEmbedding)]
    in_tables = {id(embedding.table) for embedding in embeddings}
    others = [tuple(weight.shape) for weight in layer.weights if id(weight) not in in_tables]
    units = sum(int(np.prod(shape)) // shape[-2] for shape in others if len(shape) > 1)
    return Network(
        width=sum(embedding.width for embedding in embeddings if embedding.table is not None),
        others=sum(int(np.prod(shape)) for shape in others),
        units=units + sum(embedding.state_width for embedding in embeddings),
    )


def _actor(problem: Problem, model: ModelConfig) -> tuple[Network, int]:
    """The backbone, and the width its critics' embeddings have (`Trainer.embedding_width`)."""
    widths = []

    def make(small: InputSpec) -> keras.layers.Layer:
        layer = build_backbone(model, small, problem.tasks, 0)
        build(layer, small)
        widths.append(layer.embedding.width if hasattr(layer, "embedding") else model.embedding_dim)
        return layer

    return measure(problem.spec, make), widths[0]


def _critics(problem: Problem, training: TrainingConfig, width: int) -> dict[str, Network]:
    """The critics of all arms by `_critic_key`; one that is loaded counts as the configured one."""
    networks: dict[str, Network] = {}
    for arm in training.arms:
        name = _critic_key(training, arm)
        if name in networks or (arm.agent.name == "rmtl" and not needs_critic(arm)):
            continue
        config = training.critic_of(arm)
        if arm.agent.name != "rmtl":
            config = config.model_copy(update={"form": AGENTS[arm.agent.name].FORM or config.form})

        def make(small: InputSpec, config: CriticConfig = config) -> keras.layers.Layer:
            return build_critic(config, small, len(problem.tasks), width)

        networks[name] = measure(problem.spec, make)
    return networks


def _critic_key(training: TrainingConfig, arm: ArmConfig) -> str:
    """Arms with the same share a critic; an agent that learns its own shares it with none."""
    if arm.agent.name != "rmtl":
        return f"{arm.agent.name} {arm.name}"
    return arm.saved_critic or critic_name(training.critic_of(arm))


def _learning(
    what: str, network: Network, rule: str, best: bool = True, followed: bool = False
) -> tuple[Part, ...]:
    """A network that is trained."""
    kept, step = optimizer_copies(rule, followed)
    parts = (
        Part(what, network, 1),
        Part(f"optimizer of the {what}", network, kept),
        Part(f"a step of the {what}", network, step),
    )
    if not best:
        return parts
    # TensorFlow's allocator keeps what the phase had while Keras copies the weights to write them.
    return (
        *parts,
        Part(f"best weights of the {what}", network, 1),
        Part(f"writing the weights of the {what}", network, 2),
    )


def _size(table: RecordTable) -> int:
    columns = [table.labels, table.done, table.length, table.lookahead]
    return sum(column.nbytes for column in columns)
