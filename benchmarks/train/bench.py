"""What every part of the benchmark is told, and the workers they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from benchmarks.train.setting import Setting
from benchmarks.train.worker import Worker

BACKBONES = (
    "shared_bottom", "single_task", "cross_stitch", "omoe", "mmoe", "cgc", "ple", "esmm", "escm2_ips",
    "escm2_dr", "dbmtl", "aitm", "pepnet", "stem", "metaheac",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """How much is measured, and by which processes: one of a name, started when it is first asked for.

    Attributes:
        rounds: of every comparison.
        quick: tiny sizes and few backbones: whether everything runs, not how fast.
        torch: whether PyTorch is among the peers.
    """

    rounds: int = 7
    quick: bool = False
    torch: bool = True
    workers: dict[str, Worker] = field(default_factory=dict)

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers.values():
            worker.close()

    def worker(self, framework: str, name: str = "") -> Worker:
        """The worker of a framework; another of the same framework has a name of its own."""
        name = name or framework
        if name not in self.workers:
            self.workers[name] = Worker(framework, name)
        return self.workers[name]

    def free(self) -> None:
        """Lets every worker go of its model."""
        for worker in self.workers.values():
            worker.free()

    @property
    def backbones(self) -> tuple[str, ...]:
        return BACKBONES[:1] if self.quick else BACKBONES

    def setting(self, backbone: str, rows: int = 1000, batches: int = 16) -> Setting:
        if self.quick:
            sizes = {"rows": min(rows, 2000), "width": 4, "bottom": (8, 6), "tower": (4,), "batch": 64}
            return Setting(backbone, **sizes, relation=(4,), experts=2, batches=2)  # type: ignore[arg-type]
        return Setting(backbone, rows=rows, batches=batches)
