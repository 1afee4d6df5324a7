"""A tiny TFDS data set of flat records, prepared without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

SCHEMA = """
feature { name: "session_id" type: BYTES annotation { tag: "session" } }
feature { name: "time" type: INT annotation { tag: "timestamp" } }
feature { name: "user" type: BYTES annotation { tag: "user" tag: "context" } }
feature { name: "shown/item" type: BYTES annotation { tag: "item" tag: "step" } }
feature { name: "category" type: BYTES annotation { tag: "step" } }
feature { name: "price" type: FLOAT annotation { tag: "step" } }
feature { name: "click" type: INT annotation { tag: "label:click" } }
"""
RECORDS = 60


def records(split: str) -> list[dict[str, Any]]:
    """Sessions of three records; those of `later` follow those of `early` in time."""
    first = 0 if split == "early" else RECORDS
    return [
        {
            "session_id": f"s{i // 3:03d}",
            "time": 1_000_000 + 100 * i,
            "user": i // 3 % 7,
            "shown": {"item": f'i{i % 11}, "new"' if i % 2 else f"i{i % 11}"},
            "category": ("food", "toys", "food")[i % 3],
            "price": np.nan if i % 5 == 0 else i / 4,
            "click": i % 2 == 0,
            "tags": ["a"] * (i % 3),
        }
        for i in range(first, first + RECORDS)
    ]


class Shop(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Flat records in two splits."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "session_id": tfds.features.Text(),
            "time": np.int64,
            "user": np.int32,
            "shown": {"item": tfds.features.Text()},
            "category": tfds.features.ClassLabel(names=["food", "toys"]),
            "price": np.float32,
            "click": np.bool_,
            "tags": tfds.features.Sequence(tfds.features.Text()),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in ("early", "later")}

    def _generate_examples(self, split: str) -> Any:
        yield from enumerate(records(split))


def prepare(folder: Path) -> Path:
    """Prepares the data set in `folder`, a TFDS data_dir; returns it."""
    Shop(data_dir=folder).download_and_prepare()
    return folder
