"""TLS contexts: one per set of TLS settings, shared by all sessions that have it.

Making one takes longer than all the rest of opening a session.
"""

import os
import ssl
from typing import Final

import httpx2

from protocol.errors import InvalidSettings
from protocol.settings import Tls


class TlsContexts:
    """Makes each context at its first use, and again when one of its files has changed.

    It is made in line: it takes some 20 ms, once.
    """

    def __init__(self) -> None:
        self._made: dict[Tls, tuple[object, ssl.SSLContext]] = {}

    def of(self, tls: Tls) -> ssl.SSLContext:
        """The context for these settings.

        Raises:
            InvalidSettings: a file cannot be read, or does not hold what it should.
        """
        stamp = _stamp(tls)
        made = self._made.get(tls)
        if made is None or made[0] != stamp:
            made = stamp, _make(tls)
            self._made[tls] = made
        return made[1]


def _stamp(tls: Tls) -> object:
    """What changes when a file does."""
    stamps: list[tuple[int, int]] = []
    for setting in _FILES:
        if (path := getattr(tls, setting)) is not None:
            try:
                found = os.stat(path)  # noqa: PTH116 - a path is no more than text in the settings
            except (OSError, ValueError) as error:
                raise _unusable(setting, path, error) from None
            stamps.append((found.st_mtime_ns, found.st_size))
    return stamps


def _make(tls: Tls) -> ssl.SSLContext:
    if not tls.verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is None:
        context = httpx2.create_ssl_context()
    else:
        try:
            context = ssl.create_default_context(cafile=tls.ca_file)
        except (OSError, ValueError) as error:
            raise _unusable("ca_file", tls.ca_file, error) from None
    if tls.certificate is not None:
        try:
            # Without a password that is wrong, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password=str)
        except (OSError, ValueError) as error:
            raise _unusable("certificate", tls.certificate, error) from None
    elif tls.key is not None:
        raise InvalidSettings("tls key is given without a certificate: give both, or neither")
    return context


def _unusable(setting: str, path: str, error: Exception) -> InvalidSettings:
    why = (
        os.strerror(error.errno)
        if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError)
        else "no PEM file of that, or an encrypted key"
    )
    return InvalidSettings(f"tls {setting} {path!r} cannot be used ({why}): give a PEM file that can be read")


_FILES: Final = ("ca_file", "certificate", "key")
