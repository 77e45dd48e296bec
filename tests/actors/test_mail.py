"""Mail: what is taken late, and what is not taken again. On both event loops."""

from random import Random

import pytest

from actors.mail import Mail
from actors.memory_bus import MemoryHub
from protocol.bus import Arrived
from protocol.cluster_settings import ClusterSettings
from protocol.wire import ID_SIZE, Envelope, Kind, seal


@pytest.mark.holds("C8")
def test_what_was_taken_is_not_taken_again_when_it_is_old_and_its_request_still_waits() -> None:
    now = 1_000.0
    keyring = ClusterSettings().keyring
    mail = Mail("ada", MemoryHub().bus(), keyring, Random(1), lambda: now, limit=10_000, skew=30)
    envelope = Envelope(Kind.NOTE, bytes(ID_SIZE), "bob", now, None, bytes(ID_SIZE), b"")
    arrived = Arrived("there", seal(envelope, keyring, channel=b"there"))
    assert mail.read(arrived, lambda _: True) is not None
    assert mail.read(arrived, lambda _: True) is None, "replayed"
    now += 61
    assert mail.read(arrived, lambda _: True) is None, "replayed"
