"""The user's identity extractor, watched: what goes wrong in it is logged once, without its text."""

import logging
from collections.abc import Mapping

from protocol.identity import Extractor

logger = logging.getLogger(__name__)


class WatchedExtractor:
    """Calls an identity extractor, in the caller's frame, and passes on whatever comes of it.

    Args:
        extractor: the user's.
        pool: the pool's name, for the log.
    """

    __slots__ = ("_extractor", "_has_warned", "_pool")

    def __init__(self, extractor: Extractor, pool: str) -> None:
        self._extractor = extractor
        self._pool = pool
        self._has_warned = False

    def __call__(self, headers: Mapping[str, str]) -> str | None:
        """The identity that the extractor makes of the headers. Raises what the extractor raises."""
        try:
            extracted = self._extractor(headers)
        except Exception as error:
            self._warn(f"raised {type(error).__name__}")  # and no more of it: it may quote a token
            raise
        if not extracted or not isinstance(extracted, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._warn(f"answered with {type(extracted).__name__}" if extracted else "answered nothing")
        return extracted

    def _warn(self, why: str) -> None:
        if not self._has_warned:  # one for each request would fill the log: the rest is counted
            self._has_warned = True
            logger.warning(
                "the identity extractor of the pool %s %s: its callers go by their identity headers", self._pool, why
            )
