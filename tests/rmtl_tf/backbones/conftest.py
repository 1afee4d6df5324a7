"""Small inputs and numpy pieces the tests of all backbones share."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from rmtl_tf.features.spec import InputSpec
from rmtl_tf.schema import Task

SPEC = InputSpec(categorical=(("user", 5), ("item", 7)), numeric=("price", "age"), ids=("user", "item"))


@pytest.fixture
def spec():
    return SPEC


@pytest.fixture
def tasks():
    """`count` tasks, each the parent of the next."""
    names = ["click", "cart", "buy", "return"]

    def make(count, chain=True):
        return [Task(name, names[i - 1] if chain and i else None) for i, name in enumerate(names[:count])]

    return make


@pytest.fixture
def batch():
    def make(n=6, seed=0):
        random = np.random.default_rng(seed)
        inputs = {name: tf.constant(random.integers(0, size, n), tf.int32) for name, size in SPEC.categorical}
        return inputs | {name: tf.constant(random.normal(size=n), tf.float32) for name in SPEC.numeric}

    return make


class Oracle:
    """Numpy parts of a network, fed with a built backbone's weights by path. Makes biases nonzero."""

    def __init__(self, backbone):
        random = np.random.default_rng(0)
        for variable in backbone.weights:
            if "bias" in variable.path:
                variable.assign(random.normal(size=variable.shape))
        self.weights = {v.path.split("/", 1)[1]: v.numpy().astype(np.float64) for v in backbone.weights}

    def state(self, inputs, path="embedding"):
        table, first, fields = self.weights[f"{path}/table"], 0, []
        for name, size in SPEC.categorical:
            fields.append(table[first + inputs[name].numpy()])
            first += size
        numbers = np.stack([inputs[name].numpy() for name in SPEC.numeric], axis=1)
        fields.append(self.dense(f"{path}/numeric", numbers))
        return np.concatenate(fields, axis=1)

    def cross(self, path, x):
        """DCN-v2, equation 1: x_{l+1} = x_0 (W x_l + b) + x_l, for the cross layers there are."""
        state, layer = x, 0
        while f"{path}/linear_{layer}/kernel" in self.weights:
            state = x * self.dense(f"{path}/linear_{layer}", state) + state
            layer += 1
        return state

    def dense(self, path, x):
        return x @ self.weights[f"{path}/kernel"] + self.weights[f"{path}/bias"]

    def mlp(self, path, layers, x):
        for i in range(layers):
            x = np.maximum(self.dense(f"{path}/dense_{i}", x), 0)
        return x

    def experts(self, path, count, widths, x):
        """The outputs of each expert, a list of [N, W]."""
        outputs = []
        for e in range(count):
            hidden = x
            for i, width in enumerate(widths):
                kernel, bias = self.weights[f"{path}/kernel_{i}"], self.weights[f"{path}/bias_{i}"]
                own = slice(e * width, (e + 1) * width)
                kernel, bias = (kernel[e], bias[e, 0]) if i else (kernel[:, own], bias[own])
                hidden = np.maximum(hidden @ kernel + bias, 0)
            outputs.append(hidden)
        return outputs

    def gate(self, path, x):
        scores = np.exp(x @ self.weights[f"{path}/linear/kernel"])
        return scores / scores.sum(axis=1, keepdims=True)

    def tower(self, k, layers, x):
        return self.dense(f"towers/output_{k}", self.mlp(f"towers/hidden_{k}", layers, x))[:, 0]


@pytest.fixture
def oracle():
    return lambda backbone: Oracle(backbone)


@pytest.fixture
def small():
    """Settings of a backbone small enough for a test."""
    return SimpleNamespace(embedding_dim=4, bottom=(6, 5), tower=(3,), dropout=0.5, seed=3).__dict__
