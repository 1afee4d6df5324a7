"""A training as a file: what the chief and every worker run as `python -m rmtl_tf.training.job`."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

from pydantic import Field

from rmtl_tf.config import FeedbackConfig, ModelConfig, Strict, TrainingConfig
from rmtl_tf.errors import UserError, from_system
from rmtl_tf.files import digest_json, read_json
from rmtl_tf.tensorflow_noise import quiet_import

MENDABLE, LOST = 2, 75  # exit codes: an error for a person; another process of the cluster is gone

log = logging.getLogger(__name__)


class TrainingJob(Strict):
    """What is trained, from what, and where the results go; the same for every process."""

    transformed: str = Field(description="folder with Split-train and Split-validation")
    transform_graph: str = Field(description="folder")
    data_schema: str = Field(description="schema file")
    feedback: FeedbackConfig
    model: ModelConfig
    training: TrainingConfig
    seed: int
    directory: str = Field(description="where the run is written")
    earlier: str | None = Field(description="outputs of a Trainer that the model starts from")


def train(job: TrainingJob) -> None:
    """Reads this process's parts of the data and trains, on the cluster of `training.strategy`.

    Raises:
        UserError: for anything a person can mend.
    """
    from dataclasses import replace

    from rmtl_tf.backbones import build_backbone
    from rmtl_tf.data.history import history_spec
    from rmtl_tf.features.compression import compression_of
    from rmtl_tf.features.graph import TransformGraph
    from rmtl_tf.inputs import read_table
    from rmtl_tf.schema import read_schema
    from rmtl_tf.training.networks import build
    from rmtl_tf.training.parts import read_parts
    from rmtl_tf.training.problem import Problem
    from rmtl_tf.training.record_place import spill_folder
    from rmtl_tf.training.run import make_deterministic, run_training
    from rmtl_tf.training.strategy import check_strategy, make_cluster
    from rmtl_tf.training.warm_start import start_weights

    check_strategy(job.training)
    cluster = make_cluster(job.training)
    make_deterministic(job.seed)
    digest = {"job": int(digest_json(job.model_dump(mode="json"))[:12], 16)}
    if cluster.agree(digest) != digest:
        raise UserError(
            "training: this worker was given another configuration, data or folder than the chief. Start "
            "both with the same --config and --set, on one file system."
        )
    graph = TransformGraph.load(Path(job.transform_graph))
    schema = read_schema(job.data_schema)
    history = history_spec(job.model.history, job.feedback, schema)
    compression = compression_of(job.model.compression, graph.input_spec().categorical)
    spec = replace(graph.input_spec(), history=history, compression=compression)
    columns = (spec, graph.labels, graph.timestamp)
    validation = read_table(Path(job.transformed) / "Split-validation", *columns)
    train_split = Path(job.transformed) / "Split-train"
    spill = spill_folder(job.training.records, train_split, *columns, Path(job.directory))
    if job.training.shards == 1:
        train_table = read_table(train_split, *columns, spill=spill)
        problem = Problem(spec, graph.tasks, train_table, validation)
    else:
        own = cluster.own_parts(job.training.shards)
        table, parts = read_parts(train_split, *columns, job.training.shards, own, spill)
        problem = Problem(spec, graph.tasks, table, validation, parts.exchanged(cluster.gather))
    start = None
    if job.earlier is not None:
        backbone = build_backbone(job.model, spec, graph.tasks, job.seed)
        build(backbone, spec)
        start, known = start_weights(Path(job.earlier), backbone, graph)
        shares = ", ".join(f"{name} {share:.1%}" for name, share in known.items())
        log.info("warm start from %s; values it knows: %s", job.earlier, shares)
    directory = Path(job.directory)
    run_training(
        problem, graph, schema.item, job.model, job.training, job.seed, directory, start, cluster=cluster
    )


def main(file: str, message: str) -> int:
    """Runs the job in `file`; what a person can mend is written to the file `message`. An exit code."""
    _end_with(os.getppid())
    job = TrainingJob(**read_json(Path(file)))
    try:
        train(job)
    except Exception as error:
        if isinstance(error, UserError) or (mended := from_system(error, Path(job.directory))):
            Path(message).write_text(str(error if isinstance(error, UserError) else mended), encoding="utf-8")
            return MENDABLE
        if _is_lost(error):
            log.warning("another process of the cluster is gone: %s", str(error).splitlines()[0])
            return LOST
        raise
    return 0


def _is_lost(error: Exception) -> bool:
    import tensorflow as tf

    errors = tf.errors
    kinds = (
        errors.UnavailableError,
        errors.AbortedError,
        errors.DeadlineExceededError,
        errors.CancelledError,
    )
    # Which error a broken connection becomes depends on who notices it first.
    return isinstance(error, kinds) or (
        isinstance(error, errors.OpError) and "Collective ops is aborted" in str(error)
    )


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent: a killed run leaves nobody at work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(LOST)

    threading.Thread(target=watch, daemon=True).start()


def serve(strategy: str) -> None:
    """A worker or a parameter server: does what the coordinator sends, until its parent ends it."""
    from rmtl_tf.training.strategy import own_task

    _end_with(os.getppid())
    task = own_task(strategy)
    import tensorflow as tf

    tf.distribute.Server(
        tf.train.ClusterSpec(task.cluster),
        job_name=task.kind,
        task_index=task.index,
        protocol="grpc",
        start=True,
    ).join()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quiet_import("tensorflow")
    with contextlib.suppress(KeyboardInterrupt):
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("rmtl_tf").setLevel(logging.INFO)
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
        log = logging.getLogger("rmtl_tf.training.job")
        if sys.argv[1] == "--serve":
            serve(sys.argv[2])
        sys.exit(main(*sys.argv[1:]))
