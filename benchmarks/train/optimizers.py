"""How long a step takes under each rule of the embedding tables, as these grow, and what is held.

    python benchmarks/train/optimizers.py --rules adam_lazy dense --rows 1000 100000
    python benchmarks/train/optimizers.py --rules adam_lazy --rows 1000 1000000             # 11 GiB
    python benchmarks/train/optimizers.py --rules adam_lazy --rows 1000 1428572 --width 32  # 10 M rows

Whole steps of the paper's Shared-Bottom or, with `--critic`, of a critic with its target: 7 fields, batch
2048, ids drawn evenly, another batch at every step. All that is timed runs in turns, so that a slow minute
slows all alike; `ratio` is the median over rounds of a step beside the one of the same rule with the fewest
rows. `keras` is keras.optimizers.Adam.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import psutil
import tensorflow as tf

from benchmarks.speed import BASE_BACKBONE, NAMES, Size, interleaved, make_backbone, make_critic
from rmtl_tf.config import ModelConfig, OptimizerConfig, PhaseConfig, WeightingConfig
from rmtl_tf.optimizers import RULES, is_table
from rmtl_tf.optimizers.build import touched_rows_only
from rmtl_tf.optimizers.optimizer import DENSE
from rmtl_tf.rl.agent import Agent
from rmtl_tf.rl.critic_learner import CriticLearner
from rmtl_tf.training.networks import compile_model
from rmtl_tf.training.run import make_deterministic
from rmtl_tf.weighting import build_weighting

KERAS = "keras"
_BATCHES = 16
_GIB = 2**30


def make_model(size: Size, rule: str, critic: bool) -> tuple[keras.Model, keras.layers.Layer]:
    """A compiled model, and the network it trains."""
    config = OptimizerConfig(tables=DENSE if rule == KERAS else rule)
    if critic:
        network, target = make_critic(size, "shared"), make_critic(size, "shared")
        model = CriticLearner(network, target, NAMES, touched_rows_only=touched_rows_only(config))
    else:
        network = make_backbone(size, BASE_BACKBONE)
        model = Agent(network, build_weighting(WeightingConfig()), NAMES)
    if rule == KERAS:
        optimizer = keras.optimizers.Adam(1e-3)
        optimizer.build(network.trainable_variables)
        model.compile(optimizer=optimizer, jit_compile=False)
    else:
        compile_model(model, network, PhaseConfig(weight_decay=0.0), config, followed=critic)
    return model, network


def held(model: keras.Model, network: keras.layers.Layer) -> tuple[float, float]:
    """GiB of the embedding tables, and of all the optimizer keeps."""

    def gib(variables: Any) -> float:
        return sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in variables) / _GIB

    return gib(v for v in network.weights if is_table(v)), gib(model.optimizer.variables)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    names = [*RULES, DENSE, KERAS]
    parser.add_argument("--rules", nargs="+", choices=names, default=["adam_lazy", "adam", DENSE, KERAS])
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 100_000], help="of each of 7 fields")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--critic", action="store_true")
    arguments = parser.parse_args()
    make_deterministic(0)  # as every run of the pipeline
    steps, memory = {}, {}
    for rule, rows in itertools.product(arguments.rules, arguments.rows):
        size = Size(rows=rows, batch=arguments.batch, model=ModelConfig(embedding_dim=arguments.width))
        model, network = make_model(size, rule, arguments.critic)
        memory[rule, rows] = held(model, network)
        table, slots = memory[rule, rows]
        what = f"{rule:<16}{7 * rows:>11,} rows x {arguments.width}"
        print(f"{what}: tables {table:.2f} GiB, optimizer {slots:.2f} GiB")
        batches = itertools.cycle([size.records(seed) for seed in range(_BATCHES)])
        traced = tf.function(model.train_step)
        steps[rule, rows] = lambda traced=traced, batches=batches: traced(next(batches))["loss"].numpy()
    began = time.perf_counter()
    seconds = interleaved(steps, arguments.rounds)
    print(f"\n{'rule':<16}{'rows':>11}{'ms':>9}{'ratio':>8}{'records/s':>12}")
    for (rule, rows), values in seconds.items():
        ratio = np.median(values / seconds[rule, arguments.rows[0]])
        median = np.median(values)
        print(f"{rule:<16}{7 * rows:>11,}{median * 1e3:>9.1f}{ratio:>8.2f}{arguments.batch / median:>12,.0f}")
    peak = psutil.Process().memory_info().rss / _GIB
    print(f"\nresident at the end {peak:.1f} GiB; {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
