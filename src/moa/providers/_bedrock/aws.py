"""What is AWS's own, done by botocore: address, credentials, signature, and the frames of event streams.

Only botocore's stable parts are used: a session's `create_client` for the client's `meta`, `get_credentials`,
`auth.SigV4Auth`, `auth.BearerAuth` and `eventstream.EventStreamBuffer`. It is imported when the first call is made,
in a thread, as its import and a client cost some 0.4 s.
"""

import asyncio
import importlib.util
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote, urlencode

from moa.errors import AuthenticationFailed, BadRequest, BrokenReply, ConnectionFailed, MissingDependency, ProviderError
from moa.providers._bedrock.decode import Frame
from moa.providers._endpoint import Endpoint
from moa.providers._redaction import Secrets, texts_of

SessionFactory = Callable[[], Any]
"""Makes the `botocore.session.Session` that an endpoint's credentials and region come from; may block."""

REFRESH_BEFORE_S = 60
"""Seconds before credentials expire from which on calls wait for new ones; botocore fetches them 15 minutes ahead."""

_PROOF = re.compile("(?:Bearer |Signature=)(.+)")
"""The part of an Authorization header that proves who calls."""


def require_botocore(find_spec: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Make sure that botocore is installed, without importing it.

    Raises:
        MissingDependency: It isn't.
    """
    if find_spec("botocore") is None:
        raise MissingDependency.of("Amazon Bedrock", extra="bedrock")


@dataclass(frozen=True, slots=True)
class _Address:
    """Where an endpoint is, by botocore's rules, and the session that knows its credentials."""

    session: Any
    url: str
    region: str
    service: str


def _find_address(session: Any, endpoint: Endpoint, service: str) -> _Address:
    # The client never calls anything; given any keys, it doesn't search for credentials, which may take seconds.
    client = session.create_client(
        service,
        region_name=endpoint.region,
        endpoint_url=endpoint.endpoint_url,
        aws_access_key_id="unused",
        aws_secret_access_key="unused",
    )
    meta = client.meta
    url = meta.endpoint_url.rstrip("/")
    return _Address(session=session, url=url, region=meta.region_name, service=meta.service_model.signing_name)


@dataclass(frozen=True, slots=True)
class _Signer:
    address: _Address
    endpoint: Endpoint
    auth: Any
    credentials: Any
    secret_key: str = field(default="", repr=False)

    def expires_within(self, seconds: int | None) -> bool:
        """Whether the credentials have to be renewed; None asks for the moment at which botocore begins to."""
        # Only credentials that expire have the method.
        refresh_needed = getattr(self.credentials, "refresh_needed", None)
        return refresh_needed is not None and bool(refresh_needed(refresh_in=seconds))

    def sign(self, path: str, body: bytes, method: str) -> tuple[str, dict[str, str]]:
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

        query = urlencode(self.endpoint.query, safe="-_.~", quote_via=quote)
        joint = "" if not query else "&" if "?" in path else "?"
        url = f"{self.address.url}{path}{joint}{query}"
        headers = {"Content-Type": "application/json", **self.endpoint.headers}
        request = AWSRequest(method=method, url=url, data=body, headers=headers)
        self.auth.add_auth(request)
        return url, dict(request.headers.items())


def _new_signer(address: _Address, endpoint: Endpoint) -> _Signer:
    from botocore.auth import BearerAuth, SigV4Auth  # type: ignore[import-untyped]
    from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]
    from botocore.tokens import FrozenAuthToken  # type: ignore[import-untyped]

    token = endpoint.api_key.get_secret_value() if endpoint.api_key else _token_of_environment(address.service)
    if token:
        if not address.url.startswith("https://"):
            # botocore refuses this too, but not in its older releases.
            raise ValueError(f"a Bedrock API key is sent over https only, not to {address.url}")
        return _Signer(address=address, endpoint=endpoint, auth=BearerAuth(FrozenAuthToken(token)), credentials=None)
    credentials = address.session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    frozen = credentials.get_frozen_credentials()
    auth = SigV4Auth(frozen, address.service, address.region)
    return _Signer(
        address=address, endpoint=endpoint, auth=auth, credentials=credentials, secret_key=frozen.secret_key or ""
    )


def _token_of_environment(service: str) -> str | None:
    # AWS_BEARER_TOKEN_BEDROCK, if this botocore knows it; as in its clients, it is preferred to other credentials.
    from botocore import utils  # type: ignore[import-untyped]

    read = getattr(utils, "get_token_from_environment", None)
    token = read(service) if read else None
    return token if isinstance(token, str) else None


class Aws:
    """Signs the requests of one endpoint; credentials are fetched and renewed in a thread, once for all who wait.

    Args:
        endpoint: Region, profile, address, headers and query; an `api_key` is sent as a Bedrock API key.
        make_session: Makes the botocore session; None for one of the endpoint's profile.
        service: AWS's name of the API; an endpoint's own address is that of all of them.

    Raises:
        MissingDependency: botocore isn't installed.
    """

    def __init__(
        self, endpoint: Endpoint, make_session: SessionFactory | None = None, *, service: str = "bedrock-runtime"
    ) -> None:
        require_botocore()
        self._endpoint, self._secrets, self._service = endpoint, texts_of(endpoint), service
        self._make_session = make_session or self._profile_session
        self._address: _Address | None = None
        self._signer: _Signer | None = None
        self._renewal: asyncio.Task[_Signer] | None = None

    async def signed(
        self, path: str, body: bytes, *, reference: str, method: str = "POST"
    ) -> tuple[str, dict[str, str]]:
        """Return the whole address and the headers of a request.

        Raises:
            AuthenticationFailed: There are no usable credentials.
            ConnectionFailed: The service that hands out credentials can't be reached.
            BadRequest: There is no region, or the address is none.
        """
        try:
            return (await self._ready()).sign(path, body, method)
        except _faults() as error:
            raise credentials_error(error, reference) from error

    def secrets(self, headers: Mapping[str, str]) -> Secrets:
        """Return what no error may show: what is secret of the endpoint, and of the headers that were signed."""
        proof = _PROOF.search(headers.get("Authorization", ""))
        token = headers.get("X-Amz-Security-Token", "")
        secret_key = self._signer.secret_key if self._signer else ""
        return Secrets((*self._secrets, token, secret_key, proof.group(1) if proof else ""))

    async def _ready(self) -> _Signer:
        signer = self._signer
        if signer is None or signer.expires_within(REFRESH_BEFORE_S):
            # Shielded: a caller that gives up doesn't take the others' credentials away.
            return await asyncio.shield(self._start_renewal())
        if signer.expires_within(None):
            self._start_renewal()  # in the background: these credentials are still good
        return signer

    def _start_renewal(self) -> asyncio.Task[_Signer]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(asyncio.to_thread(self._renew))
            self._renewal.add_done_callback(_note_outcome)
        return self._renewal

    def _renew(self) -> _Signer:
        address = self._address = self._address or _find_address(self._make_session(), self._endpoint, self._service)
        signer = self._signer = _new_signer(address, self._endpoint)
        return signer

    def _profile_session(self) -> Any:
        from botocore.session import Session  # type: ignore[import-untyped]

        return Session(profile=self._endpoint.profile)


def region_like(region: str) -> str | None:
    """Return a region of AWS that a name may be a slip of; None if the name is one, or is like none.

    A region that is newer than the installed botocore is unknown to it, so this proves nothing by itself.
    """
    from botocore.session import Session

    session = Session()
    known = {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("ec2", partition)
    }
    close = [] if region in known else get_close_matches(region, sorted(known), n=3, cutoff=0.75)
    # Two letters changed about are the likeliest slip.
    return min(close, key=lambda name: sorted(name) != sorted(region), default=None)


def _note_outcome(task: asyncio.Task[Any]) -> None:
    # Waiting calls get the exception; if none is waiting, asyncio must not report it as never retrieved.
    if not task.cancelled():
        task.exception()


def _faults() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, ValueError, RuntimeError, OSError


def credentials_error(error: Exception, reference: str) -> ProviderError:
    """Return the error for what botocore raises before a request is sent."""
    from botocore.exceptions import ConnectionError as Unreachable
    from botocore.exceptions import HTTPClientError, NoCredentialsError, NoRegionError, ProfileNotFound

    match error:
        case NoRegionError():
            sentence = "no AWS region is set: give the endpoint a `region`, or set AWS_REGION"
            return BadRequest(sentence, model=reference)
        case NoCredentialsError():
            sentence = (
                "no AWS credentials were found: run `aws configure` or `aws sso login`, set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or set AWS_BEARER_TOKEN_BEDROCK; the endpoint's `profile` picks a profile"
            )
            return AuthenticationFailed(sentence, model=reference)
        case ProfileNotFound():
            return AuthenticationFailed(f"{error}: check the endpoint's `profile`", model=reference)
        case HTTPClientError() | Unreachable():
            return ConnectionFailed(f"AWS credentials can't be fetched: {error}", model=reference)
        case ValueError():
            return BadRequest(f"the endpoint's address or region can't be used: {error}", model=reference)
    return AuthenticationFailed(f"AWS credentials can't be used: {error}", model=reference)


class FrameReader:
    """Cuts the bytes of an event stream, broken anywhere, into frames and checks their checksums.

    Args:
        reference: The model, for errors.
    """

    def __init__(self, *, reference: str) -> None:
        from botocore.eventstream import EventStreamBuffer, ParserError  # type: ignore[import-untyped]

        self._buffer = EventStreamBuffer()
        self._faults = (ParserError, struct.error, ValueError, KeyError)
        self._reference = reference

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Give the frames that are whole by now.

        Raises:
            BrokenReply: A checksum is wrong, or the bytes are no frames.
        """
        self._buffer.add_data(data)
        while True:
            try:
                message = next(self._buffer, None)
            except self._faults as error:
                raise BrokenReply(f"the event stream is damaged: {error}", model=self._reference) from error
            if message is None:
                return
            yield Frame(message.headers, message.payload)
