"""Backstage: what all actors of one pool share."""

from collections.abc import Callable
from dataclasses import dataclass

from mcp.client.session import IncomingMessage

from actors.connection import Connector, MessageHandler
from actors.events import Events
from actors.tally import Tally
from protocol.keys import PoolKey
from protocol.places import NO_DEMAND, Demand
from protocol.settings import PoolSettings

HandlerFactory = Callable[[str, str], MessageHandler | None]
"""Makes the handler of what one session's server sends by itself, of the server's url and the gateway id that the
session is for (the url again, where there is none). None: nobody wants to know."""


@dataclass(slots=True, eq=False)
class Backstage:
    """What all actors of one pool share. Only its settings are ever replaced.

    Attributes:
        settings: how the pool behaves.
        connector: opens sessions.
        tally: what is counted for the pool as a whole.
        events: where what happens is told.
        handlers: makes message handlers.
        demand: what other keys want of one that has a session to spare.
        conversation_over: told the downstream sessions of which no key is left, where anybody wants to know.
        overheard: given what servers send of themselves in sessions of conversations, where anybody wants to know.
    """

    settings: PoolSettings
    connector: Connector
    tally: Tally
    events: Events
    handlers: HandlerFactory | None = None
    demand: Demand = NO_DEMAND
    conversation_over: Callable[[str], None] | None = None
    overheard: Callable[[PoolKey, IncomingMessage], None] | None = None
