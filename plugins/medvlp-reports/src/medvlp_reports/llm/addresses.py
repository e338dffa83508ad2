"""Restricts the addresses that reports may be sent to: this machine and private networks, unless others are allowed.

Reports are patient data. A name is resolved here, all of its addresses are checked, and the connection is made to a
checked address, so that the name cannot resolve differently between check and request.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

_NETWORKS = tuple(
    ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)


class RemoteAddressError(ValueError):
    """The address is neither on this machine nor in a private network."""


def is_private(address: str) -> bool:
    """Whether an IP address is a loopback or private one (RFC 1918, RFC 4193)."""
    parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _NETWORKS if network.version == parsed.version)


def private_addresses(host: str) -> list[str]:
    """The addresses of a host, IPv4 first.

    Raises RemoteAddressError if one of them is not private, OSError if the name cannot be resolved.
    """
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    addresses = sorted(dict.fromkeys(found), key=lambda address: ":" in address)
    if not all(is_private(address) for address in addresses):
        raise RemoteAddressError(
            f"{host} is neither this machine nor in a private network, and reports are patients' data: "
            "name a server of your own, or allow it with allow_remote: true"
        )
    return addresses


class PrivateTransport(httpx.HTTPTransport):
    """Sends requests to private addresses only."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        try:
            addresses = private_addresses(host)
        except OSError as error:
            raise httpx.ConnectError(f"{host} has no address ({error.strerror})", request=request) from None
        failed: httpx.ConnectError | None = None
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # `Host` is the name's
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return super().handle_request(pinned)
            except httpx.ConnectError as error:
                failed = error
        raise failed or httpx.ConnectError(f"{host} has no address", request=request)
