"""A cluster as a whole: its workers, as each shows itself to the others."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from protocol.worker_figures import WorkerFigures

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A living worker, as it was when it beat last: up to a quarter of `lifetime` ago, or longer where it is about to
    be found dead.

    Attributes:
        worker: its id.
        is_here: whether it is the one that was asked, whose figures are those of this moment.
        figures: what it says of itself; None where it says nothing, or nothing that this version understands.
    """

    worker: str
    is_here: bool
    figures: WorkerFigures | None

    @override
    def __str__(self) -> str:
        here = ", this one" if self.is_here else ""
        said = self.figures
        if said is None:
            return f"{self.worker} (says nothing of itself{here})"
        return (
            f"{self.worker} ({said.pool or 'a pool'}{here}) {said.uptime:.1f} s, conversations {said.conversations}, "
            f"sessions {said.sessions}, hits {said.local_hits} here and {said.remote_hits} elsewhere, "
            f"misses {said.misses}, forwarded {said.forwarded}, in flight {said.in_flight}, served {said.served}, "
            f"in service {said.in_service}"
        )


@dataclass(frozen=True, slots=True)
class ClusterTree:
    """The workers of a cluster that live. `str(tree)` shows them, a line for each.

    Attributes:
        namespace: what the cluster is called.
        workers: this one first, if it is among them, and the others by their ids.
    """

    namespace: str
    workers: tuple[WorkerStatus, ...]

    @classmethod
    def of(
        cls, namespace: str, said: Mapping[str, bytes], *, here: str, figures: WorkerFigures | None
    ) -> "ClusterTree":
        """The tree of what the living have said, and of this worker's own figures. Ids that need quoting are no
        worker's, and left out.
        """
        workers = (
            WorkerStatus(worker, worker == here, figures if worker == here else WorkerFigures.unpack(words))
            for worker, words in said.items()
            if _PLAIN.fullmatch(worker)
        )
        return cls(namespace, tuple(sorted(workers, key=lambda status: (not status.is_here, status.worker))))

    @property
    def conversations(self) -> int:
        """How many conversations they own together."""
        return sum(status.figures.conversations for status in self.workers if status.figures is not None)

    @override
    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        count = len(self.workers)
        yield f"{self.namespace}: {count} worker{'' if count == 1 else 's'}, conversations {self.conversations}"
        yield from (f"  {status}" for status in self.workers)
