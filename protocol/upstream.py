"""An MCP server that sessions are opened to: its address, and how it is reached. Checked when it is made, never later.

When one of its connection fields changes, the sessions opened before are retired: they end as they come back, and the
next acquire opens new ones. Its name is no such field, and changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from typing_extensions import override

from protocol.errors import InvalidSettings

Mode = Literal["auto", "legacy", "2026-07-28"]
Transport = Literal["streamable-http", "sse"]
Sharing = Literal["exclusive"] | int
MODES: Final[tuple[Mode, ...]] = ("auto", "legacy", "2026-07-28")
TRANSPORTS: Final[tuple[Transport, ...]] = ("streamable-http", "sse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How an https server is authenticated, and how it is shown who asks. Sessions with equal settings share a context.

    Args:
        ca_file: a PEM file of the authorities that are trusted; None means the usual ones.
        certificate: a PEM file with the client's certificate, for servers that ask for one.
        key: a PEM file with its private key, where the certificate's file has none.
        verify: False trusts any server. For tests.

    Raises:
        InvalidSettings: a file is not a path as text, `verify` is not a bool, there is a key without a certificate, or
            authorities are named that `verify=False` would not look at. Files are not read here.
    """

    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        for name in ("ca_file", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and (not isinstance(path, str) or not path or "\0" in path):
                raise InvalidSettings(f"tls {name} must be the path of a PEM file as text, or None")
        if not isinstance(self.verify, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"tls verify must be True or False, not {type(self.verify).__name__}")
        if self.key is not None and self.certificate is None:
            raise InvalidSettings("tls key is given without a certificate: give the certificate that it belongs to")
        if self.ca_file is not None and not self.verify:
            raise InvalidSettings("tls ca_file would not be looked at, since verify is False: give one of them")


@dataclass(frozen=True, slots=True)
class Upstream:
    """An MCP server that sessions are opened to.

    Two are equal when all but their names are.

    Args:
        url: the absolute http or https address of its endpoint, without userinfo.
        mode: how the protocol's era is agreed on. `"auto"` asks with `server/discover` and falls back to the
            `initialize` handshake; `"legacy"` goes straight to the handshake; a revision (`"2026-07-28"`) is taken as
            agreed on, which saves a request, and fails with servers that do not speak it.
        transport: `"streamable-http"`, or `"sse"` for the older HTTP with server-sent events, which has no
            sessionless protocol.
        sharing: how many leases a session may have at once: `"exclusive"` for one, or a number. None means one for
            servers that keep state in their sessions (the handshake era), and `PoolSettings.shared_leases` for those
            that do not (2026-07-28 and later). Sticky sessions are each one conversation's, whatever this says.
        tls: certificates and trust, for https.
        http_client: makes the `httpx2.AsyncClient` that requests go through: proxies, `httpx2.Auth`, hooks. Called
            for each session as the SDK calls its `McpHttpClientFactory` (`headers`, `timeout`, `auth`).
        name: what people call the server. It changes nothing.

    Attributes:
        connection: the fields whose change retires sessions: all but the name.
        address: the url as it may be shown: without its query and fragment, which can hold secrets.
        way: how the server is reached, as far as sessions must not be shared between ways.

    Raises:
        InvalidSettings: the address is relative, of another scheme, or bears credentials; another argument is of the
            wrong kind; or the transport and the mode contradict each other. The message names it, and shows no secret.
    """

    url: str
    mode: Mode = "auto"
    transport: Transport = "streamable-http"
    sharing: Sharing | None = None
    tls: Tls = Tls()
    http_client: Callable[..., object] | None = None
    name: str | None = field(default=None, compare=False)
    # Made once: every acquire reads them.
    connection: tuple[object, ...] = field(init=False, repr=False, compare=False)
    way: str = field(init=False, repr=False, compare=False)
    address: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_url()
        _check_choice("mode", self.mode, MODES)
        _check_choice("transport", self.transport, TRANSPORTS)
        if self.transport == "sse" and self.mode not in ("auto", "legacy"):
            raise InvalidSettings(
                f'upstream transport "sse" cannot speak the protocol of mode {self.mode!r}: '
                'leave the mode out, or use transport "streamable-http"'
            )
        if self.sharing is not None and self.sharing != "exclusive" and not _is_count(self.sharing):
            raise InvalidSettings('upstream sharing must be "exclusive", a whole number of at least 1, or None')
        if not isinstance(self.tls, Tls):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"upstream tls must be a Tls, not {type(self.tls).__name__}")
        if self.http_client is not None and not callable(self.http_client):
            raise InvalidSettings(
                f"upstream http_client must be a function that makes a client, or None, "
                f"not {type(self.http_client).__name__}"
            )
        if self.name is not None and not isinstance(self.name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidSettings(f"upstream name must be text or None, not {type(self.name).__name__}")
        connection = (self.url, self.mode, self.transport, self.sharing, self.tls, self.http_client)
        object.__setattr__(self, "connection", connection)
        way = self.transport if self.mode == "auto" else f"{self.transport};{self.mode}"
        object.__setattr__(self, "way", way)
        parts = urlsplit(self.url)
        object.__setattr__(self, "address", f"{parts.scheme}://{parts.netloc}{parts.path}")

    def _check_url(self) -> None:
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

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Upstream):
            return NotImplemented
        return self is other or self.connection == other.connection

    @override
    def __hash__(self) -> int:
        return hash((self.url, self.way))  # strings, which know their hashes

    @override
    def __repr__(self) -> str:
        transport = "" if self.transport == "streamable-http" else f", transport={self.transport!r}"
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Upstream({self.address!r}, mode={self.mode!r}{transport}{name})"


def _check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise InvalidSettings(f"upstream {what} must be one of {', '.join(choices)}, not {type(value).__name__}")
    if value not in choices:
        raise InvalidSettings(f"upstream {what} {value[:_SHOWN]!r} is unknown: use one of {', '.join(choices)}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_SHOWN: Final = 60
