"""The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for one server. Looked up once, at start."""

import ipaddress
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from guardproxy.errors import ConfigurationError, Fault


def find(server: URL) -> URL | None:
    """None: go there directly. Loopback is always direct, as in Go's net/http: a proxy elsewhere cannot reach it.

    Raises ConfigurationError for a proxy that is not spoken to by HTTP (SOCKS).
    """
    host = server.host or ""
    if _is_loopback(host) or proxy_bypass(f"{host}:{server.port}"):
        return None
    proxies = getproxies()
    address = proxies.get(server.scheme) or proxies.get("all")
    return _checked(server.scheme, address) if address else None


def _checked(scheme: str, address: str) -> URL:
    def fault(problem: str) -> ConfigurationError:
        return ConfigurationError([Fault("environment", None, f"{scheme.upper()}_PROXY", problem)])

    try:
        url = URL(address if "://" in address else f"http://{address}")
    except ValueError:
        raise fault("not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise fault("only http:// and https:// proxies are supported")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
