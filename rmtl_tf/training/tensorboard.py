"""TensorBoard logs of training: scalars, omega histograms, HParams, configuration, item embeddings.

The groups of tags, in TensorBoard's order: `actor` and `critic` have a point an epoch, `final` one for each
arm, `omega`, `train_actor` and `train_critic` one every few batches. What a tag means stands in its
description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

OVERVIEW = "overview"
_MEANING = {
    "auc": "AUC on validation records; without a task: the mean over tasks, which stops training early",
    "logloss": "mean cross-entropy on validation records",
    "fit": "minus the mean squared difference of Q and the Monte-Carlo return on validation records; "
    "stops training early",
    "correlation": "correlation of Q with the Monte-Carlo return on validation records",
    "bias": "mean of Q minus the Monte-Carlo return; 0 is right",
    "q_mean": "mean of Q",
    "return_mean": "mean Monte-Carlo return of the actor whose value Q is: what the mean of Q should be",
    "gradient_norm": "norm of the gradient before the optimizer",
    "samples_per_second": "records trained on per second, padding included",
    "omega_mean": "mean weight of the records of a batch",
    "omega_std": "standard deviation of the weights of a batch",
    "omega_max": "largest weight of a batch",
}
_LOSS = {
    "actor": "training loss; without a task: weighted by omega, or what ddpg and td3_bc minimise; with one: "
    "plain cross-entropy",
    "critic": "training loss: squared TD error",
}
_GUIDE = """\
| run | what it is |
|---|---|
| `pretrain` | phase A: the actor, all weights 1 |
| `critic-<arms>` | phase B: the critic these arms share, learnt with the pretrained actor frozen |
| `finetune-<arm>` | phase C: the actor from its pretrained weights on, trained as the arm says |
| `finetune-<arm>-power<p>` | the same with power p for all tasks: a candidate, of which validation chooses |
| `scratch-<arm>` | an arm whose actor starts from new weights |
| `hparams/<arm>` | settings and final validation metrics of an arm, for the HParams tab |

| tags | point | what they are |
|---|---|---|
| `actor/validation_*`, `critic/validation_*` | epoch | metrics on validation records |
| `actor/train_loss*`, `critic/train_loss*` | epoch | mean training loss of the epoch |
| `critic/q_against_return/<task>` | epoch | picture: Q against the exact return; on the red line Q is right |
| `omega/<task>` | epoch | histogram of the weights on training records |
| `critic/*` of an arm | epoch | of an arm whose critic learns beside its actor: against that actor's return |
| `omega/mean`, `std`, `max` | batches | weights of a batch; absent where all weights are 1 |
| `train_actor/*`, `train_critic/*` | batches | loss, gradient norm, speed |
| `final/validation_*` | - | metrics of the weights an arm ends with: its best epoch, or the pretrained ones |

The Projector tab shows the item embeddings of the exported arm; its label `rank` is the item's rank by
frequency in the train split.
"""


class PhaseLogger:
    """Writes one phase: logs every `every` batches, losses and metrics after every epoch.

    Args:
        directory: log directory of the phase.
        every: batches between points.
        subject: what is trained, the group of its tags: losses of actors and critics do not compare.
        weighted: whether omega is worth a tag; False where it is 1 everywhere.
        extra: called after an epoch as `extra(epoch)` with the writer open, for histograms and pictures.
    """

    def __init__(
        self,
        directory: Path,
        every: int,
        subject: Literal["actor", "critic"],
        weighted: bool = False,
        extra: Callable[[int], None] | None = None,
    ) -> None:
        self.directory = directory
        self.writer = tf.summary.create_file_writer(str(directory))
        self.every, self.subject, self.weighted, self.extra = every, subject, weighted, extra
        self.step = self.size = self.batches = 0
        self.seconds = 0.0  # of the batches since the last point

    def start_epoch(self, epoch: int, step: int, batches: int, batch_size: int) -> None:
        """Called before an epoch goes on at batch `step` of `batches`."""
        self.step, self.size = epoch * batches + step, batch_size
        self.batches, self.seconds = 0, 0.0

    def on_batch(self, logs: Mapping[str, float], seconds: float) -> None:
        """Called after every batch with what it logged and the seconds it took."""
        self.step, self.batches, self.seconds = self.step + 1, self.batches + 1, self.seconds + seconds
        if self.step % self.every:
            return
        speed = self.batches * self.size / max(self.seconds, 1e-9)
        self.batches, self.seconds = 0, 0.0
        with self.writer.as_default(step=self.step):
            for logged, value in {**logs, "samples_per_second": speed}.items():
                subject, key = self._of(logged)
                name, slash, task = key.partition("/")
                if not name.startswith("omega_"):
                    self._scalar(f"train_{subject}/{key}", subject, name, value)
                elif self.weighted:
                    self._scalar(f"omega/{name.removeprefix('omega_')}{slash}{task}", subject, name, value)

    def on_evaluation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Called after the validation of an epoch, counted from 1.

        Args:
            metrics: the epoch's means of the batches' logs, and the validation metrics. Of the means only
                the losses are written: the others are in the batches' tags.
        """
        with self.writer.as_default(step=epoch):
            for logged, value in metrics.items():
                subject, key = self._of(logged)
                name = key.partition("/")[0]
                if name == "gradient_norm" or name.startswith("omega_"):
                    continue
                split = "train" if name == "loss" else "validation"
                self._scalar(f"{subject}/{split}_{key}", subject, name, value)
            if self.extra is not None:
                self.extra(epoch)
        self.writer.flush()

    def _of(self, key: str) -> tuple[str, str]:
        """Whom a number is of, and its own key: an agent that learns both logs its critic as `critic/...`."""
        of_critic = key.startswith("critic/")
        return ("critic" if of_critic else self.subject), key.removeprefix("critic/")

    def _scalar(self, tag: str, subject: str, name: str, value: float) -> None:
        meaning = _LOSS[subject] if name == "loss" else _MEANING.get(name)
        tf.summary.scalar(tag, float(value), description=meaning)


def critic_run(arms: Sequence[str]) -> str:
    """The run of the critic that `arms` share: `critic-<arm>+<arm>`; of many arms the first three."""
    more = f"+{len(arms) - 3}_more" if len(arms) > 3 else ""
    return f"critic-{'+'.join(arms[:3])}{more}"


def write_histograms(omega: np.ndarray, tasks: Sequence[str], step: int) -> None:
    """Histograms of omega [n, K], one a task; call with a writer as default."""
    for k, task in enumerate(tasks):
        tf.summary.histogram(
            f"omega/{task}", omega[:, k], step=step, description="weights of a sample of training records"
        )


def write_value_plot(q: np.ndarray, returns: np.ndarray, tasks: Sequence[str], step: int) -> None:
    """Pictures of Q against the Monte-Carlo return, both [n, K], one a task; as `write_histograms`."""
    for k, task in enumerate(tasks):
        picture = tf.io.decode_png(_value_plot(q[:, k], returns[:, k], task), channels=3)
        tf.summary.image(f"critic/q_against_return/{task}", picture[tf.newaxis], step=step)


def _value_plot(q: np.ndarray, returns: np.ndarray, task: str) -> bytes:
    """PNG of a density plot of q [n] against returns [n], in letters that can be read as a thumbnail."""
    from io import BytesIO

    import matplotlib
    from matplotlib.figure import Figure

    low = min(float(np.quantile(returns, 0.01)), float(q.min()), -1e-6)
    with matplotlib.rc_context({"font.size": 13}):
        figure = Figure(figsize=(4.8, 4.2), layout="constrained")
        axes = figure.add_subplot()
        density = axes.hexbin(returns, q, gridsize=40, extent=(low, 0, low, 0), bins="log", cmap="viridis")
        axes.plot([low, 0], [low, 0], color="tab:red", linewidth=1.5)
        axes.set(title=task, xlabel="Monte-Carlo return", ylabel="Q", xlim=(low, 0), ylim=(low, 0))
        axes.locator_params(nbins=5)
        figure.colorbar(density, label="records")
        stream = BytesIO()
        figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def write_overview(
    directory: Path, configuration: str, arms: Sequence[Mapping[str, Any]], trial: str
) -> None:
    """A guide and the configuration as text, and every arm as one HParams trial.

    Args:
        directory: the run's log directory.
        configuration: YAML text.
        arms: mappings with `name`, `hparams` (flat) and `metrics` (name -> value on
            validation records).
        trial: identifies the run: HParams averages trials of one name, so those of two runs must differ.
    """
    from tensorboard.plugins.hparams import api as hparams

    with tf.summary.create_file_writer(str(directory / OVERVIEW)).as_default(step=0):
        tf.summary.text("guide", _GUIDE)
        tf.summary.text("configuration", "\n".join(f"    {line}" for line in configuration.splitlines()))
    for arm in arms:
        with tf.summary.create_file_writer(str(directory / "hparams" / arm["name"])).as_default(step=0):
            hparams.hparams(dict(arm["hparams"]), trial_id=f"{arm['name']}-{trial}")
            for name, value in arm["metrics"].items():
                tf.summary.scalar(f"final/validation_{name}", value)


def write_projector(directory: Path, table: np.ndarray, values: Sequence[str]) -> None:
    """The item embeddings [V, D] with their raw `values` [V], for TensorBoard's projector.

    They go into the run of `write_overview`: the projector looks only where there are events. The labels
    are the value and its row, which is the rank by frequency where row 0 is the unknown value.

    Item values hold no control characters: ExampleGen quarantines them.
    """
    from tensorboard.plugins import projector

    directory = directory / OVERVIEW
    directory.mkdir(parents=True, exist_ok=True)
    labels = "".join(f"{value}\t{rank}\n" for rank, value in enumerate(values))
    (directory / "metadata.tsv").write_text(f"item\trank\n{labels}", encoding="utf-8", newline="\n")
    tf.train.Checkpoint(item=tf.Variable(table)).save(str(directory / "embedding.ckpt"))
    configuration = projector.ProjectorConfig()
    entry = configuration.embeddings.add()
    entry.tensor_name = "item/.ATTRIBUTES/VARIABLE_VALUE"
    entry.metadata_path = "metadata.tsv"
    projector.visualize_embeddings(str(directory), configuration)
