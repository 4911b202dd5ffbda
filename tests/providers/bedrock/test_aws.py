import asyncio
import datetime
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import botocore.utils
import pytest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import ClientError, ConnectTimeoutError, CredentialRetrievalError
from botocore.session import Session
from pydantic import SecretStr

from moa.errors import AuthenticationFailed, BadRequest, ConfigError, ConnectionFailed, MissingDependency, ProviderError
from moa.providers._base import collect
from moa.providers._bedrock import aws, open_bedrock
from moa.providers._bedrock.aws import Aws
from moa.providers._endpoint import Endpoint
from moa.providers._http import HttpRequest, HttpResponse
from tests.support.bedrock_calls import ask, sealed_session, signing_session
from tests.support.bedrock_server import Says

BEDROCK = Endpoint(name="bedrock", kind="bedrock", region="us-east-1")


async def headers_of(connection: Aws) -> dict[str, str]:
    return (await connection.signed("/model/m/converse", b"{}", reference="bedrock/m"))[1]


def key_id(headers: dict[str, str]) -> str:
    return headers["Authorization"].partition("Credential=")[2].partition("/")[0]


# ── address ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
    ],
)
async def test_address_follows_the_region(region: str, host: str) -> None:
    connection = Aws(Endpoint(name="b", kind="bedrock", region=region), signing_session)
    url, headers = await connection.signed("/model/m%3A0/converse", b"{}", reference="b/m")

    assert url == f"https://{host}/model/m%3A0/converse"
    assert f"/{region}/bedrock/aws4_request" in headers["Authorization"]


async def test_region_credentials_and_address_come_from_the_profile(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        "[profile research]\nregion = ap-south-1\nservices = local\n"
        "[services local]\nbedrock_runtime =\n  endpoint_url = http://127.0.0.1:9/base/\n"
    )
    (tmp_path / "credentials").write_text("[research]\naws_access_key_id = AKIDFILE\naws_secret_access_key = s\n")

    connection = Aws(Endpoint(name="b", kind="bedrock", profile="research"))
    url, headers = await connection.signed("/model/m/converse", b"{}", reference="b/m")
    assert url == "http://127.0.0.1:9/base/model/m/converse"
    assert key_id(headers) == "AKIDFILE"
    assert "/ap-south-1/" in headers["Authorization"]


# ── what can be missing ──────────────────────────────────────────────────────────────────────────────────────────────


async def fault_of(endpoint: Endpoint, make_session: Any = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await headers_of(Aws(endpoint, make_session))
    assert caught.value.model == "bedrock/m"
    return caught.value


async def test_missing_region_is_said() -> None:
    error = await fault_of(Endpoint(name="b", kind="bedrock"), sealed_session)

    assert isinstance(error, BadRequest)
    assert "no AWS region is set: give the endpoint a `region`" in str(error)


async def test_missing_credentials_are_said_with_what_to_do() -> None:
    error = await fault_of(BEDROCK, sealed_session)

    assert isinstance(error, AuthenticationFailed)
    assert "no AWS credentials were found: run `aws configure`" in str(error)


async def test_unknown_profile_is_said() -> None:
    error = await fault_of(Endpoint(name="b", kind="bedrock", profile="nobody"))

    assert isinstance(error, AuthenticationFailed)
    assert "(nobody) could not be found: check the endpoint's `profile`" in str(error)


async def test_address_that_is_none_is_said() -> None:
    error = await fault_of(Endpoint(name="b", kind="bedrock", region="us-east-1", endpoint_url="nonsense"))

    assert isinstance(error, BadRequest)
    assert "Invalid endpoint: nonsense" in str(error)


class Source:
    """A source of credentials for botocore's chain: gives them, or fails."""

    METHOD = "test"
    CANONICAL_NAME = "test"

    def __init__(self, load: Any) -> None:
        self._load = load

    def load(self) -> Any:
        return self._load()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (CredentialRetrievalError(provider="process", error_msg="exit 1"), AuthenticationFailed),
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole"), AuthenticationFailed),
        (ConnectTimeoutError(endpoint_url="https://sts.test"), ConnectionFailed),
        (PermissionError("not yours"), AuthenticationFailed),
    ],
)
async def test_failing_source_of_credentials_is_a_failure_of_the_call(fault: Exception, kind: type) -> None:
    def load() -> None:
        raise fault

    error = await fault_of(BEDROCK, lambda: sealed_session(Source(load)))
    assert type(error) is kind
    assert str(fault) in str(error)


async def test_next_call_looks_again_after_a_failure() -> None:
    found: list[Any] = []
    connection = Aws(BEDROCK, lambda: sealed_session(Source(lambda: found[0] if found else None)))

    with pytest.raises(AuthenticationFailed):
        await headers_of(connection)
    found.append(ReadOnlyStatic("AKIDLATER"))
    assert key_id(await headers_of(connection)) == "AKIDLATER"


class ReadOnlyStatic:
    """Credentials that never expire."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return ReadOnlyCredentials(self._name, "secret", None)


# ── renewal ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Expiring:
    """Temporary credentials: each fetch gives the next ones, valid for so many seconds."""

    def __init__(self, *lives_s: int) -> None:
        self._lives_s = list(lives_s)
        self.fetched = 0

    def fetch(self) -> dict[str, str]:
        self.fetched += 1
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self._lives_s.pop(0))
        name = f"AKID{self.fetched}"
        return {"access_key": name, "secret_key": "s", "token": "t", "expiry_time": until.isoformat()}

    def session(self) -> Session:
        def load() -> RefreshableCredentials:
            return RefreshableCredentials.create_from_metadata(self.fetch(), self.fetch, "test")

        return sealed_session(Source(load))


async def test_credentials_are_fetched_once_for_all_calls_at_once() -> None:
    expiring = Expiring(3600)
    connection = Aws(BEDROCK, expiring.session)

    headers = await asyncio.gather(*(headers_of(connection) for _ in range(50)))
    assert expiring.fetched == 1
    assert {key_id(each) for each in headers} == {"AKID1"}
    assert headers[0]["X-Amz-Security-Token"] == "t"


async def test_expired_credentials_are_renewed_before_the_call() -> None:
    connection = Aws(BEDROCK, Expiring(30, 3600).session)

    assert key_id(await headers_of(connection)) == "AKID2"


@pytest.mark.slow
async def test_credentials_that_expire_soon_are_used_while_new_ones_are_fetched() -> None:
    expiring = Expiring(700, 650, 3600)
    connection = Aws(BEDROCK, expiring.session)
    assert key_id(await headers_of(connection)) == "AKID2"  # botocore renews what it has just loaded, if it is short

    assert key_id(await headers_of(connection)) == "AKID2"
    assert connection._renewal is not None
    await connection._renewal
    assert key_id(await headers_of(connection)) == "AKID3"


async def test_caller_that_gives_up_leaves_the_credentials_to_the_others() -> None:
    connection = Aws(BEDROCK, signing_session)
    impatient, patient = (asyncio.ensure_future(headers_of(connection)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()

    assert key_id(await patient) == "AKIDLOOPBACK"
    assert impatient.cancelled()


async def test_client_is_made_once_however_often_credentials_are_renewed() -> None:
    expiring, sessions = Expiring(30, 30, 3600), list[Session]()

    def make() -> Session:
        sessions.append(expiring.session())
        return sessions[-1]

    connection = Aws(BEDROCK, make)
    assert [key_id(await headers_of(connection)) for _ in range(3)] == ["AKID2", "AKID3", "AKID3"]
    assert len(sessions) == 1


# ── Bedrock API keys ─────────────────────────────────────────────────────────────────────────────────────────────────


class RequestModel:
    """A fake transport that keeps what was sent and answers with one reply."""

    def __init__(self) -> None:
        self.sent: list[HttpRequest] = []

    @asynccontextmanager
    async def __call__(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        self.sent.append(request)
        yield Answered()


class Answered:
    def __init__(self) -> None:
        self.status, self.headers = 200, dict[str, str]()

    async def read(self) -> bytes:
        return Says("Hello").whole()

    async def chunks(self) -> AsyncIterator[bytes]:
        yield await self.read()


async def test_api_key_is_sent_as_a_bearer_token() -> None:
    wire = RequestModel()
    endpoint = Endpoint(name="bedrock", kind="bedrock", region="us-east-1", api_key=SecretStr("bedrock-api-key"))
    provider = open_bedrock(endpoint, wire, make_session=sealed_session)

    assert (await collect(provider, ask(deltas=False))).text == "Hello"
    assert wire.sent[0].headers["Authorization"] == "Bearer bedrock-api-key"
    await provider.aclose()


@pytest.mark.skipif(
    not hasattr(botocore.utils, "get_token_from_environment"), reason="this botocore knows no AWS_BEARER_TOKEN_BEDROCK"
)
async def test_api_key_of_the_environment_is_sent_as_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "from-the-environment")

    assert (await headers_of(Aws(BEDROCK, signing_session)))["Authorization"] == "Bearer from-the-environment"


async def test_api_key_is_never_sent_in_the_clear() -> None:
    endpoint = Endpoint(
        name="b", kind="bedrock", region="us-east-1", endpoint_url="http://127.0.0.1:9", api_key=SecretStr("key")
    )
    error = await fault_of(endpoint, sealed_session)
    assert "a Bedrock API key is sent over https only" in str(error)


# ── the package itself ───────────────────────────────────────────────────────────────────────────────────────────────


def test_missing_botocore_is_said_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingDependency, match=r'pip install "mixture-of-agents\[bedrock\]"'):
        aws.require_botocore(find_spec=lambda name: None)


@pytest.mark.slow
def test_opening_an_endpoint_imports_no_botocore() -> None:
    code = (
        "import sys; from moa.providers._bedrock import open_bedrock; from moa.providers._endpoint import Endpoint;"
        "open_bedrock(Endpoint(name='b', kind='bedrock'));"
        "assert not [name for name in sys.modules if name.startswith(('botocore', 'boto3'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_option_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.b\.options: an endpoint of kind bedrock takes no options"):
        open_bedrock(Endpoint(name="b", kind="bedrock", options={"takes_seed": False}))
