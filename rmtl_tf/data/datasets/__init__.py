"""The data sets that can be read, by the name that `data.dataset` gives."""

from __future__ import annotations

from rmtl_tf.data.datasets.base import Reader
from rmtl_tf.registry import Registry

READERS = Registry(
    "data.dataset",
    {
        "aliccp": "rmtl_tf.data.datasets.aliccp:ALICCP",
        "aliexpress": "rmtl_tf.data.datasets.aliexpress:ALIEXPRESS",
        "deskdrop": "rmtl_tf.data.datasets.deskdrop:DESKDROP",
        "kuairand": "rmtl_tf.data.datasets.kuairand:KUAIRAND",
        "retailrocket": "rmtl_tf.data.datasets.retailrocket:RETAILROCKET",
        "simulator": "rmtl_tf.data.datasets.table:SIMULATED",
        "table": "rmtl_tf.data.datasets.table:ANY_TABLE",
    },
)


def get_reader(name: str) -> Reader:
    """The reader of a data set.

    Raises:
        UserError: no data set has this name.
    """
    reader: Reader = READERS[name]
    return reader
