"""The children of one actor, or the actors at the top of the tree, in the order of their start."""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actors.cell import Cell

_DIGITS: Final = 18
"""More than the number of any actor has: Python takes long to read a long number, and refuses a very long one."""


class Siblings(dict[str | int, "Cell[Any]"]):
    """Actors by their labels: the name that each was given, or the number that makes the name of one given none."""

    __slots__ = ()

    def find(self, name: str) -> "Cell[Any] | None":
        """The one with this name."""
        if (found := self.get(name)) is not None:
            return found
        number = name.rpartition("-")[2]
        found = self.get(int(number)) if number.isdecimal() and len(number) <= _DIGITS else None
        return found if found is not None and found.name == name else None


def made_name(actor: object, number: int) -> str:
    """The name of an actor that was given none."""
    return f"{type(actor).__name__.lower()}-{number}"


# In what follows, an only child stands for itself, as one of `actors.links` does.


def find_child(children: "Siblings | Cell[Any] | None", name: str) -> "Cell[Any] | None":
    """The one with this name."""
    if isinstance(children, Siblings):
        return children.find(name)
    return children if children is not None and children.name == name else None


def with_child(children: "Siblings | Cell[Any] | None", child: "Cell[Any]") -> "Siblings | Cell[Any]":
    """The children and one more, the youngest, with a name that none of them has."""
    if children is None:
        return child
    if not isinstance(children, Siblings):
        children = Siblings({children.label: children})
    children[child.label] = child
    return children


def without_child(children: "Siblings | Cell[Any] | None", child: "Cell[Any]") -> "Siblings | Cell[Any] | None":
    """The children without that one, which is among them."""
    if not isinstance(children, Siblings):
        return None
    del children[child.label]
    return next(iter(children.values())) if len(children) == 1 else children
