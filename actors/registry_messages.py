"""What the registry is asked and told; what its supervisors report to it is in `actors.key_reports`."""

from actors import key_reports as report
from actors.acquire import Acquire
from actors.ref import Ref
from actors.supervisor_messages import SupervisorMessage
from protocol.message import Answer, Request, message
from protocol.settings import PoolSettings


@message
class Find(Request[Ref[SupervisorMessage]]):
    """Ask for the supervisor of a key. Answered when the key has its place among `max_keys`.

    Attributes:
        acquire: what is to be asked of it.
    """

    acquire: Acquire


@message
class Close(Request[None]):
    """Ask for the end of the pool. Answered when every session has ended; what is acquired from now on is refused."""


@message
class DrainKeys(Answer):
    """Sessions are to be replaced: all, or those with one server."""

    url: str | None = None


@message
class ResizePool(Answer):
    """From now on these settings hold."""

    settings: PoolSettings


@message
class ResetBreakers(Answer):
    """Forget failures: of one endpoint, or of all."""

    endpoint: str | None = None


@message
class EndConversation(Answer):
    """This downstream session is over: its keys end, and it is forgotten."""

    session_id: str


@message
class ConversationTaken(Answer):
    """This downstream session was taken over from a worker that died, and with it the state that it had there."""

    session_id: str


RegistryMessage = (
    EndConversation | ConversationTaken | Find | Close | DrainKeys | ResizePool | ResetBreakers | report.KeyReport
)
