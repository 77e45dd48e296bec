"""How messages are made: small typed records that nobody changes after they were sent.

`@message` gives a slotted dataclass that is frozen to the type checker. It is not frozen at run time: CPython builds a
frozen dataclass through `object.__setattr__`, field by field, at three times the price, and a hit on the pool makes
eight messages.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar, dataclass_transform

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def message(declared: type[T]) -> type[T]:
    """Make `declared` a message: slotted, compared and hashed by value, frozen to the type checker."""
    return dataclass(slots=True, unsafe_hash=True)(declared)  # unsafe only for who changes one, which nobody may


class Request(Generic[R_co]):
    """A message that is asked rather than told: its receiver answers with an `R_co`."""

    __slots__ = ()


class Answer:
    """A message that answers an earlier one: a result, a release, whatever gives back what was granted.

    Mailboxes take it also when they are full, since it is bounded by what it answers. Refusing it would lose something.
    """

    __slots__ = ()
