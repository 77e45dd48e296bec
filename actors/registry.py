"""The registry: finds the supervisor of every pool key, starts it on demand, and looks after what keys share.

That is the permits for sessions and the places for keys (`protocol.capacity`), the breakers of endpoints and
credentials (`protocol.breakers`), and the conversations (`actors.conversations`).
"""

from collections.abc import Sequence
from typing import Any, Final, assert_never, cast

from typing_extensions import override

from actors import key_reports as report
from actors.acquire import Acquire
from actors.actor import Actor, Signal
from actors.backstage import Backstage
from actors.conversations import Conversations
from actors.endpoints import Endpoints
from actors.key_statistics import KeyStats
from actors.named import resolve
from actors.pool_supervisor import PoolSupervisor
from actors.ref import Ref, Terminated
from actors.registry_messages import (
    Close,
    ConversationTaken,
    DrainKeys,
    EndConversation,
    Find,
    RegistryMessage,
    ResetBreakers,
    ResizePool,
)
from actors.reply import AskerGone, Reply, Unclaimed
from actors.statistics import BreakerStats
from actors.supervisor_messages import EndKey, NeverAsked, SupervisorMessage
from protocol import capacity_events as capacity
from protocol import pool_messages as pool
from protocol.capacity import Capacity
from protocol.errors import ConversationEnded, PoolClosed, PrincipalMismatch, TroupeError
from protocol.keys import PoolKey
from protocol.pool_events import KeyAdded, KeyEvicted, KeyEviction
from protocol.settings import PoolSettings

TENANT_DIGITS: Final = 16
"""How much of a principal's digest tells tenants apart where nothing is lent: whose sticky session makes room."""

_Key = PoolSupervisor
"""What permits are counted by: a key that was forgotten and came back is another one."""


class Registry(Actor[RegistryMessage]):
    """Knows the supervisor of every pool key.

    Attributes:
        refs: the supervisors by their keys: whoever finds an address there need not ask for it. To be read only.
    """

    __slots__ = (
        "_alive",
        "_backstage",
        "_capacity",
        "_closing",
        "_conversations",
        "_endpoints",
        "_evicted",
        "_is_resized",
        "_joining",
        "_living",
        "refs",
    )

    def __init__(self, backstage: Backstage) -> None:
        self._backstage = backstage
        self._capacity = _capacity(backstage.settings)
        backstage.demand = self._capacity
        self.refs: dict[PoolKey, Ref[SupervisorMessage]] = {}
        self._living: dict[_Key, None] = {}
        self._alive = 0
        self._joining: dict[PoolKey, tuple[_Key, list[Reply[Ref[SupervisorMessage]]]]] = {}
        self._conversations = Conversations[_Key]()
        self._evicted: dict[_Key, KeyEviction] = {}
        self._closing: list[Reply[None]] | None = None
        self._is_resized = False

    @override
    def started(self) -> None:
        self._endpoints = Endpoints(self._backstage, self.system.now, self.random)

    @override
    def receive(self, message: RegistryMessage) -> None:  # noqa: C901, PLR0912 - a row per message
        match message:
            case report.SessionIdled():  # far more frequent than all others
                if effects := self._capacity.idled(message.key, self.now()):
                    self._do(effects)
            case Find(acquire):
                self._find(acquire)
            case report.PermitWanted():
                self._permit_wanted(message)
            case report.PermitUnwanted(key):
                self._endpoints.unwanted(key)
                self._tell_capacity(capacity.Unreserve(key))
            case report.PermitReturned(key, attempt):
                if attempt is not None:
                    self._endpoints.given_up(key, attempt)
                self._tell_capacity(capacity.Returned(key))
            case report.SessionYielded(key):
                self._tell_capacity(capacity.Yielded(key))
            case report.NothingIdle(key, was_to_end):
                if was_to_end and self._evicted.get(key) is KeyEviction.ROOM:
                    del self._evicted[key]  # it does not end for that
                self._tell_capacity(capacity.InUse(key) if was_to_end else capacity.Busy(key))
            case report.KeyLeaves(key):
                self._leaves(key)
            case report.AttemptPassedOn(key, attempt, by):
                self._endpoints.passed_on(key, attempt, by)
            case report.EndpointAnswered(key, attempt):
                self._endpoints.opened(key, attempt)
            case report.OpeningFailed(key, attempt, error):
                self._endpoints.failed(key, attempt, error)
            case report.SessionFailed(key, fault, opened_at):
                self._endpoints.broke(key, fault, opened_at)
            case report.CredentialRefused(key, credential, retry_after):
                self._endpoints.refused(key, credential, retry_after)
            case EndConversation(session_id):
                self._end_conversation(session_id)
            case ConversationTaken(session_id):
                self._conversation_taken(session_id)
            case DrainKeys(url):
                for key in self._living:
                    if url is None or key.key.url == url:
                        key.ref.tell(pool.Drain())
            case ResizePool(settings):
                self._resize(settings)
            case ResetBreakers(endpoint):
                self._endpoints.reset(endpoint)
            case Close():
                self._close()
            case _:
                assert_never(message)

    @override
    def signal(self, signal: Signal) -> None:
        match signal:
            case Terminated(ref, reason):
                self._ended(ref, has_failed=reason is not None)
            case AskerGone(reply):
                self._stopped_waiting(reply)
            case Unclaimed(_, supervisor) if isinstance(supervisor, Ref):
                cast("Ref[SupervisorMessage]", supervisor).tell(NeverAsked())
            case _:
                pass

    # --- what can be seen

    def describe(self, key: PoolKey) -> str:
        """The key's pool and its state, for errors."""
        ref = self.refs.get(key)
        return f"pool of {key.name} (not started)" if ref is None else _supervisor(ref).describe()

    def stats(self) -> list[KeyStats]:
        """The figures of every key."""
        return [supervisor.stats() for supervisor in self._living]

    def permits(self) -> capacity.CapacityCounts:
        """The figures of the permits."""
        return self._capacity.counts()

    def breaker_stats(self) -> tuple[BreakerStats, ...]:
        """The breakers that have seen a failure."""
        return self._endpoints.stats() if self.is_spawned else ()

    # --- keys

    def hide(self, session_id: str) -> None:
        """Have who asks for a key of this downstream session ask here, and so after what was told here before."""
        for key in self._conversations.keys(session_id):
            self._forget(key)

    def _find(self, acquire: Acquire) -> None:
        reply = self.keep_reply()
        if self._closing is not None:
            reply.fail(PoolClosed("the pool is closed: open another one"))
            return
        key = acquire.key
        if (known := self.refs.get(key)) is not None and known.is_alive:
            reply.answer(known)
        elif key in self._joining:
            self._joining[key][1].append(reply)
        elif (refusal := self._refuse_stranger(acquire)) is not None:
            reply.fail(refusal)
        else:
            is_lost = self._conversations.is_lost(key)
            is_taken = self._conversations.is_taken(key)
            joining = PoolSupervisor(acquire, self._backstage, self.ref, is_lost=is_lost, is_presumed=is_taken)
            self._conversations.add(joining)
            self._joining[key] = joining, [reply]
            caller = acquire.caller
            tenant = caller.principal[:TENANT_DIGITS]
            scope = capacity.Scope(caller.user, key.gateway_id, tenant, key.is_sticky)
            self._tell_capacity(capacity.AddKey(joining, scope))

    def _refuse_stranger(self, acquire: Acquire) -> TroupeError | None:
        """Refuse whoever is not the principal that used a downstream session first."""
        session_id = acquire.key.session_id
        if session_id is None or not self._backstage.settings.check_principal:
            return None
        if self._conversations.principal(session_id) in (None, acquire.caller.principal):
            return None
        return PrincipalMismatch(
            f"{acquire.key.name}: this downstream session belongs to somebody else: initialise one of your own"
        )

    def _end_conversation(self, session_id: str) -> None:
        for key in self._conversations.end(session_id):
            if key in self._living:
                self._leaves(key)
                self._evicted[key] = KeyEviction.ENDED
                key.ref.tell(EndKey())
            elif key.key in self._joining:
                ended = ConversationEnded(f"{key.key.name}: this conversation was ended while its caller waited")
                for reply in self._joining.pop(key.key)[1]:
                    reply.fail(ended)
                self._tell_capacity(capacity.RemoveKey(key))
        if (over := self._backstage.conversation_over) is not None:
            over(session_id)

    def _admitted(self, key: _Key) -> None:
        ref = self.refs[key.key] = self.spawn(key)
        if self._is_resized:  # maybe while it waited, and it was made with the settings of before
            ref.tell(pool.Resize(self._backstage.settings))
        self.watch(ref)
        self._living[key] = None
        self._conversations.succeeded(key.key)
        self._alive += 1
        self._backstage.events.publish(KeyAdded(key.key.name, self.now()))
        for reply in self._joining.pop(key.key)[1]:
            reply.answer(ref)

    def _refused(self, key: _Key, error: TroupeError) -> None:
        self._remove(key)
        for reply in self._joining.pop(key.key)[1]:
            reply.fail(error)

    def _stopped_waiting(self, reply: Reply[Any]) -> None:
        """Whoever waited for a key's place has gone; with the last of them, so has the key."""
        for key, replies in self._joining.values():
            if reply in replies:
                replies.remove(reply)
                if not replies:
                    del self._joining[key.key]
                    self._remove(key)
                    self._tell_capacity(capacity.RemoveKey(key))
                return

    def has_conversation(self, session_id: str) -> bool:
        """Whether the downstream session has keys here, or is still to be told of a loss."""
        return self._conversations.knows(session_id)

    def _conversation_taken(self, session_id: str) -> None:
        forgotten = self._conversations.taken(session_id, self._backstage.settings.max_keys)
        over = self._backstage.conversation_over
        if forgotten is not None and over is not None and not self.has_conversation(forgotten):
            over(forgotten)

    def _remove(self, key: _Key) -> None:
        """A conversation's key has ended, or did not begin. Whoever wants to know is told if it was the last."""
        self._conversations.remove(key)
        session_id, over = key.key.session_id, self._backstage.conversation_over
        if session_id is not None and over is not None and not self.has_conversation(session_id):
            over(session_id)

    def _forget(self, key: _Key) -> None:
        """Who asks for this key from now on gets another supervisor."""
        if self.refs.get(key.key) is key.ref:
            del self.refs[key.key]

    def _leaves(self, key: _Key) -> None:
        """It ends for certain: it is not found any more, and its place is counted on."""
        self._forget(key)
        self._tell_capacity(capacity.Leaves(key))

    def _ended(self, ref: Ref[Any], *, has_failed: bool) -> None:
        key = _supervisor(ref)
        self._alive -= 1
        if self._closing is None:  # once the pool closes they stay, so that its last figures can be read
            del self._living[key]
            self._forget(key)
            self._remove(key)
            why = self._evicted.pop(key, KeyEviction.IDLE)
            if has_failed:
                if why is not KeyEviction.ENDED and key.owes_loss:
                    self._conversations.crashed(key.key, self._backstage.settings.max_keys)
                why = KeyEviction.CRASHED
            self._backstage.tally.evict(key.stats(), why)
            self._backstage.events.publish(KeyEvicted(key.key.name, why, self.now()))
        self._endpoints.ended(key)
        self._tell_capacity(capacity.RemoveKey(key))
        self._answer_if_closed()

    # --- permits

    def _permit_wanted(self, wanted: report.PermitWanted) -> None:
        key: _Key = wanted.key
        if (refusal := self._endpoints.ask(key, wanted.credential)) is not None:
            key.ref.tell(pool.PermitRefused(refusal, wanted.waiter))
            return
        self._tell_capacity(capacity.ReserveSpare(key) if wanted.waiter is None else capacity.Reserve(key))

    def _tell_capacity(self, event: capacity.CapacityEvent[_Key]) -> None:
        self._do(self._capacity.handle(event, now=self.now()))

    def _do(self, effects: Sequence[capacity.CapacityEffect[_Key]]) -> None:
        for effect in effects:
            match effect:
                case capacity.Permit(key):
                    key.ref.tell(pool.PermitGranted(self._endpoints.permitted(key)))
                case capacity.NoSpare(key):
                    self._endpoints.unwanted(key)
                    key.ref.tell(pool.PermitRefused(None))
                case capacity.MakeRoom(key):
                    key.ref.tell(pool.MakeRoom())
                case capacity.AdmitKey(key):
                    self._admitted(key)
                case capacity.RefuseKey(key, error):
                    self._refused(key, error)
                case capacity.EvictKey(key):
                    self._evicted.setdefault(key, KeyEviction.ROOM)
                    key.ref.tell(pool.Evict())
                case _:
                    assert_never(effect)

    # --- the whole pool

    def _resize(self, settings: PoolSettings) -> None:
        self._backstage.settings = settings
        self._is_resized = True
        self._tell_capacity(
            capacity.Resized(
                settings.max_sessions,
                settings.max_keys,
                settings.max_sessions_per_user,
                settings.max_sessions_per_gateway,
            )
        )
        for key in self._living:
            key.ref.tell(pool.Resize(settings))

    def _close(self) -> None:
        if self._closing is None:
            self._closing = []
            for key in self._living:
                key.ref.tell(pool.Shut())
            joining, self._joining = self._joining, {}
            for key, replies in joining.values():
                self._conversations.remove(key)
                self._tell_capacity(capacity.RemoveKey(key))  # lest it gets a place that becomes free now
                for reply in replies:
                    reply.fail(PoolClosed("the pool was closed while this caller waited: open another one"))
        self._closing.append(self.keep_reply())
        self._answer_if_closed()

    def _answer_if_closed(self) -> None:
        if self._closing is not None and self._alive == 0:
            for reply in self._closing:
                reply.answer(None)


def _supervisor(ref: Ref[Any]) -> PoolSupervisor:
    """The actor behind the ref of one that this registry has spawned."""
    cell = resolve(ref)
    if cell is None or not isinstance(cell.actor, PoolSupervisor):
        raise TypeError(f"{ref!r} is no pool supervisor of this system")
    return cell.actor


def _capacity(settings: PoolSettings) -> Capacity[_Key]:
    return Capacity(
        max_sessions=settings.max_sessions,
        max_keys=settings.max_keys,
        max_sessions_per_user=settings.max_sessions_per_user,
        max_sessions_per_gateway=settings.max_sessions_per_gateway,
    )
