"""What went wrong with a Redis, in words that may be shown.

Redis's own words say best what is wrong, but some repeat what it was sent: a command that it does not know with its
arguments, an answer that cannot be read, the user's name.
"""

import re
from typing import Final

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    RedisError,
    TryAgainError,
)

_ARGUMENTS: Final = re.compile(r",? with args beginning with.*", re.DOTALL)
_USER: Final = re.compile(r"\bUser \S+ has no permissions")
_OF_A_CLUSTER: Final = (AskError, ClusterCrossSlotError, ClusterDownError, TryAgainError)


class LineBroke(Exception):
    """The line is not what it has to be. Says why, without anything secret."""


def words_of(error: BaseException) -> str:
    """What an error says, without anything secret."""
    inner = error.args[0] if isinstance(error, RedisError) and error.args else None
    if isinstance(inner, Exception):  # the library wraps what it does not know
        return words_of(inner)
    if isinstance(error, InvalidResponse):
        return "it said what is no answer of a Redis"
    if not isinstance(error, (RedisError, OSError, LineBroke)):
        return f"{type(error).__name__} was raised"
    text = _USER.sub("this user has no permissions", _ARGUMENTS.sub("", str(error)))
    code = getattr(error, "status_code", None)
    if isinstance(code, str) and code != "ERR":
        text = f"{code} {text}"
    if isinstance(error, _OF_A_CLUSTER):
        text += " (it is a node of a Redis Cluster, which is not supported)"
    return text or type(error).__name__
