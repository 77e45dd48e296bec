"""What a user decides: which server, and how its pool behaves. Checked when it is made, never later."""

from dataclasses import dataclass, field, fields
from typing import Final, Literal
from urllib.parse import urlsplit

from protocol.errors import InvalidSettings

Mode = Literal["auto", "legacy", "2026-07-28"]
LONGEST: Final = 1e9
"""Seconds; what is longer than thirty years is a mistake, and more than timers take."""
MODES: tuple[Mode, ...] = ("auto", "legacy", "2026-07-28")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An MCP server that sessions are opened to.

    Args:
        url: the absolute http or https address of its Streamable HTTP endpoint, without userinfo.
        mode: how the protocol's era is agreed on. `"auto"` asks with `server/discover` and falls back to the
            `initialize` handshake; `"legacy"` goes straight to the handshake; a revision (`"2026-07-28"`) is taken as
            agreed on.

    Raises:
        InvalidSettings: the address is relative, of another scheme, or bears credentials; or the mode is unknown.
    """

    url: str
    mode: Mode = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"upstream url must be text, not {type(self.url).__name__}")
        try:
            parts = urlsplit(self.url)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:  # whose text quotes the url, and with it what may be a password
            raise InvalidSettings("upstream url cannot be read: give an absolute http(s) address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
            raise InvalidSettings("upstream url must be absolute, such as http://127.0.0.1:8000/mcp")
        if parts.username is not None or parts.password is not None:
            raise InvalidSettings(
                f"upstream url of {parts.hostname} bears credentials: pass them as headers, where they are kept secret"
            )
        if not self.url.isprintable() or " " in self.url:
            raise InvalidSettings(f"upstream url of {parts.hostname} has white space or control characters in it")
        if self.mode not in MODES:
            raise InvalidSettings(f"upstream mode {self.mode!r} is unknown: use one of {', '.join(MODES)}")

    @property
    def transport(self) -> str:
        """How the server is reached, as far as sessions must not be shared between ways."""
        return "streamable-http" if self.mode == "auto" else f"streamable-http;{self.mode}"

    @property
    def address(self) -> str:
        """The url as it may be shown: without its query and fragment, which can hold secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def __repr__(self) -> str:
        return f"Upstream({self.address!r}, mode={self.mode!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How a pool behaves. All durations are seconds.

    Raises:
        InvalidSettings: a value is of the wrong kind or out of its range; the message names the setting.
    """

    max_size: int = 10
    """The most sessions that one pool key holds, those being opened and closed included. At least 1."""

    max_waiting: int = 1_000
    """The most callers that may wait for one pool key; the next one is refused with `PoolFull`. 0 lets nobody wait."""

    acquire_timeout: float = 30.0
    """How long `acquire` waits for a session, its opening included, before `AcquireTimeout`; a default for its
    `timeout`."""

    connect_timeout: float = 10.0
    """How long opening one session may take, from the first packet to the end of the handshake, before
    `ConnectFailed`."""

    call_timeout: float = 300.0
    """How long one call on a session may take, before the SDK's `MCPError` with code -32001 (REQUEST_TIMEOUT)."""

    close_timeout: float = 2.0
    """How long closing one session may take, its DELETE included. Sessions close at the same time, so it also bounds
    (with as much again for callers that are woken by it) how long leaving the pool takes."""

    settle_timeout: float = 5.0
    """How long a released session waits for calls that its borrower left under way before it is closed instead of
    lent."""

    identity_secret: bytes | None = field(default=None, repr=False)
    """The key under which identities are hashed. None makes one for this pool. Processes that are to agree on what one
    identity is must share it; keep it apart from other secrets, since changing it changes every identity."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.type in (int, "int"):
                lowest = 1 if setting.name == "max_size" else 0
                if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                    raise InvalidSettings(f"{setting.name} must be a whole number of at least {lowest}, not {value!r}")
            elif setting.type in (float, "float") and (
                isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST
            ):
                raise InvalidSettings(
                    f"{setting.name} must be a number of seconds above 0 and at most {LONGEST:.0e}, not {value!r}"
                )
        secret = self.identity_secret
        if secret is not None and (not isinstance(secret, bytes) or not secret):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings("identity_secret must be bytes, at least one: leave it out to have one made")
