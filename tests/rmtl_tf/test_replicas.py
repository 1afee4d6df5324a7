"""Every weighting of losses, and what depends on a batch as a whole, answers on two replicas as on one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rmtl_tf.weighting import LOSS_WEIGHTINGS

# Two devices must be made before TensorFlow starts: a process of its own.
SCRIPT = """
import json
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from rmtl_tf import replicas
from rmtl_tf.config import WeightingConfig
from rmtl_tf.weighting import LOSS_WEIGHTINGS, build_weighting
from rmtl_tf.weighting.base import Context, task_means

rng = np.random.default_rng(0)
N, K = 12, 2
real = {"q": -rng.random((N, K)) * 3, "returns": -rng.random((N, K)), "labels": rng.integers(0, 2, (N, K)),
        "session_length": rng.integers(1, 9, N), "mask": rng.integers(0, 2, N), "frozen": rng.random((N, K))}
real["mask"][:6] = [1, 0, 0, 0, 0, 1]  # the halves count differently many records
losses = rng.random((N, K)).astype(np.float32)
real = {name: value.astype(np.float32) for name, value in real.items()}
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def steps(weighting, losses, arrays):
    # Two batches, so that state counts; the value is what the agent computes from the mean action.
    state, answers = weighting.init(K), []
    for scale in (1.0, 0.5):
        value = -tf.ones_like(losses) * task_means(arrays["q"], arrays["mask"])
        context = Context(**arrays, value=value)
        weights, state = weighting.update(losses * scale, context, state)
        answers.append(weights)
    return tf.concat(answers, axis=1), replicas.total(tf.reduce_sum(losses)), replicas.largest(losses[0])

def halves(value):
    return strategy.experimental_distribute_values_from_function(
        lambda c: tf.constant(np.split(value, 2)[c.replica_id_in_sync_group]))

result = {}
options = [{}, {"normalise": "batch"}, {"normalise": "task", "temperature": 2.0, "cap": 1.5}]
for name in LOSS_WEIGHTINGS:
    for number, changes in enumerate(options):
        weighting = build_weighting(WeightingConfig(name=name, window=1, **changes))
        whole = steps(weighting, tf.constant(losses), {k: tf.constant(v) for k, v in real.items()})[0].numpy()
        out = strategy.run(lambda l, a: steps(weighting, l, a),
                           args=(halves(losses), {k: halves(v) for k, v in real.items()}))
        parts = np.concatenate([part.numpy() for part in strategy.experimental_local_results(out[0])])
        result[f"{name} {number}"] = float(np.abs(parts / whole - 1).max())
total, largest = ([x.numpy() for x in strategy.experimental_local_results(value)] for value in out[1:])
result["total"] = float(np.abs(np.array(total) - losses.sum()).max())
result["largest"] = float(np.abs(np.array(largest) - np.maximum(losses[0], losses[6])).max())
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def differences():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", LOSS_WEIGHTINGS)
@pytest.mark.parametrize("scaling", [0, 1, 2])
def test_a_weighting_gives_the_weights_of_the_whole_batch(differences, name, scaling):
    assert differences[f"{name} {scaling}"] < 1e-5


def test_sums_and_maxima_are_those_of_all_replicas_on_each(differences):
    assert differences["total"] < 1e-5
    assert differences["largest"] == 0
