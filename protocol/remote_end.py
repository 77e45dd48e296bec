"""The end of a downstream session, told to the worker that owns it: the payload of an envelope that is an END."""

from typing import Final

from protocol.errors import EnvelopeRefused, InvalidSettings, Refusal
from protocol.headers import check_session_id
from protocol.layout import Layout, is_text
from protocol.message import message


@message
class RemoteEnd:
    """The session is over.

    Attributes:
        session_id: the downstream session.
        token: of the holding that is to end; another holding of the same session is another conversation.
    """

    session_id: str
    token: str

    def pack(self) -> bytes:
        """This as the payload of an envelope.

        Raises:
            EnvelopeRefused: nobody would take it (MALFORMED).
        """
        return _END.pack((self.session_id, self.token))

    @classmethod
    def unpack(cls, payload: bytes) -> "RemoteEnd":
        """What an envelope's payload says.

        Raises:
            EnvelopeRefused: it says something else (MALFORMED). Nothing else is raised, whatever the bytes are.
        """
        session_id, token = _END.unpack(payload)
        try:
            check_session_id(session_id)
        except InvalidSettings:
            raise EnvelopeRefused("an end is of no session that there can be", reason=Refusal.MALFORMED) from None
        return cls(session_id, token)


_END: Final = Layout("an end", {"session id": is_text, "token": is_text})
