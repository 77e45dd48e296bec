"""What is told of one key's sessions and leases: counted, published and, where somebody has to see to it, logged."""

import logging

from actors.backstage import Backstage
from actors.lease import told
from protocol.loan import Loan
from protocol.pool_events import (
    Leased,
    LeaseHeldLong,
    OpeningFailed,
    Released,
    SessionCreated,
    SessionEnded,
    SessionRetired,
)
from protocol.pool_messages import SessionGone
from protocol.session import Retirement

logger = logging.getLogger(__name__)


def tell_created(backstage: Backstage, key: str, session: int, seconds: float, now: float) -> None:
    """A session is open, after so many seconds."""
    backstage.tally.connects.record(seconds)
    backstage.events.publish(SessionCreated(key, session, seconds, now))


def tell_opening_failed(backstage: Backstage, key: str, gone: SessionGone, now: float) -> None:
    """A session could not be opened."""
    error = gone.error
    step, status = getattr(error, "step", "connect"), getattr(error, "status", None)
    backstage.events.publish(OpeningFailed(key, gone.session, type(error).__name__, step, status, now))


def tell_retired(backstage: Backstage, key: str, session: int, reason: Retirement, now: float) -> None:
    """A session is being closed."""
    backstage.tally.retired[reason] += 1
    backstage.events.publish(SessionRetired(key, session, reason, now))


def tell_ended(backstage: Backstage, key: str, session: int, uses: int, now: float) -> None:
    """A session that was open has ended."""
    backstage.tally.session_uses.record(uses)
    backstage.events.publish(SessionEnded(key, session, uses, now))


def tell_leased(backstage: Backstage, key: str, loan: Loan, waited: float, now: float) -> None:
    """A session was lent, to who waited so long."""
    backstage.events.publish(Leased(key, loan.session.number, loan.number, waited, now))


def tell_released(backstage: Backstage, key: str, loan: Loan, now: float) -> None:
    """A lease is over."""
    backstage.events.publish(Released(key, loan.session.number, loan.number, now - loan.since, now))


def tell_held_long(backstage: Backstage, key: str, address: str, loan: Loan, now: float) -> None:
    """A lease has been held for long; `loan.note` says where it was acquired."""
    held = now - loan.since
    backstage.tally.leases_held_long += 1
    backstage.events.publish(LeaseHeldLong(key, loan.session.number, loan.number, held, now))
    logger.warning(
        "a lease of a session with %s has been held for %.1f s: it was acquired at %s", address, held, told(loan.note)
    )
