"""`training.strategy`: which cluster a training runs on, and what it refuses."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmtl_tf.config import TrainingConfig
from rmtl_tf.errors import UserError

if TYPE_CHECKING:
    from rmtl_tf.training.cluster import Cluster

MIRRORED, MULTI_WORKER, PARAMETER_SERVER = "mirrored", "multi_worker", "parameter_server"
_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Task:
    """This process in TF_CONFIG.

    Attributes:
        kind: "chief", "worker" or "ps".
        index: among its kind.
        cluster: kind -> addresses.
    """

    kind: str
    index: int
    cluster: dict[str, list[str]]

    @property
    def is_chief(self) -> bool:
        """The chief; worker 0 where the cluster names none."""
        return self.kind == "chief" or (
            "chief" not in self.cluster and (self.kind, self.index) == ("worker", 0)
        )


def own_task(strategy: str) -> Task:
    """This process's task, as the environment variable TF_CONFIG says.

    Raises:
        UserError: it is not set, is no such JSON, or does not fit the strategy.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        values = json.loads(text)
        cluster = {kind: list(map(str, values["cluster"][kind])) for kind in values["cluster"]}
        task = Task(values["task"]["type"], int(values["task"]["index"]), cluster)
        cluster[task.kind][task.index]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UserError(
            f"training.strategy: {strategy}: expected the environment variable TF_CONFIG like {_EXAMPLE}, "
            f"received {text or 'none'}. Set it for every process; docs/distributed.md has examples."
        ) from None
    wanted = {"chief", "worker", "ps"} if strategy == PARAMETER_SERVER else {"worker"}
    if not wanted <= set(cluster) or not set(cluster) <= {"chief", *wanted}:
        raise UserError(
            f"training.strategy: {strategy}: TF_CONFIG expected with the kinds {sorted(wanted)}, received "
            f"{sorted(cluster)}. docs/distributed.md has examples."
        )
    return task


def check_strategy(training: TrainingConfig) -> None:
    """Refuses what a batch that is split over replicas, or workers that do not wait, would change.

    Raises:
        UserError: naming the arm.
    """
    strategy = training.strategy
    if training.batch_size % training.shards:
        raise UserError(
            f"training.shards: expected a divisor of batch_size {training.batch_size}, received "
            f"{training.shards}. Change one of them."
        )
    if strategy == "none":
        return
    from rmtl_tf.weighting import GRADIENT_METHODS, build_weighting

    optimizer = training.optimizer
    if optimizer.tables == "adam":
        raise UserError(
            f"training.optimizer.tables: adam brings rows up to date where they are read, and with strategy "
            f"{strategy} every replica reads other rows. Take adam_lazy, or dense for the same result."
        )
    if optimizer.clip_norm is not None or optimizer.clip_variable_norm is not None:
        raise UserError(
            f"training.optimizer: expected no clipping with strategy {strategy}: each replica would clip its "
            "own part of the gradient. Remove clip_norm and clip_variable_norm."
        )
    for arm in training.arms:
        name, where = arm.weighting.name, f"training.strategy: {strategy}: arm {arm.name}: "
        if arm.agent.name != "rmtl":
            raise UserError(
                f"{where}expected the agent rmtl, received {arm.agent.name}, whose steps draw noise or take "
                "turns. Remove the arm, or train in one process: strategy none."
            )
        if name in GRADIENT_METHODS:
            raise UserError(
                f"{where}expected a weighting of losses, received the gradient method {name}, which needs "
                "each task's gradient of the whole batch. Remove the arm, or take strategy none."
            )
        if strategy == PARAMETER_SERVER and build_weighting(_plain(arm.weighting)).init(2):
            raise UserError(
                f"{where}expected a weighting without state, received {name}: workers do not wait for one "
                "another, so its state would mix their batches. Remove the arm, or take strategy "
                "multi_worker."
            )


def _plain(weighting: Any) -> Any:
    """The weighting with a power that can be built before tasks are known: state does not depend on it."""
    return weighting.model_copy(update={"power": 1.0})


def make_cluster(training: TrainingConfig) -> Cluster:
    """The cluster of this process. TensorFlow must not have run anything before.

    Raises:
        UserError: TF_CONFIG does not fit, or `shards` is no multiple of the replicas.
    """
    import tensorflow as tf

    from rmtl_tf.training.cluster import Cluster, Mirrored, ParameterServers

    strategy = training.strategy
    cluster: Cluster
    if strategy == MIRRORED:
        cluster = Mirrored(tf.distribute.MirroredStrategy(_devices(training.shards)))
    elif strategy == MULTI_WORKER:
        own_task(strategy)
        cluster = Mirrored(tf.distribute.MultiWorkerMirroredStrategy())
    elif strategy == PARAMETER_SERVER:
        workers = len(own_task(strategy).cluster["worker"])
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = ParameterServers(tf.distribute.ParameterServerStrategy(resolver), workers)
    else:
        cluster = Cluster()
    if training.shards % cluster.replicas:
        raise UserError(
            f"training.shards: expected a multiple of {strategy}'s {cluster.replicas} replicas, received "
            f"{training.shards}. Every replica takes an equal share of the parts of a batch."
        )
    return cluster


def _devices(shards: int) -> list[str]:
    """All GPUs; without one as many logical CPU devices as there are parts."""
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        return [f"GPU:{number}" for number in range(len(gpus))]
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration() for _ in range(shards)]
    tf.config.set_logical_device_configuration(cpu, logical)
    return [f"CPU:{number}" for number in range(shards)]
