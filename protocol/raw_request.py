"""Raw requests: a method and its params as they came, checked before anything is acquired or sent for them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final, cast

from protocol.errors import InvalidMethod, InvalidParams

_METHOD: Final = re.compile(r"[!-~]{1,200}")
"""In the stateless era a method is a header, too."""
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class RawRequest:
    """What is asked of a server, as it came. Made by `of`, which checks it.

    Attributes:
        method: the JSON-RPC method.
        params: its params; None for none.
    """

    method: str
    params: dict[str, Any] | None = field(repr=False)

    @classmethod
    def of(cls, method: object, params: object) -> "RawRequest":
        """Check what is to be asked.

        Raises:
            InvalidMethod: it cannot be a method, or no borrower of a session may ask for it.
            InvalidParams: they are no JSON object. No value is shown.
        """
        if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
            raise InvalidMethod("the method of a request must be text of 1 to 200 visible ASCII characters")
        if method == "initialize":
            raise InvalidMethod("initialize was not sent: the session was initialised when the pool opened it")
        if method.startswith("notifications/"):
            raise InvalidMethod(f"{method} was not sent: it is a notification, and has no answer to wait for")
        if params is None:
            return cls(method, None)
        if not isinstance(params, Mapping):
            raise InvalidParams(f"the params of {method} must be an object or None, not {type(params).__name__}")
        given = dict(cast("Mapping[str, Any]", params))
        if not all(isinstance(name, str) for name in given):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidParams(f"the params of {method} must be an object, whose names are text")
        if not isinstance(given.get("_meta", {}), (Mapping, NoneType)):
            raise InvalidParams(f"_meta in the params of {method} must be an object")
        try:
            _ENCODER.encode(given).encode()
        except (TypeError, ValueError, RecursionError) as error:
            # What the error quotes may be anything.
            raise InvalidParams(f"the params of {method} cannot be said in JSON ({type(error).__name__})") from None
        return cls(method, given)

    def message(self) -> dict[str, Any]:
        """The request as a message that may be changed at its outside: its params, and `_meta` in them."""
        if self.params is None:
            return {"method": self.method}
        params = dict(self.params)
        if (meta := params.pop("_meta", None)) is not None:
            params["_meta"] = dict(meta)
        return {"method": self.method, "params": params}
