"""Lines: of the leases that are held here of conversations which other workers own. A part of the cluster actor.

An owner holds a lease for as long as it is told so. So each is told once in a `lifetime` which of its leases this
worker holds, and at once of one that is given back; should that be lost, the lease is told of no more. What an owner
has to say of a lease at any time comes with the lease's name.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from actors.mail import Mail
from protocol.cluster_settings import BEATS
from protocol.errors import EnvelopeRefused
from protocol.forwarded_answer import Note, unpack_note
from protocol.message import Answer, message
from protocol.namespace import Namespace
from protocol.remote_lease import Held
from protocol.wire import Envelope, Kind

AT_ONCE: Final = 200
"""Names that are told in one envelope: the smallest that workers may be set to take has room for them."""


@message
class Borrowed(Answer):
    """A lease of another worker's is sought, or held, under this name.

    Attributes:
        name: of the lease.
        owner: the worker.
        notes: told what the owner says of it; in a turn, so it is to do no more than to note it.
    """

    name: str
    owner: str
    notes: Callable[[Note], None]


@message
class Returned(Answer):
    """The lease of this name is held no more."""

    name: str


class Lines:
    """See above.

    Args:
        mail: to other workers.
        names: of channels.
    """

    __slots__ = ("_beats", "_lines", "_mail", "_names")

    def __init__(self, mail: Mail, names: Namespace) -> None:
        self._mail = mail
        self._names = names
        self._lines: dict[str, Borrowed] = {}
        self._beats = 0

    def __len__(self) -> int:
        """How many leases are held here."""
        return len(self._lines)

    def open(self, borrowed: Borrowed) -> None:
        """A lease is sought."""
        self._lines[borrowed.name] = borrowed

    def close(self, name: str) -> None:
        """A lease is held no more."""
        if (line := self._lines.pop(name, None)) is not None:
            self._tell(line.owner, Held(returned=(name,)))

    def beat(self) -> None:
        """A part of a lifetime is over."""
        self._beats = (self._beats + 1) % BEATS
        if self._beats:
            return
        held: dict[str, list[str]] = {}
        for line in self._lines.values():
            held.setdefault(line.owner, []).append(line.name)
        for owner, names in held.items():
            for first in range(0, len(names), AT_ONCE):
                self._tell(owner, Held(kept=tuple(names[first : first + AT_ONCE])))

    def noted(self, envelope: Envelope) -> None:
        """An owner says something; of a lease, it may be. What cannot be read, or is nobody's, is left out."""
        line = self._lines.get(envelope.correlation.hex())
        if line is not None and line.owner == envelope.sender:
            with suppress(EnvelopeRefused):
                line.notes(unpack_note(envelope.payload))

    def _tell(self, owner: str, held: Held) -> None:
        self._mail.post(self._names.requests(owner), Kind.LEASES, self._mail.correlation(), held.pack())
