"""Which addresses mean this machine. No name is looked up: a file reads the same with and without a network."""

import ipaddress
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """True only for what can never be reached from another machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def leads_to(url: str, host: str, port: int) -> bool:
    """Whether a request to `url` arrives at a listener on `host` and `port` of this machine."""
    parts = urlsplit(url)
    target = (parts.hostname or "").lower()
    if port == 0 or (parts.port or _DEFAULT_PORTS.get(parts.scheme)) != port:
        return False
    if target == host.lower():
        return True
    return (is_loopback(target) or is_wildcard(target)) and (is_loopback(host) or is_wildcard(host))


def url_host(host: str) -> str:
    """`host` as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host
