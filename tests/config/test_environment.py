"""Addresses in environment variables."""

import pytest

from moa._config.environment import base_url_from, is_loopback, proxy_for
from moa.errors import ConfigError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", None),
        ("10.0.0.5", "http://10.0.0.5:11434/v1"),
        ("10.0.0.5:8080", "http://10.0.0.5:8080/v1"),
        (":5000", "http://127.0.0.1:5000/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000/v1"),
        ("[::]:5000", "http://[::1]:5000/v1"),
        ("https://models.test", "https://models.test:443/v1"),
        ("http://models.test/ollama/", "http://models.test:80/ollama/v1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str | None) -> None:
    assert base_url_from({"OLLAMA_HOST": host}, "ollama") == url


@pytest.mark.parametrize("host", ["host:port", "ftp://host", "[::1"])
def test_an_ollama_host_that_is_no_address_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match="OLLAMA_HOST"):
        base_url_from({"OLLAMA_HOST": host}, "ollama")


def test_openai_base_url_is_honoured_for_openai_only() -> None:
    environ = {"OPENAI_BASE_URL": "https://gateway.test/v1/"}

    assert base_url_from(environ, "openai") == "https://gateway.test/v1"
    assert base_url_from(environ, "together") is None
    assert base_url_from({}, "openai") is None


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://a.test", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a.test", {"https_proxy": "p:1", "HTTPS_PROXY": "http://other:1"}, "http://p:1"),
        ("http://a.test", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://a.test", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a.test", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ("https://a.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://x.a.test:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.test, a.test"}, None),
        ("https://ya.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.test"}, "http://p:1"),
        ("http://127.0.0.1:8000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.9.9.9:8000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://[::1]:8000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost:8000", {"HTTP_PROXY": "http://p:1"}, None),
        ("", {"HTTP_PROXY": "http://p:1"}, None),
    ],
)
def test_the_proxy_variables_choose_by_scheme_and_host(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environ) == proxy


def test_only_this_machine_is_loopback() -> None:
    assert is_loopback("LOCALHOST.")
    assert not is_loopback("localhost.evil.test")
    assert not is_loopback("10.0.0.1")
