"""The critics of a run: trained in phase B or loaded from another run, shared by arms, saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rmtl_tf import storage
from rmtl_tf.config import ArmConfig
from rmtl_tf.errors import UserError
from rmtl_tf.features.graph import TransformGraph, facts
from rmtl_tf.files import digest_json, digest_tree
from rmtl_tf.places import place
from rmtl_tf.rl.critic_base import Critic
from rmtl_tf.rl.critic_io import load_critic, read_metadata, save_critic
from rmtl_tf.training.loop import Progress
from rmtl_tf.training.phases import Trainer, critic_name
from rmtl_tf.training.problem import Frozen
from rmtl_tf.weighting import WEIGHTINGS

CRITICS = "critics"


def _saved(arm: ArmConfig) -> Path:
    """The folder of the critic that an arm loads."""
    return storage.local(place(arm.saved_critic or ""))


@dataclass(frozen=True)
class RunCritic:
    """A critic as one run uses it.

    Attributes:
        name: of its folder in the run.
        metrics: of `CriticReport`, on this run's validation sessions and frozen actor.
        progress: of its training; None where it was loaded.
    """

    name: str
    critic: Critic
    metrics: dict[str, float]
    progress: Progress | None


class Critics:
    """Gives every arm its critic. Saved critics are read at once: a wrong one is refused before training.

    Args:
        trainer: trains the others.
        graph: how raw values became the states; a critic of another encoding is refused.
        directory: critics are written to `<directory>/critics/<name>/`.

    Raises:
        UserError: a saved critic cannot be read or is of other states, or its arm's weighting reads no Q.
    """

    def __init__(self, trainer: Trainer, graph: TransformGraph, directory: Path) -> None:
        self._trainer, self._directory = trainer, directory / CRITICS
        self._state = {
            "tasks": list(trainer.problem.names),
            "encoding": {
                feature.name: digest_json([feature.kind, facts(feature)])[:12] for feature in graph.features
            },
        }
        self._made: dict[str, RunCritic] = {}
        self._loaded = {
            arm.name: self._load(arm) for arm in trainer.training.arms if arm.saved_critic is not None
        }

    def of(self, arm: ArmConfig, frozen: Frozen) -> RunCritic | None:
        """The critic of an arm, trained or loaded on the first call; None where its weighting reads no Q, or
        its agent learns a critic of its own."""
        if not needs_critic(arm):
            return None
        name = self._name(arm)
        if name not in self._made:
            self._made[name] = self._make(name, arm, frozen)
        return self._made[name]

    def forget(self, arm: ArmConfig) -> None:
        """Lets the critic of an arm that is trained go, unless a later arm uses it."""
        if not needs_critic(arm):
            return
        self._loaded.pop(arm.name, None)
        arms = [later.name for later in self._trainer.training.arms]
        later = set(arms[arms.index(arm.name) + 1 :])
        if not later & set(self._users(self._name(arm))):
            self._made.pop(self._name(arm), None)

    def _load(self, arm: ArmConfig) -> Critic:
        if not needs_critic(arm):
            raise UserError(
                f"training.arms, {arm.name}: critic.load is set, but weighting {arm.weighting.name!r} reads "
                "no critic. Leave it out or choose another weighting, such as rmtl."
            )
        problem, width = self._trainer.problem, self._trainer.embedding_width()
        return load_critic(_saved(arm), problem.spec, len(problem.tasks), width, self._state)

    def _name(self, arm: ArmConfig) -> str:
        if arm.saved_critic is not None:
            return f"loaded-{digest_json(digest_tree(_saved(arm)))[:6]}"
        return critic_name(self._trainer.training.critic_of(arm))

    def _users(self, name: str) -> list[str]:
        """The arms that share the critic `name`."""
        arms = [arm for arm in self._trainer.training.arms if needs_critic(arm)]
        return [arm.name for arm in arms if self._name(arm) == name]

    def _make(self, name: str, arm: ArmConfig, frozen: Frozen) -> RunCritic:
        if arm.saved_critic is not None:
            critic, progress = self._loaded[arm.name], None
            metadata = read_metadata(_saved(arm))
            metrics = self._trainer.judge(critic, frozen, metadata["gamma"], self._users(name))
        else:
            config = self._trainer.training.critic_of(arm)
            critic, progress = self._trainer.critic(frozen, config, self._users(name))
            metrics = progress.history[progress.best_epoch - 1]
            metadata = {
                **self._state,
                "gamma": config.gamma,
                "settings": config.model_dump(mode="json"),
                "backbone": self._trainer.model.backbone,
            }
        if self._trainer.cluster.is_chief:
            save_critic(self._directory / name, critic, metadata)
        return RunCritic(name, critic, metrics, progress)


def needs_critic(arm: ArmConfig) -> bool:
    """Whether the arm's weighting reads the Q of a critic that phase B learns."""
    return arm.agent.name == "rmtl" and "q" in WEIGHTINGS[arm.weighting.name].NEEDS
