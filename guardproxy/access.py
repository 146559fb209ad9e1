"""Who may call. Pure: headers in, an error or nothing out.

Without client keys the proxy serves loopback only, and there its one foe is a web page in the user's own browser
(DNS rebinding, cross-site requests): so Host must be a loopback name, Origin must be allowed, and bodies must be
declared as JSON, which a page cannot send across origins without asking first.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from guardproxy.errors import Forbidden, Unauthenticated, UnsupportedMediaType
from guardproxy.model import Credential
from guardproxy.runtime import Access

CLIENT_KEY_HEADER = "x-guardproxy-key"
CREDENTIAL_HEADERS = ("authorization", "x-api-key")  # OpenAI's way and Anthropic's


def check_access(headers: Mapping[str, str], access: Access) -> None:
    """Raises Forbidden or Unauthenticated. `headers` has lower-case names."""
    _check_origin(headers.get("origin"), access)
    if access.client_keys:
        _check_key(headers, access)
    if not access.client_keys or access.allowed_hosts:
        _check_host(headers.get("host", ""), access)


def provider_credential(headers: Mapping[str, str], access: Access) -> Credential | None:
    """The credential that may go on to a provider: never one that is a key to this proxy."""
    name = next((name for name in CREDENTIAL_HEADERS if headers.get(name)), None)
    if name is None:
        return None
    if access.client_keys and (CLIENT_KEY_HEADER not in headers or _holds_client_key(headers[name], access)):
        return None
    return Credential(name, headers[name])


def identity(headers: Mapping[str, str]) -> str:
    """A digest of what a client shows of itself, so that what one has stored is unknown to another."""
    shown = "\n".join(headers.get(name, "") for name in (CLIENT_KEY_HEADER, *CREDENTIAL_HEADERS))
    return hashlib.sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()


def check_json(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMediaType unless the body is declared as JSON in UTF-8."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise UnsupportedMediaType("The body must be sent as Content-Type: application/json in UTF-8.")


def _check_origin(origin: str | None, access: Access) -> None:
    if origin is not None and origin.lower() not in access.allowed_origins:
        raise Forbidden("Requests from web pages are refused; the operator can list an origin.", code="origin_refused")


def _check_host(host: str, access: Access) -> None:
    name = _host_name(host)
    if name not in access.allowed_hosts and not _is_loopback(name):
        raise Forbidden("The Host header names another server; the operator can list a host.", code="host_refused")


def _check_key(headers: Mapping[str, str], access: Access) -> None:
    key = headers.get(CLIENT_KEY_HEADER) or _bearer(headers.get("authorization")) or headers.get("x-api-key", "")
    if not _is_client_key(key, access):
        raise Unauthenticated(
            "A client key of this proxy is required, as a bearer token, in x-api-key or in x-guardproxy-key."
        )


def _is_client_key(key: str, access: Access) -> bool:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest() in access.client_keys


def _holds_client_key(authorization: str, access: Access) -> bool:
    return any(_is_client_key(word, access) for word in (authorization, *authorization.split()))


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _host_name(host: str) -> str:
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name.lower() if port == "" or port.startswith(":") else ""
    return host.partition(":")[0].lower()


@lru_cache(maxsize=256)
def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
