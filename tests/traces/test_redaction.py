"""No key, header or password in any trace, wherever a service may echo it."""

from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import load_settings
from moa._mixture.loading import load
from moa._runtime.engine import Engine
from moa._traces.redaction import MASK, Scrubber, secrets_of
from moa.errors import MoaError
from moa.providers._endpoint import Endpoint
from tests.support.model_server import Behaviour, ModelServer, Status, Text

KEY, HEADER, QUERY = "sk-planted-key-123456", "planted-header-value", "planted-query-value"


def _echo(body: dict[str, Any], number: int) -> Behaviour:
    everything = f"your key {KEY}, Authorization: Bearer {KEY}, gateway {HEADER}, signature {QUERY}"
    match body["model"]:
        case "refuses":
            return Status(401, {"error": {"message": everything}})
        case "breaks":
            return Status(500, everything)
        case "reasons":
            return Text(everything, reasoning=everything)
    return Text(everything)


@pytest.mark.parametrize("fails", [False, True])
async def test_no_planted_secret_is_in_a_trace(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "t.jsonl"
    async with ModelServer() as server:
        server.behave("*", _echo)
        (tmp_path / "moa.yaml").write_text(
            f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}', api_key_env: LAB_KEY, retry: false,"
            f" headers: {{X-Gateway: 'Token {HEADER}'}}, query: {{sig: {QUERY}}}}}}}"
        )
        settings = load_settings(tmp_path / "moa.yaml", environ={"LAB_KEY": KEY, "HOME": str(tmp_path)})
        proposers = [{"model": f"lab/{name}"} for name in ("refuses", "breaks", "echoes", "reasons")]
        aggregator = {
            "model": "lab/refuses" if fails else "lab/echoes",
            "extra": {"api_key": "extra-secret", "n_probs": 1},
        }
        mixture = load({"layers": [{"proposers": proposers}], "aggregator": aggregator})
        async with Engine(settings=settings) as engine:
            try:
                answer = await engine.arun(mixture, "hi", trace=path)
                assert KEY in answer.text, "the caller's own answer is left as it is"
            except MoaError:
                assert fails
        sent = server.requests[0]

    assert (sent.headers["Authorization"], sent.query["sig"]) == (f"Bearer {KEY}", QUERY)
    written = path.read_text()
    for secret in (KEY, HEADER, QUERY, "extra-secret", "Authorization: Bearer sk"):
        assert secret not in written
    assert MASK in written
    assert '"n_probs": 1' in written
    assert server.base_url not in written


def test_a_secret_is_masked_in_keys_values_and_whatever_is_named_like_one() -> None:
    scrubber = Scrubber(frozenset({"hunter2", "hunter2-long"}))

    scrubbed = scrubber.scrub(
        {
            "a hunter2": ["x hunter2-long y", {"Authorization": "Basic abc", "max_tokens": 5, "token": "t"}],
            "n": None,
            "sessionToken": "s",
        }
    )

    assert scrubbed == {
        f"a {MASK}": [f"x {MASK} y", {"Authorization": MASK, "max_tokens": 5, "token": MASK}],
        "n": None,
        "sessionToken": MASK,
    }


def test_public_headers_and_short_values_are_no_secrets() -> None:
    endpoint = Endpoint(
        name="lab",
        kind="openai",
        headers={"Accept": "application/json", "X-A": "1", "Proxy-Authorization": "Basic dXNlcjpwYXNz"},
        query={"api-version": "2024-10-21"},
        proxy="http://user:p%40ssword@127.0.0.1:1",
    )

    assert secrets_of([endpoint]) == {"Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "p%40ssword", "p@ssword"}
    assert Scrubber(frozenset()).scrub("text") == "text"
