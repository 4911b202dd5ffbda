"""Secrets in a server's words: whatever it repeats, however it spells it, wherever the words are cut."""

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from yarl import URL

from moa.errors import BadRequest
from moa.providers._endpoint import Endpoint
from moa.providers._redaction import NO_SECRETS, Secrets, shown_address, texts_of

KEY = "a+b c/d=='\"ü&é%"


@pytest.mark.parametrize(
    "spelled",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        quote_plus(KEY),
        quote_plus(KEY).lower(),
        URL("http://models.test").extend_query({"k": KEY}).raw_query_string.partition("=")[2],
        json.dumps(KEY)[1:-1],
        json.dumps(KEY, ensure_ascii=False).replace("/", "\\/")[1:-1],
        html.escape(KEY),
    ],
)
def test_secret_is_hidden_in_every_spelling(spelled: str) -> None:
    assert Secrets([KEY]).hide(f"GET /v1?k={spelled}&v=1") == "GET /v1?k=***&v=1"


@given(before=st.integers(0, 40), after=st.integers(0, 400), most=st.integers(1, 60), times=st.integers(1, 4))
def test_secret_across_a_cut_leaves_nothing_of_itself(before: int, after: int, most: int, times: int) -> None:
    secret = "0123456789ABCDEF"

    shown = Secrets([secret]).beginning(("." * before + secret) * times + "." * after, most)

    assert len(shown) <= max(most, 1)
    assert not set(shown) & set(secret)


def test_beginning_without_secrets_is_only_a_cut() -> None:
    assert NO_SECRETS.beginning("0123456789", 10) == "0123456789"
    assert NO_SECRETS.beginning("0123456789", 9) == "01234567…"


def test_longer_secret_wins_over_one_that_begins_it() -> None:
    assert Secrets(["12345678", "12345678-rest"]).hide("12345678-rest 12345678") == "*** ***"


def test_words_too_short_to_be_told_from_others_stay() -> None:
    assert Secrets(["blue", " "]).hide("a blue sky") == "a blue sky"


def test_error_loses_its_secrets() -> None:
    error = BadRequest("who is 123456789?", model="lab/small")

    Secrets(["123456789\n"]).redact(error)

    assert str(error) == "lab/small: who is ***?"


def test_everything_of_an_endpoint_that_may_be_secret_counts() -> None:
    endpoint = Endpoint(
        name="lab",
        kind="openai",
        api_key=SecretStr("key-key-key"),
        headers={"Authorization": "Bearer header-header"},
        query={"code": "query-query"},
        proxy="http://me:proxy-proxy@10.0.0.1:3128",
    )

    shown = Secrets(texts_of(endpoint)).hide("key-key-key header-header query-query proxy-proxy")

    assert shown == "*** *** *** ***"


def test_what_looks_like_a_token_in_an_address_is_a_secret() -> None:
    endpoint = Endpoint(
        name="lab", kind="openai", base_url="https://me:passw0rd-long@gateway.test/v1/9f8e7d6c5b4a3210fedc/openai"
    )

    shown = Secrets(texts_of(endpoint)).hide("no route for /v1/9f8e7d6c5b4a3210fedc/openai of me:passw0rd-long")

    assert shown == "no route for /v1/***/openai of me:***"


@pytest.mark.parametrize(
    ("base_url", "echoed", "shown"),
    [
        ("https://x.test/proxy/a1b2c3d4/v1", "key a1b2c3d4 of /proxy/a1b2c3d4/v1/chat", "key *** of ***/chat"),
        ("https://x.test/s3cr/v1", "no route /s3cr/v1/chat/completions", "no route ***/chat/completions"),
        ("https://x.test/12345678/v1", "account 12345678", "account ***"),
        ("https://x.test/abc/v1/", "no route \\/abc\\/v1\\/chat", "no route ***\\/chat"),
        ("https://x.test/generate/v1", "can't generate /generate/v1/chat", "can't generate ***/chat"),
        ("https://x.test/deployments/gpt-4o-mini", "no gpt-4o-mini in us-east-1", "no gpt-4o-mini in us-east-1"),
        ("https://x.test/openai/v1", "no route /openai/v1/chat", "no route /openai/v1/chat"),
    ],
)
def test_a_short_secret_in_a_path_is_hidden_and_no_ordinary_word(base_url: str, echoed: str, shown: str) -> None:
    """Some gateways take an account or a key from their path."""
    endpoint = Endpoint(name="lab", kind="openai", base_url=base_url)

    assert Secrets(texts_of(endpoint)).hide(echoed) == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:pass@x.test:8443/proxy/s3cr/v1?key=k#f", "https://x.test:8443/***/***/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_an_address_is_written_down_without_what_may_be_secret(address: str, shown: str) -> None:
    assert shown_address(address) == shown
