"""What the supervisor of a pool key is told: by callers and leases, by its sessions, by the registry, and by itself."""

from actors.acquire import Acquire
from actors.lease import CallRefused, Lease
from actors.reply import Reply
from actors.session import SessionFaulted, SessionProven, SessionReady
from protocol import pool_messages as pool
from protocol.message import Answer, message


@message
class EndKey(Answer):
    """The conversation of the key is over."""


@message
class NeverAsked(Answer):
    """Whoever the key was started for has gone, perhaps before it asked: then nothing else would ever look after it."""


@message
class ReportIdle(Answer):
    """The registry may want to know of an idle session."""


SupervisorMessage = (
    Acquire
    | EndKey
    | NeverAsked
    | ReportIdle
    | SessionReady
    | SessionProven
    | SessionFaulted
    | CallRefused
    | pool.Untold
    | pool.Told
    | pool.Release
    | pool.CallsEnded
    | pool.CallsOverdue
    | pool.Abandoned
    | pool.SessionChecked
    | pool.SessionGone
    | pool.PermitGranted
    | pool.PermitRefused[Reply[Lease]]
    | pool.MakeRoom
    | pool.Evict
    | pool.Drain
    | pool.Share
    | pool.Resize
    | pool.Tick
    | pool.Shut
)
