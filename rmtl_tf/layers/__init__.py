"""Keras layers the backbones and critics are made of. Every one takes a `seed`: equal seeds, equal bits."""

from rmtl_tf.layers.cross import Cross
from rmtl_tf.layers.dropout import Dropout
from rmtl_tf.layers.embedding import FieldEmbedding
from rmtl_tf.layers.experts import Experts
from rmtl_tf.layers.extraction import Extraction
from rmtl_tf.layers.gate import Gate, mix
from rmtl_tf.layers.gate_nu import GateNU
from rmtl_tf.layers.mlp import MLP
from rmtl_tf.layers.towers import Towers

__all__ = [
    "MLP",
    "Cross",
    "Dropout",
    "Experts",
    "Extraction",
    "FieldEmbedding",
    "Gate",
    "GateNU",
    "Towers",
    "mix",
]
