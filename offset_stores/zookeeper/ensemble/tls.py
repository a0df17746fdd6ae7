"""TLS to an ensemble: what of it may be set, and why it does not come about, which kazoo tells nobody."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka_stream.errors import ConfigurationError

OPTIONS: Mapping[str, type] = {
    "ca": str,
    "certfile": str,
    "check_hostname": bool,
    "keyfile": str,
    "keyfile_password": str,
    "use_ssl": bool,
    "verify_certs": bool,
}
"""``KazooClient``'s, and what each is."""

_TIMEOUT_S = 1.0
_BROKE = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ConnectionError)
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def option_of(name: str, text: str) -> Any:
    """The value of an option of a URL.

    Raises:
        ConfigurationError: there is no such option, or it is another kind of value; which is not shown.
    """
    if name not in OPTIONS:
        raise ConfigurationError(
            f"the options of a ZooKeeper ensemble's URL are {', '.join(OPTIONS)}; {name!r} is none of them"
        )
    if OPTIONS[name] is str:
        return text
    if text.lower() not in _BOOLEANS:
        raise ConfigurationError(f"the option {name} of a ZooKeeper ensemble's URL is neither true nor false")
    return _BOOLEANS[text.lower()]


def checked_options(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options for a client, with those left out that make it look at the server's name: kazoo by itself does not.

    Raises:
        ConfigurationError: they have no effect, and who gave them may think that they have one; or they contradict.
    """
    of_tls = [name for name in OPTIONS if name in options and name != "use_ssl"]
    if of_tls and not options.get("use_ssl"):
        raise ConfigurationError(
            f"{', '.join(of_tls)} of {where} have no effect without TLS: give use_ssl=True as well (in a URL, "
            "?use_ssl=true)"
        )
    verifies = options.get("verify_certs", True)
    if options.get("check_hostname") and not verifies:
        raise ConfigurationError(
            f"check_hostname of {where} needs verify_certs: who believes any certificate, any name"
        )
    return {**({"check_hostname": bool(verifies)} if options.get("use_ssl") else {}), **options}


def why_not_let_in(hosts: str, options: Mapping[str, Any]) -> str | None:
    """What keeps each of these servers from being reached as the options say, of those that can be connected to.

    Nothing is sent but handshakes and the command ``srvr``. ``None``: it is something else, or one of them is reached.
    """
    reasons = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        with suppress(OSError, ValueError):
            reason = _why_not(name.strip("[]"), int(port), options)
            if reason is None:
                return None
            reasons.append(f"{host} {reason}")
    return reasons[0] if reasons else None


def _why_not(host: str, port: int, options: Mapping[str, Any]) -> str | None:
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        if not options.get("use_ssl"):
            return _why_not_plain(connection, host)
        try:
            context = _context(options)
        except (OSError, ValueError) as error:  # files that are not there, or not what they should be
            return (
                f"was not asked, as the files for TLS cannot be read ({_words(error)}): check ca, certfile and keyfile"
            )
        try:
            with context.wrap_socket(connection, server_hostname=host) as encrypted:
                return _why_refused(encrypted)
        except ssl.SSLCertVerificationError as error:
            return (
                f"shows a certificate that is not believed ({error.verify_message or _words(error)}): check ca, that "
                "it has not expired, and that it is for the name by which the server is reached"
            )
        except TimeoutError:
            return None
        except _BROKE:  # as a server does it that stops just then, too
            return _why_not_encrypted(host, port)
        except (ssl.SSLError, OSError) as error:
            return (
                f"ends the TLS handshake ({_words(error)}): does this port speak TLS (secureClientPort), and does it "
                "ask for a certificate (certfile, keyfile)?"
            )


def _why_refused(encrypted: ssl.SSLSocket) -> str | None:
    """A server that wants a client's certificate says so after the handshake, from TLS 1.3 on.

    It is asked something to which it says something, allowed or not.
    """
    encrypted.settimeout(_TIMEOUT_S)
    try:
        encrypted.sendall(b"srvr")
        encrypted.recv(1)
    except (TimeoutError, *_BROKE):
        return None
    except (ssl.SSLError, OSError) as error:
        return f"refuses our certificate, or wants one ({_words(error)}): check certfile and keyfile"
    return None


def _why_not_encrypted(host: str, port: int) -> str | None:
    """A server without TLS has no answer to a handshake, but one to a command."""
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        connection.sendall(b"srvr")
        if connection.recv(1).isalpha():
            return "does not speak TLS on this port: give that of secureClientPort, or leave use_ssl out"
    return None


def _why_not_plain(connection: socket.socket, host: str) -> str | None:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        anybody.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return None
    except OSError:
        return None
    return "speaks TLS: give use_ssl=True, and ca (in a URL, ?use_ssl=true&ca=/path)"


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """As kazoo makes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    context.check_hostname = options.get("check_hostname", False)
    context.verify_mode = ssl.CERT_REQUIRED if options.get("verify_certs", True) else ssl.CERT_NONE
    if (ca := options.get("ca")) is not None:
        context.load_verify_locations(ca)
    if (certificate := options.get("certfile")) is not None and (key := options.get("keyfile")) is not None:
        context.load_cert_chain(certificate, key, options.get("keyfile_password") or "")
    return context


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)


__all__ = ["OPTIONS", "checked_options", "option_of", "why_not_let_in"]
