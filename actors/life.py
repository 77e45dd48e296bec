"""Where an actor is in its life."""

from enum import Enum
from typing import Final


class Life(Enum):
    """The stages of an actor's life, in their order."""

    STARTING = "starting"
    """Its `starting` runs. Messages are held for it."""
    RUNNING = "running"
    DRAINING = "draining"
    """It takes no more requests; answers, effects, timers and signals still reach it."""
    STOPPING = "stopping"
    """It has no more turns but its last; its children and effects are ending."""
    STOPPED = "stopped"


# On Python 3.11 looking a member up in its Enum takes ten times as long as looking up a name.
STARTING: Final = Life.STARTING
RUNNING: Final = Life.RUNNING
DRAINING: Final = Life.DRAINING
STOPPING: Final = Life.STOPPING
STOPPED: Final = Life.STOPPED
