"""The settings file, the environment, and what comes out as endpoints."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from moa._config.settings import Settings, load_settings
from moa._pricing.lookup import ANY_MODEL, FREE
from moa._pricing.price import Price
from moa.errors import ConfigError, MissingCredentials, UnknownEndpoint

LAB = """\
endpoints:
  lab: {kind: openai, base_url: "http://127.0.0.1:9000/v1/", api_key_env: LAB_KEY, max_concurrency: 64,
        headers: {X-Team: blue-secret}, query: {v: "1"}, ca_bundle: certs/ca.pem,
        prices: {"my-model": {input: 0.2, output: 0.8}}, options: {a: 1}}
  aws: {kind: bedrock, region: us-east-1, profile: research, endpoint_url: "http://127.0.0.1:9001"}
"""


class Home:
    """A user's folders with an environment that knows nothing but them."""

    def __init__(self, folder: Path) -> None:
        self.work, self.users = folder / "work", folder / "config"
        self.work.mkdir()
        (self.users / "moa").mkdir(parents=True)

    def load(self, path: str | Path | None = None, **environ: str) -> Settings:
        return load_settings(path, environ={"XDG_CONFIG_HOME": str(self.users), **environ}, cwd=self.work)

    def write(self, text: str) -> None:
        """Write the user's own file, which is trusted."""
        (self.users / "moa" / "moa.yaml").write_text(text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_a_file_the_well_known_endpoints_are_there(home: Home) -> None:
    settings = home.load(OPENAI_API_KEY="sk-1\n", TOGETHER_API_KEY="")

    assert settings.source is None
    assert {name: (found.kind, found.base_url) for name, found in settings.endpoints.items()} == {
        "openai": ("openai", "https://api.openai.com/v1"),
        "together": ("openai", "https://api.together.xyz/v1"),
        "groq": ("openai", "https://api.groq.com/openai/v1"),
        "openrouter": ("openai", "https://openrouter.ai/api/v1"),
        "mistral": ("openai", "https://api.mistral.ai/v1"),
        "deepseek": ("openai", "https://api.deepseek.com/v1"),
        "fireworks": ("openai", "https://api.fireworks.ai/inference/v1"),
        "ollama": ("openai", "http://127.0.0.1:11434/v1"),
        "vllm": ("openai", "http://127.0.0.1:8000/v1"),
        "llamacpp": ("openai", "http://127.0.0.1:8080/v1"),
        "bedrock": ("bedrock", None),
        "local": ("local", None),
    }
    assert settings.endpoints["openai"].api_key == SecretStr("sk-1")
    assert settings.endpoints["together"].api_key is None
    assert settings.endpoints["bedrock"].price_provider == "aws"
    assert settings.endpoints["local"].prices == {ANY_MODEL: FREE}


def test_the_price_providers_of_built_in_endpoints_are_known_to_the_table(home: Home) -> None:
    from genai_prices.data_snapshot import get_snapshot

    known = {provider.id for provider in get_snapshot().providers}

    assert {found.price_provider for found in home.load().endpoints.values()} - {None} <= known


def test_a_files_endpoints_are_resolved_completely(home: Home) -> None:
    home.write(LAB)

    settings = home.load(LAB_KEY="s3cret")

    lab, model = settings.endpoint("lab/my-model")
    assert (model, lab.base_url, lab.limits.max_concurrency) == ("my-model", "http://127.0.0.1:9000/v1", 64)
    assert lab.api_key == SecretStr("s3cret")
    assert (lab.headers, lab.query, lab.options) == ({"X-Team": "blue-secret"}, {"v": "1"}, {"a": 1})
    assert lab.prices == {"my-model": Price(input=Decimal("0.2"), output=Decimal("0.8"))}
    assert lab.ca_bundle == str(home.users / "moa" / "certs" / "ca.pem")
    aws, model = settings.endpoint("aws/us.meta.llama3-2-3b-instruct-v1:0")
    assert (aws.region, aws.profile, aws.endpoint_url) == ("us-east-1", "research", "http://127.0.0.1:9001")
    assert model == "us.meta.llama3-2-3b-instruct-v1:0"


def test_no_secret_shows_in_the_settings_repr(home: Home) -> None:
    home.write(LAB.replace("query:", 'proxy: "http://me:pr0xy@10.0.0.1:3128", query:'))

    shown = repr(home.load(LAB_KEY="s3cret", OPENAI_API_KEY="s3cret"))

    assert not any(secret in shown for secret in ("s3cret", "blue-secret", "pr0xy"))


def test_a_missing_key_fails_only_where_it_is_used_and_names_the_variable(home: Home) -> None:
    home.write(LAB)
    settings = home.load()

    for reference, variable in [("openai/gpt-4o", "OPENAI_API_KEY"), ("lab/m", "LAB_KEY")]:
        with pytest.raises(MissingCredentials, match=variable):
            settings.endpoint(reference)
    assert settings.endpoint("ollama/llama3")[0].api_key is None


def test_an_unknown_endpoint_is_answered_with_the_nearest(home: Home) -> None:
    with pytest.raises(UnknownEndpoint, match=r"no endpoint 'opnai': did you mean 'openai'\? Known are openai"):
        home.load().endpoint("opnai/gpt-4o")
    with pytest.raises(ConfigError, match="names no endpoint"):
        home.load().endpoint("gpt-4o")


def test_files_are_looked_for_in_their_order(home: Home, tmp_path: Path) -> None:
    def endpoint(name: str) -> str:
        return f"endpoints: {{{name}: {{kind: openai, base_url: 'http://127.0.0.1:1'}}}}\n"

    home.write(endpoint("users"))
    assert "users" in home.load().endpoints

    (home.work / "moa.yaml").write_text(endpoint("folders"))
    assert home.load().endpoints.keys() & {"users", "folders"} == {"folders"}

    (home.work / "named.yaml").write_text(endpoint("named"))
    assert home.load(MOA_CONFIG="named.yaml").source == home.work / "named.yaml"

    (tmp_path / "given.yaml").write_text(endpoint("given"))
    assert "given" in home.load(tmp_path / "given.yaml", MOA_CONFIG="named.yaml").endpoints


def test_the_users_folder_is_below_home_without_xdg(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "moa"
    folder.mkdir(parents=True)
    (folder / "moa.yaml").write_text("{}")

    assert load_settings(environ={"HOME": str(tmp_path)}, cwd=tmp_path).source == folder / "moa.yaml"


def test_a_chosen_file_that_is_missing_is_an_error(home: Home) -> None:
    for settings in (lambda: home.load("none.yaml"), lambda: home.load(MOA_CONFIG="none.yaml")):
        with pytest.raises(ConfigError, match=r"none\.yaml: the file can't be read"):
            settings()


@pytest.mark.parametrize(
    ("line", "key", "says"),
    [
        ("endpionts: {}", "endpionts", "did you mean 'endpoints'"),
        ("endpoints: {lab: {kind: openai}}", "endpoints.lab.base_url", "needs its address"),
        ("endpoints: {lab: {base_url: 'http://x'}}", "endpoints.lab.kind", "missing"),
        ("endpoints: {lab: {kind: openai, base_url: 'ftp://x'}}", "endpoints.lab.base_url", "http://"),
        ("endpoints: {lab: {kind: openai, base_url: 'http://x:port'}}", "endpoints.lab.base_url", "http://"),
        ("endpoints: {lab: {kind: openai, base_url: 'http://a:b@x'}}", "endpoints.lab.base_url", "name or password"),
        ("endpoints: {lab: {kind: openai, base_url: 'http://x/?a=b'}}", "endpoints.lab.base_url", "use query"),
        ("endpoints: {lab: {kind: bedrock, base_url: 'http://x'}}", "endpoints.lab.base_url", "only kind openai"),
        ("endpoints: {openai: {region: eu-west-1}}", "endpoints.openai.region", "only kind bedrock"),
        ("endpoints: {openai: {api_key: sk-hidden}}", "endpoints.openai.api_key", "did you mean 'api_key_env'"),
        ("endpoints: {openai: {api_key_env: sk-hidden}}", "endpoints.openai.api_key_env", "not the key itself"),
        ("endpoints: {openai: {api_key_env: [sk-hidden]}}", "endpoints.openai.api_key_env", "text, got a list"),
        ("endpoints: {openai: {headers: {a: 5}}}", "endpoints.openai.headers.a", "text, got a number"),
        ("endpoints: {openai: {headers: {a: \"sk-hidden\\r\\nb: c\"}}}", "endpoints.openai.headers.a", "one line"),
        ("endpoints: {openai: {proxy: 'socks5://sk-hidden'}}", "endpoints.openai.proxy", "HTTP proxy"),
        ("endpoints: {openai: sk-hidden}", "endpoints.openai", "mapping (key: value), got text"),
        ("endpoints: {openai: {max_concurrency: 0}}", "endpoints.openai.max_concurrency", "at least 1"),
        ("endpoints: {openai: {prices: {m: {input: -1, output: 1}}}}", "endpoints.openai.prices.m.input", "at least"),
        ("endpoints: {openai: {prices: {m: {inptu: 1}}}}", "endpoints.openai.prices.m.inptu", "did you mean 'input'"),
        ("endpoints: {a/b: {kind: local}}", "endpoints.a/b", "expected a name"),
        ("endpoints: {openai: {requests_per_minute: 0}}", "endpoints.openai.requests_per_minute", "at least 1"),
        ("endpoints: {openai: {retry: {attempts: 3}}}", "endpoints.openai.retry.attempts", "max_attempts"),
        ("endpoints: {openai: {breaker: {cooldown_s: 0}}}", "endpoints.openai.breaker.cooldown_s", "greater than 0"),
        ("cache: {mode: readwrite}", "cache.mode", "read_write"),
    ],
)  # fmt: skip
def test_a_fault_names_file_line_and_key_and_shows_no_value(home: Home, line: str, key: str, says: str) -> None:
    home.write(f"# settings\n{line}\n")

    with pytest.raises(ConfigError) as caught:
        home.load()

    assert (caught.value.key, caught.value.line) == (key, 2)
    assert says in str(caught.value)
    assert "hidden" not in f"{caught.value} {caught.value.__cause__!r}"


@pytest.mark.parametrize("off", ["off", '"off"'])
def test_a_cache_is_off_with_and_without_quotes(home: Home, off: str) -> None:
    home.write(f"cache: {{mode: {off}}}\n")

    assert home.load().cache.mode == "off"


def test_an_empty_file_is_fine(home: Home) -> None:
    home.write("")

    assert "openai" in home.load().endpoints


def test_a_trusted_file_changes_only_what_it_gives(home: Home) -> None:
    home.write("endpoints: {openai: {max_concurrency: 5}, bedrock: {region: eu-west-1}}")

    settings = home.load(OPENAI_API_KEY="k")

    openai = settings.endpoint("openai/gpt-4o")[0]
    assert (openai.limits.max_concurrency, openai.base_url) == (5, "https://api.openai.com/v1")
    assert openai.price_provider == "openai"
    assert (settings.endpoints["bedrock"].region, settings.endpoints["bedrock"].price_provider) == ("eu-west-1", "aws")


def test_an_endpoint_that_is_moved_loses_the_old_places_prices(home: Home) -> None:
    home.write("endpoints: {openai: {base_url: 'https://gateway.test/v1'}, ollama: {base_url: 'https://paid.test/v1'}}")

    settings = home.load(OPENAI_API_KEY="k")

    assert settings.endpoint("openai/gpt-4o")[0].price_provider is None
    assert settings.endpoint("ollama/m")[0].prices == {}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("endpoints: {openai: {base_url: 'http://evil.test/v1'}}", "endpoints.openai.base_url"),
        ("endpoints: {openai: {proxy: 'http://evil.test:3128'}}", "endpoints.openai.proxy"),
        ("endpoints: {openai: {ca_bundle: evil.pem}}", "endpoints.openai.ca_bundle"),
        ("endpoints: {openai: {headers: {Host: evil.test}}}", "endpoints.openai.headers"),
        ("endpoints: {openai: {headers: {OpenAI-Organization: theirs}}}", "endpoints.openai.headers"),
        ("endpoints: {groq: {query: {tenant: theirs}}}", "endpoints.groq.query"),
        ("endpoints: {bedrock: {headers: {Host: evil.test}}}", "endpoints.bedrock.headers"),
        ("endpoints: {groq: {kind: bedrock, endpoint_url: 'http://evil.test'}}", "endpoints.groq.kind"),
        ("endpoints: {bedrock: {endpoint_url: 'http://evil.test'}}", "endpoints.bedrock.endpoint_url"),
        (
            "endpoints: {mine: {kind: openai, base_url: 'http://evil.test', api_key_env: OPENAI_API_KEY}}",
            "endpoints.mine.api_key_env",
        ),
        ("endpoints: {openai: {api_key_env: GROQ_API_KEY}}", "endpoints.openai.api_key_env"),
        ("endpoints: {ollama: {api_key_env: AWS_SECRET_ACCESS_KEY}}", "endpoints.ollama.api_key_env"),
        ("endpoints: {aws: {kind: bedrock, endpoint_url: 'http://evil.test'}}", "endpoints.aws.endpoint_url"),
        ("endpoints: {aws: {kind: bedrock, endpoint_url: 'http://127.0.0.1:1'}}", "endpoints.aws.endpoint_url"),
        ("endpoints: {aws: {kind: bedrock, proxy: 'http://evil.test:3128'}}", "endpoints.aws.proxy"),
        ("endpoints: {aws: {kind: bedrock, ca_bundle: evil.pem}}", "endpoints.aws.ca_bundle"),
        ("endpoints: {ollama: {kind: bedrock, endpoint_url: 'http://evil.test'}}", "endpoints.ollama.endpoint_url"),
        ("endpoints: {own: {kind: their-adapter, base_url: 'http://evil.test'}}", "endpoints.own.base_url"),
        (
            "endpoints: {mine: {kind: openai, base_url: 'http://evil.test/v1', api_key_env: GITHUB_TOKEN}}",
            "endpoints.mine.api_key_env",
        ),
        (
            "endpoints: {mine: {kind: openai, base_url: 'http://127.0.0.1.evil.test', api_key_env: GITHUB_TOKEN}}",
            "endpoints.mine.api_key_env",
        ),
        (
            "endpoints: {mine: {kind: openai, base_url: 'http://[::1]:1', api_key_env: GITHUB_TOKEN, "
            "proxy: 'http://evil.test:1'}}",
            "endpoints.mine.proxy",
        ),
        (
            "endpoints: {ollama: {base_url: 'http://evil.test/v1', api_key_env: GITHUB_TOKEN}}",
            "endpoints.ollama.api_key_env",
        ),
        ("endpoints: {bedrock: {batch: {s3: 's3://theirs/prompts'}}}", "endpoints.bedrock.batch"),
        ("endpoints: {groq: {api_key_env: GITHUB_TOKEN}}", "endpoints.groq.api_key_env"),
        ("endpoints: {own: {kind: their-adapter, api_key_env: GITHUB_TOKEN}}", "endpoints.own.api_key_env"),
    ],
)
def test_a_file_in_the_working_folder_can_not_send_the_users_keys_elsewhere(home: Home, text: str, key: str) -> None:
    file = home.work / "moa.yaml"
    file.write_text(text)

    with pytest.raises(ConfigError, match="found in the working folder") as caught:
        home.load(OPENAI_API_KEY="k")

    assert (caught.value.path, caught.value.line, caught.value.key) == (file, 1, key)
    assert home.load(file, OPENAI_API_KEY="k").source == file


def test_a_file_in_the_working_folder_may_describe_endpoints_of_its_own(home: Home) -> None:
    (home.work / "moa.yaml").write_text(
        LAB[: LAB.index("  aws:")]
        + """\
  named: {kind: openai, base_url: "http://localhost:9000/v1", api_key_env: LAB_KEY}
  sixth: {kind: openai, base_url: "http://[::1]:9000/v1", api_key_env: LAB_KEY}
  openai: {max_concurrency: 3, api_key_env: OPENAI_API_KEY}
  ollama: {base_url: 'http://10.0.0.5:1'}
  aws: {kind: bedrock, region: us-east-1, profile: research}
"""
    )

    settings = home.load(LAB_KEY="k", OPENAI_API_KEY="k")

    assert settings.endpoint("lab/m")[0].api_key == SecretStr("k")
    assert settings.endpoint("named/m")[0].api_key == settings.endpoint("sixth/m")[0].api_key == SecretStr("k")
    assert settings.endpoint("aws/m")[0].profile == "research"
    assert settings.endpoint("openai/m")[0].limits.max_concurrency == 3
    assert settings.endpoint("ollama/m")[0].base_url == "http://10.0.0.5:1"


def test_the_proxy_is_chosen_once_for_each_endpoint(home: Home) -> None:
    home.write(LAB + "  direct: {kind: openai, base_url: 'https://in.corp.test/v1', proxy: 'http://own:1'}\n")

    settings = home.load(HTTPS_PROXY="http://proxy:3128", NO_PROXY=".together.xyz,groq.com", http_proxy="proxy:80")

    chosen = {name: endpoint.proxy for name, endpoint in settings.endpoints.items()}
    assert chosen["openai"] == chosen["bedrock"] == "http://proxy:3128"
    assert chosen["together"] is chosen["groq"] is chosen["lab"] is chosen["ollama"] is chosen["local"] is None
    assert chosen["direct"] == "http://own:1"
    assert chosen["aws"] is None


def test_a_socks_proxy_fails_only_where_it_is_used(home: Home) -> None:
    settings = home.load(HTTPS_PROXY="socks5://proxy:1080", OPENAI_API_KEY="k")

    assert settings.endpoint("ollama/m")[1] == "m"
    with pytest.raises(ConfigError, match="only HTTP proxies"):
        settings.endpoint("openai/gpt-4o")


def test_defaults_of_the_commands_come_from_the_file_and_a_mixtures_path_goes_from_there(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "moa.yaml"
    file.parent.mkdir()
    for given, mixture in [("mine.yaml", str(file.parent / "mine.yaml")), ("local", "local"), ("lab/m", "lab/m")]:
        file.write_text(f"defaults: {{mixture: {given}, judge: pairwise, judge_model: lab/judge}}\n")

        settings = load_settings(file, environ={})

        assert settings.default_mixture == mixture
        assert (settings.default_judge, settings.default_judge_model) == ("pairwise", ("lab/judge",))
