"""What `@message` makes of a class."""

import pytest

from protocol.message import Answer, Request, message


@message
class Order(Request[str]):
    dish: str
    count: int = 1


@message
class Served(Answer):
    dish: str


def test_messages_of_equal_values_are_equal_and_hash_alike() -> None:
    assert Order("soup") == Order("soup", 1)
    assert Order("soup") != Order("soup", 2)
    assert len({Order("soup"), Order("soup"), Order("soup", 2)}) == 2
    assert repr(Order("soup")) == "Order(dish='soup', count=1)"


@pytest.mark.parametrize("given", [Order("soup"), Served("soup")])
def test_a_message_has_its_fields_and_room_for_nothing_else(given: Order | Served) -> None:
    assert not hasattr(given, "__dict__")
    with pytest.raises(AttributeError):
        given.note = "hot"  # type: ignore[union-attr]
