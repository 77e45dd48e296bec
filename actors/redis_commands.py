"""What the bus's commands are in Redis: their arguments, and how their answers are read.

Holdings are hashes, so that `redis-cli HGETALL` shows them. Each change of one is a script that touches one key, and
answers with the hash as it is afterwards. Scripts go as they are (`EVAL`): a server that restarts or fails over may
know none by its digest.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from protocol.bus import (
    Beat,
    Claim,
    Command,
    Count,
    Find,
    Forget,
    Holding,
    Look,
    Peers,
    Post,
    PostWhileHeard,
    Refresh,
    Release,
)
from protocol.namespace import Namespace

_FIELDS: Final = ("owner", "token", "principal")

CLAIM: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'principal')
if held[2] then
  local may = false
  for place, token in ipairs(ARGV) do
    if held[2] == token and (place == 2 or place > 4) then may = true end
  end
  if not may then return held end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', ARGV[2], 'principal', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {ARGV[1], ARGV[2], ARGV[3]}
"""
REFRESH: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'principal')
if held[2] == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return held
"""
RELEASE: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'token', 'principal')
if held[2] ~= ARGV[1] then return held end
redis.call('DEL', KEYS[1])
return {false, false, false}
"""
BEAT: Final = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3], ARGV[1])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
"""
"""The list of workers ends with the last that lives."""

PEERS: Final = """
local now = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
local found = {}
for _, worker in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local said = redis.call('GET', ARGV[1] .. worker)
  if said then
    found[#found + 1] = worker
    found[#found + 1] = said
  end
end
return found
"""
FORGET: Final = """
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
"""
RUN: Final = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], string.format('%s.%06d', now[1], now[2]), 'NX')
return {redis.call('GET', KEYS[1]), now[1], now[2]}
"""
"""When the records were begun, which is now if nothing says otherwise, and what time it is. A replica refuses it, so
that nobody takes one for the master."""

POST_WHILE_HEARD: Final = """
if redis.call('PUBSUB', 'NUMSUB', ARGV[3])[2] < 1 then return 0 end
return redis.call('PUBLISH', ARGV[1], ARGV[2])
"""

Arguments = tuple[str | bytes | int, ...]


def arguments_of(command: Command[Any], names: Namespace) -> Arguments:
    """A command as Redis takes it.

    Raises:
        TypeError: it is none of the bus's.
    """
    match command:
        case Post(channel, envelope):
            return "PUBLISH", channel, envelope
        case PostWhileHeard(channel, envelope, own):
            return "EVAL", POST_WHILE_HEARD, 0, channel, envelope, own
        case Count(channel):
            return "PUBSUB", "NUMSUB", channel
        case Find(session_id):
            return "HMGET", names.owner(session_id), *_FIELDS
        case Claim(session_id, holding, lifetime, over):
            held = holding.owner, holding.token, holding.principal
            return "EVAL", CLAIM, 1, names.owner(session_id), *held, _milliseconds(lifetime), *over
        case Refresh(session_id, token, lifetime):
            return "EVAL", REFRESH, 1, names.owner(session_id), token, _milliseconds(lifetime)
        case Release(session_id, token):
            return "EVAL", RELEASE, 1, names.owner(session_id), token
        case Beat(worker, lifetime, said):
            keys = names.worker(worker), names.workers
            return "EVAL", BEAT, 2, *keys, worker, said, _milliseconds(lifetime)
        case Look(worker):
            return "GET", names.worker(worker)
        case Forget(worker):
            return "EVAL", FORGET, 2, names.worker(worker), names.workers, worker
        case Peers():
            return "EVAL", PEERS, 1, names.workers, names.worker("")
        case _:
            raise TypeError(f"a bus cannot do {type(command).__name__}")


def ask_of_run(names: Namespace) -> Arguments:
    """The question how old the records are."""
    return "EVAL", RUN, 1, names.run


def read_age(answer: Any) -> float:
    """The answer to it, in seconds.

    Raises:
        ValueError, TypeError: it is no such answer.
    """
    begun_at, seconds, microseconds = answer
    # A clock that was set back makes the records young: that costs patience, and no more.
    return max(0.0, int(seconds) + int(microseconds) / 1e6 - float(begun_at))


def read_answer(command: Command[Any], answer: Any) -> Any:
    """What Redis answered, as the command promises it.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is no such answer.
    """
    return _READ[type(command)](answer)


def _count(answer: Any) -> int:
    return int(answer[1])


def _holding(answer: Any) -> Holding | None:
    owner, token, principal = cast("list[bytes | None]", answer)
    if owner is None or token is None or principal is None:
        return None
    return Holding(owner.decode("ascii"), token.decode("ascii"), principal.decode("ascii"))


def _said(answer: Any) -> bytes | None:
    if not isinstance(answer, bytes | None):
        raise TypeError("it is no string")
    return answer


def _peers(answer: Any) -> Mapping[str, bytes]:
    words = iter(cast("list[bytes]", answer))
    return {worker.decode("ascii"): said for worker, said in zip(words, words, strict=True)}


def _nothing(_: Any) -> None:
    return None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


_READ: Final[dict[type[Command[Any]], Callable[[Any], Any]]] = {
    Post: int,
    PostWhileHeard: int,
    Count: _count,
    Find: _holding,
    Claim: _holding,
    Refresh: _holding,
    Release: _holding,
    Beat: _nothing,
    Look: _said,
    Peers: _peers,
    Forget: _nothing,
}
