"""How a failure is told in a log: where it happened and of what kind it was, never in its own words.

An exception's text is made by whoever raised it, and may hold what they were working with: a token, an address with a
password. Whoever needs the text has the exception itself, as the reason in `Terminated`.
"""

import traceback
from typing import cast

from protocol.errors import TroupeError


def told(error: BaseException, known: frozenset[int] = frozenset()) -> str:
    """The kinds and places of an exception and of what it came from, innermost last.

    Args:
        error: the exception.
        known: ids of those that are told already, since causes may go in circles.
    """
    if id(error) in known:
        return f"{type(error).__name__}, as above\n"
    known |= {id(error)}
    # Troupe's own texts hold no secrets.
    text = f": {error}" if isinstance(error, TroupeError) else ""
    lines = [type(error).__name__, text, "\n", *traceback.format_tb(error.__traceback__)]
    inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        lines += [f"with {told(member, known)}" for member in group.exceptions]
    if inner is not None:
        lines.append(f"from {told(inner, known)}")
    return "".join(lines)
