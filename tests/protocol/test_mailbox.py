"""What bound a mailbox may have."""

from typing import Any

import pytest

from protocol.errors import InvalidSettings
from protocol.mailbox import Mailbox, Overflow


def test_a_mailbox_is_bounded_and_rejects_unless_something_else_is_said() -> None:
    assert Mailbox() == Mailbox(10_000, Overflow.REJECT)
    assert Mailbox(1).capacity == 1


@pytest.mark.parametrize("overflow", Overflow)
def test_a_policy_is_accepted_as_itself_and_as_its_text(overflow: Overflow) -> None:
    assert Mailbox(overflow=overflow).overflow is overflow
    assert Mailbox(overflow=overflow.value).overflow is overflow


@pytest.mark.parametrize("capacity", [0, -1, True, 1.0, "1", None])
def test_a_capacity_that_is_no_count_is_refused(capacity: Any) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Mailbox(capacity)
    assert str(refused.value) == (
        f"a mailbox needs a capacity of at least 1 request, not {capacity!r}: the one being handled does not "
        "count, so 1 lets one wait"
    )


@pytest.mark.parametrize("overflow", ["drop", "", None, 1])
def test_an_unknown_policy_is_refused_with_the_known_ones(overflow: Any) -> None:
    with pytest.raises(InvalidSettings) as refused:
        Mailbox(overflow=overflow)
    known = "'reject', 'drop_oldest', 'drop_newest'"
    assert str(refused.value) == f"a mailbox overflows by one of {known}, not by {overflow!r}"
