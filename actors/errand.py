"""What a request came to, between this worker's exceptions and what travels."""

from mcp import MCPError

from protocol.errors import TroupeError
from protocol.forwarded_answer import Absent, ServerError


def told_of(error: Exception) -> Exception | ServerError:
    """An error as another worker is told it: the server's own as it was."""
    if isinstance(error, MCPError):
        data = error.error.data if "data" in error.error.model_fields_set else Absent.DATA
        return ServerError(error.error.code, error.error.message, data)
    return error


def raised_for(failure: TroupeError | ServerError) -> Exception:
    """What to raise for an error that another worker has told."""
    if not isinstance(failure, ServerError):
        return failure
    if failure.data is Absent.DATA:
        return MCPError(failure.code, failure.message)
    return MCPError(failure.code, failure.message, failure.data)
