"""Multi-task models, one a file. A new one is a `Backbone` in its own file and a line in `BACKBONES`; one
that stays outside is named `package.module:Class`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rmtl_tf.config import ModelConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.spec import InputSpec
from rmtl_tf.registry import Registry
from rmtl_tf.schema import Task

if TYPE_CHECKING:
    from rmtl_tf.backbones.base import Backbone

BACKBONES = Registry(
    "model.backbone",
    {
        "shared_bottom": "rmtl_tf.backbones.shared_bottom:SharedBottom",
        "esmm": "rmtl_tf.backbones.esmm:ESMM",
        "mmoe": "rmtl_tf.backbones.mmoe:MMoE",
        "ple": "rmtl_tf.backbones.ple:PLE",
        "single_task": "rmtl_tf.backbones.single_task:SingleTask",
        "omoe": "rmtl_tf.backbones.omoe:OMoE",
        "cgc": "rmtl_tf.backbones.cgc:CGC",
        "cross_stitch": "rmtl_tf.backbones.cross_stitch:CrossStitch",
        "dbmtl": "rmtl_tf.backbones.dbmtl:DBMTL",
        "aitm": "rmtl_tf.backbones.aitm:AITM",
        "pepnet": "rmtl_tf.backbones.pepnet:PEPNet",
        "stem": "rmtl_tf.backbones.stem:STEM",
        "metaheac": "rmtl_tf.backbones.metaheac:MetaHeac",
        "escm2_ips": "rmtl_tf.backbones.escm2:ESCM2IPS",
        "escm2_dr": "rmtl_tf.backbones.escm2:ESCM2DR",
    },
    own=True,
)


def build_backbone(config: ModelConfig, spec: InputSpec, tasks: Sequence[Task], seed: int = 0) -> Backbone:
    """The backbone `config` names, with the settings it reads from `config`.

    Raises:
        UserError: no backbone has this name, or an own one is no `Backbone`.
    """
    from rmtl_tf.backbones.base import Backbone

    kind = BACKBONES[config.backbone]
    if not (isinstance(kind, type) and issubclass(kind, Backbone)):
        raise UserError(
            "model.backbone: expected a subclass of rmtl_tf.backbones.base.Backbone, received "
            f"{config.backbone}."
        )
    settings = {name: getattr(config, name) for name in kind.SETTINGS if name in ModelConfig.model_fields}
    name = config.backbone.rpartition(":")[2]  # of an own backbone the class: no colon in names of variables
    return kind(spec, tasks, seed=seed, name=name, **settings)


def __getattr__(name: str) -> Any:
    """`rmtl_tf.backbones.MMoE` and the like, imported when they are used."""
    return BACKBONES.attribute(name)
