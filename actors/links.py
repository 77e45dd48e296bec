"""What belongs to an actor, by kind: timers, effects, watchers. None, one, or several, in the order in which they came.

Most actors have none or one of each, and there may be a hundred thousand of them. So one stands for itself, and only
several make a dict, which is 232 bytes at the least and keeps its size when it is emptied. A set would do worse: its
order depends on addresses, and a run under a seed must not.
"""

from typing import TYPE_CHECKING, Any, TypeVar, final

if TYPE_CHECKING:
    from actors.effect import Effect
    from actors.ref import Ref
    from actors.reply import Reply
    from actors.timer import Alarm

T = TypeVar("T", bound="Alarm | Effect | Ref[Any] | Reply[Any]")


@final
class Several(dict[T, None]):
    """More than one."""

    __slots__ = ()


Links = T | Several[T] | None


def with_link(links: Links[T], item: T) -> Links[T]:
    """The links and one more, last; the same if it is among them."""
    if links is None:
        return item
    if isinstance(links, Several):
        links[item] = None
        return links
    return links if links == item else Several({links: None, item: None})


def without_link(links: Links[T], item: T) -> Links[T]:
    """The links without that one, if it is among them."""
    if isinstance(links, Several):
        links.pop(item, None)
        return next(iter(links)) if len(links) == 1 else links
    return None if links == item else links


def has_link(links: Links[T], item: T) -> bool:
    """Whether it is among them."""
    return item in links if isinstance(links, Several) else links is not None and links == item


def each(links: Links[T]) -> tuple[T, ...]:
    """All of them, as they are now: those who go through them may add and take away."""
    if links is None:
        return ()
    return tuple(links) if isinstance(links, Several) else (links,)
