"""The way to a server: by which proxy, if any, and whose certificates are trusted on it.

A server on this machine is never asked through a proxy: a picture for 127.0.0.1 would leave the machine.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import httpx

from captiond.errors import CannotStart, ExitCode

KINDS = ("http", "https", "socks5", "socks5h")


def client_for(
    url: str, *, proxy: str | None, ca_file: Path | None, timeout: httpx.Timeout, limits: httpx.Limits,
    headers: Mapping[str, str],
) -> httpx.Client:  # fmt: skip
    """A client for one server; `proxy` comes from `proxy_for`.

    Raises: CannotStart, if the proxy or `ca_file` cannot be used.
    """
    transport = httpx.HTTPTransport(
        verify=_trusting(ca_file), limits=limits, proxy=_checked(proxy) if proxy else None
    )
    # If it is given a transport, httpx does not read proxies from the environment.
    return httpx.Client(transport=transport, timeout=timeout, headers=dict(headers))


def proxy_for(url: str, wanted: str | None) -> str | None:
    """`wanted` (model.proxy), else what HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say of it."""
    address = urlsplit(url)
    host = address.hostname or ""
    if _is_here(host):
        return None
    if wanted is not None:
        return wanted
    known = getproxies_environment()
    if proxy_bypass_environment(f"{host}:{address.port}" if address.port else host, known):
        return None
    return known.get(address.scheme) or known.get("all")


def shown(proxy: str) -> str:
    """The proxy's address without the password that it may hold."""
    address = urlsplit(proxy)
    return (address.hostname or "?") + (f":{address.port}" if address.port else "")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked(proxy: str) -> httpx.Proxy:
    kind = urlsplit(proxy).scheme
    if kind.startswith("socks") and find_spec("socksio") is None:
        raise CannotStart(
            f"the proxy {shown(proxy)} speaks SOCKS, and the package socksio is not installed",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="pip install socksio, or set model.proxy to an HTTP proxy, or the server into NO_PROXY.",
        )
    try:
        if kind not in KINDS:
            raise ValueError(f"it begins with none of {', '.join(KINDS)}")
        return httpx.Proxy(proxy)
    except (ValueError, httpx.InvalidURL) as error:
        raise CannotStart(
            f"the proxy {shown(proxy)} cannot be used: {error}",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Write it as http://proxy:3128 (model.proxy, or HTTP_PROXY and the like).",
        ) from error


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """The usual authorities, and those of `ca_file`."""
    context = httpx.create_ssl_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(cafile=os.fspath(ca_file))
    except (OSError, ssl.SSLError) as error:  # SSLError is an OSError, named for the reader
        raise CannotStart(
            f"`model.ca_file` ({ca_file}) holds no certificate that can be read: {error}",
            exit_code=ExitCode.WRONG_SETTINGS,
            advice="Give a PEM file with the certificate of the authority that signed the server's.",
        ) from error
    return context
