"""A TFRS ranker of two tasks, fine-tuned with constant and with session-wise weights from the same start.

    python -m examples.tfrs_multitask [--events 60000] [--seed 0]

The ranker is what a team with TFRS has: a `tfrs.models.Model` of Keras 2 on raw columns, two
`tfrs.tasks.Ranking`. Three lines are about weights; they end with `# weights`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # before TensorFlow is imported: TFRS is of Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import polars as pl
import tensorflow as tf
import tensorflow_recommenders as tfrs

from rmtl_tf.bridges.tfrs import learn_weights  # weights
from rmtl_tf.config import SimulatorConfig, TrainingConfig
from rmtl_tf.data.simulator import EVENTS_FILE, simulate
from rmtl_tf.metrics import auc
from rmtl_tf.metrics.bootstrap import bootstrap
from rmtl_tf.schema import read_schema

SCHEMA = Path(__file__).parents[1] / "data_schemas" / "simulator.pbtxt"
TASKS = ("click", "conversion")
TEXTS = ("user_id", "item_id", "category", "device", "position")
NUMBERS = ("price", "age_days")
BATCH = 512
ARMS = ("control", "paper", "recommended")


class Ranker(tfrs.models.Model):
    """Shared bottom, a tower for each task."""

    def __init__(self, train: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.lookups = {
            name: tf.keras.layers.StringLookup(vocabulary=np.unique(train[name])) for name in TEXTS
        }
        self.embeddings = {
            name: tf.keras.layers.Embedding(lookup.vocabulary_size(), 16)
            for name, lookup in self.lookups.items()
        }
        self.bottom = tf.keras.Sequential(
            [tf.keras.layers.Dense(64, "relu"), tf.keras.layers.Dense(32, "relu")]
        )
        self.towers = {name: tf.keras.layers.Dense(1) for name in TASKS}
        loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)
        self.ranking = {name: tfrs.tasks.Ranking(loss=loss) for name in TASKS}
        self.session_weights = lambda inputs: dict.fromkeys(TASKS)

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        fields = [self.embeddings[name](lookup(inputs[name])) for name, lookup in self.lookups.items()]
        numbers = [tf.math.log1p(inputs[name])[:, tf.newaxis] for name in NUMBERS]
        numbers = [tf.where(tf.math.is_nan(value), tf.zeros_like(value), value) for value in numbers]
        bottom = self.bottom(tf.concat([*fields, *numbers], axis=1))
        return {name: tower(bottom) for name, tower in self.towers.items()}

    def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        logits = self(inputs)
        omega = self.session_weights(inputs)  # weights
        losses = [
            task(inputs[name][:, tf.newaxis], logits[name], sample_weight=omega[name])
            for name, task in self.ranking.items()
        ]
        return tf.add_n(losses) / len(losses)


def read(events: int, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Simulated records as columns; whole sessions, the last ones for validation and test."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), SimulatorConfig(events=events, seed=seed))
        frame = pl.read_csv(Path(folder) / EVENTS_FILE, schema_overrides={"position": pl.String})
    begin = frame.select(pl.col("timestamp").min().over("session_id")).to_series()
    first, second = begin.quantile(0.7), begin.quantile(0.85)
    splits = {
        "train": begin < first,
        "validation": (begin >= first) & (begin < second),
        "test": begin >= second,
    }
    frame = frame.with_columns(pl.col(TEXTS).fill_null(""), pl.col(NUMBERS).cast(pl.Float32))
    frame = frame.with_columns(pl.col(NUMBERS).fill_null(float("nan")), pl.col(TASKS).cast(pl.Float32))
    return {
        name: {column.name: column.to_numpy().copy() for column in frame.filter(rows)}
        for name, rows in splits.items()
    }


def train_epochs(
    model: Ranker, data: dict[str, dict[str, np.ndarray]], rate: float, epochs: int, best: float = 0.0
) -> float:
    """Trains until validation mean AUC has not risen for two epochs; the best weights stay."""
    model.compile(optimizer=tf.keras.optimizers.Adam(rate))
    kept, waited = model.get_weights(), 0
    for epoch in range(epochs):
        rows = np.random.default_rng(epoch).permutation(len(data["train"]["click"]))
        shuffled = {name: values[rows] for name, values in data["train"].items()}
        model.fit(tf.data.Dataset.from_tensor_slices(shuffled).batch(BATCH, drop_remainder=True), verbose=0)
        value = mean_auc(data["validation"], predict(model, data["validation"]))
        if value > best:
            best, kept, waited = value, model.get_weights(), 0
        else:
            waited += 1
        if waited == 2:
            break
    model.set_weights(kept)
    return best


def predict(model: Ranker, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Probabilities [R, K]."""
    logits = model({name: tf.constant(columns[name]) for name in (*TEXTS, *NUMBERS)})
    return tf.sigmoid(tf.concat([logits[name] for name in TASKS], axis=1)).numpy()


def mean_auc(columns: dict[str, np.ndarray], probabilities: np.ndarray) -> float:
    return float(np.mean([auc(columns[task], probabilities[:, k]) for k, task in enumerate(TASKS)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=60_000, help="records to simulate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="at most, of every training")
    given = parser.parse_args()
    tf.keras.utils.set_random_seed(given.seed)
    data = read(given.events, given.seed)

    model = Ranker(data["train"])
    predict(model, data["validation"])  # makes its variables
    start_auc = train_epochs(model, data, 1e-3, given.epochs)
    start = model.get_weights()
    print(f"pretrained: validation mean AUC {start_auc:.4f}")

    critic = {"bottom": (64, 32), "action": 16, "tower": (32,), "max_epochs": given.epochs}
    training = TrainingConfig.model_validate({"batch_size": BATCH, "critic": critic})
    answers = {"pretrained": predict(model, data["test"])}
    for arm in ARMS:
        model.set_weights(start)
        model.session_weights = learn_weights(  # weights
            model, data["train"], data["validation"], read_schema(SCHEMA), arm=arm, training=training
        )
        omega = model.session_weights.omega
        shown = ", ".join(f"{task} {omega[task].mean():.2f} +- {omega[task].std():.2f}" for task in TASKS)
        report = model.session_weights.report
        fit = ", ".join(f"{task} {report[f'correlation/{task}']:.2f}" for task in TASKS if report)
        print(f"{arm}: omega {shown}" + (f"; correlation of Q with the return {fit}" if fit else ""))
        best = train_epochs(model, data, 1e-4, given.epochs, start_auc)
        print(f"{arm}: validation mean AUC {best:.4f}")
        answers[arm] = predict(model, data["test"])

    test = data["test"]
    labels = np.stack([test[task] for task in TASKS], axis=1)
    result = bootstrap(labels, answers, test["session_id"], TASKS, control="control")
    print("\nTest AUC, and its difference to control (95% interval over sessions)")
    for arm in answers:
        for task in TASKS:
            line = f"  {arm:12}{task:12}{result['metrics'][arm][task]['auc']['value']:.4f}"
            if arm != "control":
                of = result["difference"][arm][task]["auc"]
                line += f"   {of['value']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}]"
            print(line)


if __name__ == "__main__":
    main()
