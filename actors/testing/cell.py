"""An actor in a simulation, and the asks that wait for it."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

from actors.cell import Cell

if TYPE_CHECKING:
    from actors.testing.system import SimulatedSystem
    from protocol.message import Request

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class OpenAsk:
    """An ask that waits for its answer.

    Attributes:
        receiver: the path of the actor that was asked.
        request: the name of the request's type.
        since: when it was asked, by the system's clock.
    """

    receiver: str
    request: str
    since: float


class SimulatedCell(Cell[M_contra]):
    """An actor in a simulation: its asks are known while they wait."""

    __slots__ = ("_path",)

    @property
    @override
    def path(self) -> str:
        try:
            return self._path
        except AttributeError:
            self._path = super().path
            return self._path

    @override
    def ask(self, request: "Request[R]", *, timeout: float | None = None) -> Coroutine[Any, Any, R]:
        return self._noted(type(request).__name__, super().ask(request, timeout=timeout))

    async def _noted(self, request: str, answer: Coroutine[Any, Any, R]) -> R:
        asks = cast("SimulatedSystem", self.system).open_asks
        ask = OpenAsk(self.path, request, self.system.now())
        asks[ask] = None
        try:
            return await answer
        finally:
            del asks[ask]
