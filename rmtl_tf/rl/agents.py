"""Agents: how an arm learns, one algorithm a file. A new one is a class in its own file, its settings in
`rmtl_tf/config/agents.py`, and a line below.

`rmtl` weighs losses with a critic that was learnt before (`training/phases.py`). The others learn actor and
critic side by side (`training/agents.py`): a class with

- `__init__(networks, tasks, settings, critic_config, seed)`, with `weighting` too where the settings say
  `WEIGHS`,
- `NEEDS`, names of the columns it reads beside the transitions ("frozen"), and `FORM`, the form of critic it
  needs (None: as configured),
- `optimise(phase)`, which makes its optimizers,
- `turns(plan)`, which model takes which batches of an epoch, and
- `state_variables`, all that it changes beside the weights and seeds of its networks.
"""

from __future__ import annotations

from rmtl_tf.registry import Registry

AGENTS = Registry(
    "agent.name",
    {
        "rmtl": "rmtl_tf.rl.agent:Agent",
        "joint": "rmtl_tf.rl.joint:Joint",
        "ddpg": "rmtl_tf.rl.ddpg:DDPG",
        "td3_bc": "rmtl_tf.rl.td3_bc:TD3BC",
    },
)
