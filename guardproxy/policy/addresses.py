"""Hosts and ports named in a text, with every spelling of an IP address reduced to one.

inet_aton reads `2130706433`, `0x7f.1`, `0177.0.0.1` and `127.1` as 127.0.0.1, and so do curl and most clients;
WHATWG URL parsers do too.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from guardproxy.policy.regex import pattern
from guardproxy.policy.unicode import skeleton

_ANY = pattern(r"[/\\]{2}|:\d|/dev/(tcp|udp)/|\d\.\d|0x[0-9A-Fa-f]{6}|::|localhost|\d{8}|[^\x00-\x7f]")
_AUTHORITY = re.compile(r"""[/\\]{2}([^\s/\\?#'"<>`|]+)""")
_TCP = re.compile(r"/dev/(?:tcp|udp)/([^/\s'\"]+)/(\d+)")
_BARE = re.compile(r"(?<![\w.@/-])(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?):(\d{1,5})(?![\w.])")
_SPACED = re.compile(
    r"(?<![\w./-])((?:[\w-]+\.)+[\w-]+|localhost|\d{8,10}|0x[0-9A-Fa-f]{8}|\[?[0-9A-Fa-f]{0,4}::[0-9A-Fa-f:.]*\]?)[\s,'\")]+(\d{2,5})(?![\w.])"
)
_LONE_IP = re.compile(
    r"(?<![\w./:-])(?:\d{1,3}(?:\.\d{1,3}){1,3}|0x[0-9A-Fa-f]{8}|\[?[0-9A-Fa-f]*::[0-9A-Fa-f:.]*\]?)(?![\w:])"
)
_EMBEDDED_IP = re.compile(r"(\d{1,3})[.-](\d{1,3})[.-](\d{1,3})[.-](\d{1,3})\.(?:nip|sslip|xip)\.(?:io|name)$")
_LOOPBACK_NAMES = (
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "localtest.me",
    "lvh.me",
    "vcap.me",
)


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is a lower-case name or a canonical IP; loopback in any spelling is `loopback`."""

    host: str
    port: int | None


def addresses(text: str) -> tuple[Address, ...]:
    """Every host that `text` names as URL, `host:port`, `host port`, /dev/tcp path or bare IP."""
    if not _ANY.search(text):
        return ()
    found: dict[Address, None] = {}
    for host, port in dict.fromkeys(_raw(skeleton(text))):
        if name := canonical_host(host):
            found[Address(name, _port(port))] = None
    return tuple(found)


def _raw(text: str) -> Iterator[tuple[str, str]]:
    for match in _AUTHORITY.finditer(text):
        yield _split_port(unquote(match[1]).rpartition("@")[2])
    for shape in (_TCP, _BARE, _SPACED):
        for match in shape.finditer(text):
            yield match[1], match[2]
    for match in _LONE_IP.finditer(text):
        yield match[0], ""


def _split_port(authority: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        return host, port.removeprefix(":")
    host, mark, port = authority.rpartition(":")
    return (host, port) if mark and ":" not in host else (authority, "")


def _port(text: str) -> int | None:
    digits = re.match(r"\d{1,5}", text)
    return int(digits[0]) if digits else None


@lru_cache(maxsize=4096)
def canonical_host(host: str) -> str:
    """The one spelling of a host; empty when it is none."""
    name = host.strip("[]").rstrip(".").lower().partition("%")[0]
    if embedded := _EMBEDDED_IP.search(name):
        name = ".".join(embedded.groups())
    address = _ip(name)
    if address is not None:
        return "loopback" if address.is_loopback or address.is_unspecified else str(address)
    if name in _LOOPBACK_NAMES or name.endswith((".localhost", ".localtest.me", ".lvh.me")):
        return "loopback"
    return name


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if ":" in name:
        try:
            six = ipaddress.IPv6Address(name)
        except ValueError:
            return None
        return six.ipv4_mapped or six
    return _ipv4(name)


def _ipv4(name: str) -> ipaddress.IPv4Address | None:
    """As inet_aton: one to four parts, decimal, octal or hex, the last part filling what is left."""
    parts = name.split(".")
    if len(parts) > 4 or not all(re.fullmatch(r"0x[0-9a-f]+|\d+", p) for p in parts):
        return None
    if len(parts) == 1 and len(name) < 8 and name != "0":
        return None
    try:
        numbers = [
            int(p, 16) if p.startswith("0x") else int(p, 8) if p[0] == "0" and len(p) > 1 else int(p) for p in parts
        ]
    except ValueError:
        return None
    return _packed(numbers)


def _packed(numbers: list[int]) -> ipaddress.IPv4Address | None:
    *heads, last = numbers
    if any(n > 255 for n in heads) or last >= 256 ** (4 - len(heads)):
        return None
    value = last
    for place, head in enumerate(heads):
        value += head << (8 * (3 - place))
    return ipaddress.IPv4Address(value)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`loopback:9901`, `169.254.169.254`, `10.0.0.0/8`, `*.internal:80`."""

    glob: re.Pattern[str]
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None

    def match(self, address: Address) -> bool:
        if self.port is not None and address.port != self.port:
            return False
        return bool(self.glob.fullmatch(address.host)) or self._inside(address.host)

    def _inside(self, host: str) -> bool:
        if self.network is None:
            return False
        try:
            return ipaddress.ip_address(host) in self.network
        except ValueError:
            return False


def compile_host(pattern: str) -> HostPattern:
    """Raises ValueError for a port that is no number."""
    host, port = _split_port(pattern) if not pattern.count(":") > 1 or pattern.startswith("[") else (pattern, "")
    if port and not port.isdecimal():
        raise ValueError("the port of a host pattern is a number")
    try:
        network = ipaddress.ip_network(host) if "/" in host else None
    except ValueError as error:
        raise ValueError("not a network in CIDR notation") from error
    name = host.lower() if "*" in host or network else canonical_host(host)
    glob = re.escape(name).replace(r"\*", ".*")
    return HostPattern(re.compile(glob), network, int(port) if port else None)
