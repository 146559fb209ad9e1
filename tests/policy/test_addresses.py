import pytest

from guardproxy.policy.addresses import Address, addresses, canonical_host, compile_host

LOOPBACK = [
    "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1",
    "017700000001", "0177.0.0.1", "0", "0.0.0.0", "[::1]", "::1", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", 
    "127.0.0.1.nip.io", "a.localhost",    "localtest.me", "127.255.255.254",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_every_spelling_of_loopback(host: str) -> None:
    assert canonical_host(host) == "loopback"


@pytest.mark.parametrize(
    "host", ["128.0.0.1", "127.0.0.1.example.org", "localhost.example.org", "2130706432x", "example.org", "256.1.1.1"]
)
def test_what_is_not_loopback(host: str) -> None:
    assert canonical_host(host) != "loopback"


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9901/x",
        "HTTP://127.0.0.1:9901",
        "http:\\\\127.0.0.1:9901\\x",
        "//127.0.0.1:9901",
        "http://user:pass@127.0.0.1:9901/",
        "http://example.org@127.0.0.1:9901/",
        "http://%31%32%37.0.0.1:9901/",
        "curl 127.0.0.1:9901/x",
        "nc 127.0.0.1 9901",
        '("127.0.0.1", 9901)',
        "/dev/tcp/127.0.0.1/9901",
        "http://[::1]:9901",
        "http://2130706433:9901",
        "see http://localhost:9901, please",
        "http://①②⑦.0.0.1:9901",
    ],
)
def test_the_address_is_found(text: str) -> None:
    assert Address("loopback", 9901) in addresses(text)


def test_it_is_found_behind_many_others() -> None:
    text = " ".join(f"http://h{n}.example:1/" for n in range(5000)) + " http://127.0.0.1:9901/"
    assert Address("loopback", 9901) in addresses(text)


@pytest.mark.parametrize("text", ["", "Oslo", "at 12:30", "version 1.2", "a/b/c", "x" * 100_000, "/" * 100_000])
def test_plain_text_names_no_loopback(text: str) -> None:
    assert not any(a.host == "loopback" for a in addresses(text))


@pytest.mark.parametrize(
    ("pattern", "host", "port", "matches"),
    [
        ("loopback:9901", "loopback", 9901, True),
        ("loopback:9901", "loopback", 80, False),
        ("localhost:9901", "loopback", 9901, True),
        ("loopback", "loopback", None, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "example.org", 80, False),
        ("*.internal", "a.internal", None, True),
        ("*.internal", "internal", None, False),
        ("fd00:ec2::254", "fd00:ec2::254", None, True),
        ("169.254.169.254", "169.254.169.254", 80, True),
    ],
)
def test_host_patterns(pattern: str, host: str, port: int | None, matches: bool) -> None:
    assert compile_host(pattern).match(Address(host, port)) is matches


@pytest.mark.parametrize("pattern", ["host:port", "10.0.0.0/99"])
def test_a_faulty_host_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"number|CIDR"):
        compile_host(pattern)
