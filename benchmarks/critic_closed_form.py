"""How near every form and target of the critic comes to the value it should learn, known in closed form.

    python benchmarks/critic_closed_form.py            # prints the table and writes it into docs/models.md

On a process of a few states whose probabilities are known, Q(s, a) = p ln a + (1 - p) ln(1 - a)
+ gamma E[V(next)] is the solution of a linear system (METHOD 8). Each critic learns it from the same
sampled sessions.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

import pipeline
from benchmarks.document import MODELS, machine, rewrite, table
from rmtl_tf.config import CriticConfig
from rmtl_tf.data.tabular import TabularProcess

FORMS, TARGETS = (get_args(CriticConfig.model_fields[name].annotation) for name in ("form", "target"))
LARGEST_ERROR = 0.03  # of the mean |Q|; the tests hold every critic with squared errors to it
PROCESS = TabularProcess.random(seed=3)
ACTIONS = np.random.default_rng(6).uniform(0.05, 0.6, PROCESS.probability.shape).astype(np.float32)
SESSIONS, BATCH, STEPS = 12_000, 2048, 250


@dataclass(frozen=True)
class Case:
    """A critic and how it learns."""

    form: str
    target: str
    gamma: float = 0.95
    loss: str = "squared"


CASES = (*(Case(*pair) for pair in product(FORMS, TARGETS)), Case("shared", "td0", gamma=0.5))
# Huber's loss has its minimum nearer the median of the skewed returns than their mean: not held to the bound.
BIASED = (Case("shared", "td0", loss="huber"), Case("shared", "monte_carlo", loss="huber"))


def tabular_table(states: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> Any:
    """Sampled sessions as a `RecordTable` with one input, `state`."""
    from rmtl_tf.inputs import RecordTable

    windows = np.concatenate([[0], np.cumsum(lengths)])
    done = np.zeros(len(states), bool)
    done[windows[1:] - 1] = True
    session = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    return RecordTable(
        features={"state": (states + 2).astype(np.int32)},
        labels=labels.astype(np.float32),
        timestamp=np.arange(len(states)),
        session=session,
        length=np.asarray(lengths, np.float32)[session],
        lookahead=np.zeros(len(states), bool),
        done=done,
        windows=windows,
    )


@cache
def sampled() -> Any:
    """The batches every critic learns from."""
    from rmtl_tf.inputs import Batcher, epoch_plan

    states, labels, lengths = PROCESS.sample(SESSIONS, seed=4)
    records = tabular_table(states, labels, lengths)
    batches = -(-len(states) // BATCH)
    plans = [epoch_plan(records, BATCH, 0, epoch) for epoch in range(-(-STEPS // batches))]
    logits = np.log(ACTIONS / (1 - ACTIONS))[states]
    return Batcher(records, {"logits": logits}).batches(np.concatenate(plans)[:STEPS])


def learned(case: Case) -> np.ndarray:
    """Q [S, K] of `ACTIONS` in every state after training."""
    import keras

    from rmtl_tf.features.spec import InputSpec
    from rmtl_tf.rl.critic_forms import build_critic
    from rmtl_tf.rl.critic_learner import CriticLearner

    config = CriticConfig(form=case.form, bottom=(32,), action=8, tower=(32,), dropout=0.0)
    spec = InputSpec(categorical=(("state", len(ACTIONS) + 2),))
    online, copy = (build_critic(config, spec, ACTIONS.shape[1], embedding_dim=16) for _ in range(2))
    learner = CriticLearner(
        online, copy, ["a", "b"], case.gamma, beta=0.2, kind=case.target, n=3, trace=0.8, loss=case.loss
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, STEPS)
    learner.compile(optimizer=keras.optimizers.Adam(rate), jit_compile=False)
    learner.fit(sampled(), shuffle=False, verbose=0)
    return online({"state": np.arange(len(ACTIONS)) + 2}, ACTIONS).numpy()


def errors(case: Case) -> tuple[float, float]:
    """Largest |error| and mean error of Q over states and tasks, both relative to the mean |Q|.

    A critic that is biased towards small |Q| has a mean error above 0, for Q <= 0.
    """
    expected = PROCESS.closed_form_q(ACTIONS, case.gamma)
    error = learned(case) - expected
    scale = np.abs(expected).mean()
    return float(np.abs(error).max() / scale), float(error.mean() / scale)


def main() -> int:
    pipeline.set_up_logging(debug=False)
    rows = []
    for case in (*CASES, *BIASED):
        began = time.perf_counter()
        largest, mean = errors(case)
        rows.append(
            (f"`{case.form}`", f"`{case.target}`", case.gamma, case.loss, f"{largest:.2%}", f"{mean:+.2%}")
        )
        print(*(f"{cell:<12}" for cell in (*rows[-1], f"{time.perf_counter() - began:.1f} s")))
    header = ("form", "target", "gamma ", "loss", "largest error ", "mean error ")
    content = f"{machine()}\n\n{table(header, rows)}"
    MODELS.write_text(rewrite(MODELS.read_text(), "closed form", content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
