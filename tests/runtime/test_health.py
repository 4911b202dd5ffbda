from collections.abc import Mapping
from pathlib import Path

import pytest

from moa._config.settings import load_settings
from moa._mixture.loading import load, single
from moa._runtime.health import Connect, Health, check_endpoints, connect_tcp, obstacles, require_ready
from moa.errors import ConfigError


class _Network:
    """Takes connections to some hosts and keeps what was asked for."""

    def __init__(self, *hosts: str) -> None:
        self.asked: list[tuple[str, int]] = []
        self._hosts = hosts

    async def __call__(self, host: str, port: int) -> None:
        self.asked.append((host, port))
        if host not in self._hosts:
            raise ConnectionRefusedError


@pytest.fixture(autouse=True)
def _away_from_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's own AWS credentials, and no search for those of a machine in AWS."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


async def _healths(
    folder: Path, yaml: str, connect: Connect | None, environ: Mapping[str, str] | None = None
) -> dict[str, Health]:
    file = folder / "moa.yaml"
    file.write_text(yaml, encoding="utf-8")
    settings = load_settings(file, environ=environ or {}, cwd=folder)
    return {health.name: health for health in await check_endpoints(settings, connect=connect)}


async def test_check_endpoints_contacts_only_those_that_have_their_key_or_need_none(tmp_path: Path) -> None:
    network = _Network("api.groq.com")

    healths = await _healths(tmp_path, "{}", network, {"GROQ_API_KEY": "k"})

    assert (healths["groq"].state, healths["groq"].detail) == ("ready", "GROQ_API_KEY is set, api.groq.com answers")
    assert (healths["openai"].state, healths["openai"].fix) == ("no key", "export OPENAI_API_KEY=...")
    assert (healths["ollama"].state, healths["ollama"].fix) == ("not running", "ollama serve")
    assert {host for host, _ in network.asked} == {"api.groq.com", "127.0.0.1"}


async def test_check_endpoints_goes_through_the_proxy_and_tells_who_is_unreachable(tmp_path: Path) -> None:
    network = _Network("proxy.test")
    yaml = (
        "endpoints:\n"
        "  far: {kind: openai, base_url: 'https://far.test/v1'}\n"
        "  behind: {kind: openai, base_url: 'https://far.test/v1', proxy: 'http://proxy.test:3128'}\n"
    )

    healths = await _healths(tmp_path, yaml, network)

    assert (healths["far"].state, healths["far"].detail) == ("unreachable", "far.test:443 takes no connection")
    assert healths["behind"].state == "ready"
    assert ("proxy.test", 3128) in network.asked


async def test_check_endpoints_opens_no_connection_when_it_is_not_to(tmp_path: Path) -> None:
    healths = await _healths(tmp_path, "{}", None)

    assert healths["ollama"].detail == "needs no key, not contacted"


async def test_check_endpoints_says_what_is_wrong_with_an_endpoint_of_another_kind(tmp_path: Path) -> None:
    healths = await _healths(tmp_path, "endpoints: {odd: {kind: nobodys}}", None)

    assert healths["odd"].state == "unusable"
    assert "nobodys" in healths["odd"].detail


async def test_check_endpoints_finds_the_credentials_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    host = "bedrock-runtime.eu-west-1.amazonaws.com"

    healths = await _healths(tmp_path, "endpoints: {bedrock: {region: eu-west-1}}", _Network(host))

    assert healths["bedrock"].detail == f"AWS credentials found, {host} answers"


async def test_check_endpoints_says_how_to_get_credentials_of_aws(tmp_path: Path) -> None:
    healths = await _healths(tmp_path, "endpoints: {bedrock: {region: eu-west-1}}", _Network())

    assert (healths["bedrock"].state, healths["bedrock"].fix) == ("no key", "aws configure")


async def test_connect_tcp_refuses_where_nobody_listens() -> None:
    with pytest.raises(OSError, match=r"."):
        await connect_tcp("127.0.0.1", 1)


def test_obstacles_are_the_models_whose_endpoints_are_not_ready() -> None:
    ready = Health(name="a", kind="openai", state="ready", detail="fine")
    keyless = Health(name="b", kind="openai", state="no key", detail="B_KEY is not set", fix="export B_KEY=...")
    mixture = load({"layers": [{"proposers": [{"model": "a/x"}, {"model": "b/y"}]}], "aggregator": {"model": "c/z"}})

    assert obstacles(mixture, [ready, keyless]) == (
        "b/y: B_KEY is not set: export B_KEY=...",
        "c/z: there is no such endpoint",
    )
    assert obstacles(single("a/x"), [ready]) == ()


async def _not_ready(folder: Path, yaml: str, *references: str, **environ: str) -> list[str]:
    (folder / "moa.yaml").write_text(yaml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        await require_ready(references, load_settings(folder / "moa.yaml", environ=environ, cwd=folder))
    return str(caught.value).splitlines()


async def test_what_endpoints_lack_is_told_once_for_each_before_anything_is_asked(tmp_path: Path) -> None:
    models = ("groq/a", "groq/b", "bedrock/c", "bedrock/d", "ollama/e")

    groq, bedrock = await _not_ready(tmp_path, "{}", *models)

    assert groq == "groq (for groq/a, groq/b): its key is missing: export GROQ_API_KEY=..."
    assert bedrock.startswith("bedrock (for bedrock/c, bedrock/d): no AWS region is set")
    await require_ready(["ollama/e", "given/f"], load_settings(environ={}, cwd=tmp_path))


async def test_a_region_and_credentials_are_told_apart_and_aws_region_is_read(tmp_path: Path) -> None:
    (found,) = await _not_ready(tmp_path, "{}", "bedrock/a", AWS_REGION="eu-central-1")
    healths = await _healths(tmp_path, "{}", None, {})

    assert "no AWS credentials were found" in found
    assert (healths["bedrock"].state, healths["bedrock"].fix) == ("no region", "export AWS_REGION=us-east-1")


async def test_a_misspelt_region_gets_a_suggestion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    (found,) = await _not_ready(tmp_path, "endpoints: {bedrock: {region: us-esat-1}}", "bedrock/a")

    assert "did you mean us-east-1?" in found
