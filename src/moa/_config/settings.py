"""Settings, resolved from the settings file, the environment and the built-in endpoints."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pydantic import SecretStr

from moa._config.builtin_endpoints import BEDROCK_FACTORS, BUILT_IN, carries_a_key
from moa._config.environment import base_url_from, is_loopback, proxy_for
from moa._config.schema import CacheSection, EndpointSettings, SettingsFile
from moa._mixture.model_reference import split_reference
from moa._policies.cache.settings import CacheSettings
from moa._policies.shared_budget import BudgetSettings
from moa._state.opening import StateSettings
from moa._validation.strict_yaml import Document, check, from_file, from_mapping
from moa._validation.suggestions import did_you_mean
from moa.errors import ConfigError, MissingCredentials, UnknownEndpoint
from moa.providers._endpoint import Endpoint

FILE_NAME = "moa.yaml"
CACHE_NAME = "calls.sqlite"
STATE_NAME = "state.sqlite"
PROFILES_NAME = "profiles.sqlite"

NO_CACHE = CacheSettings(path=Path(CACHE_NAME), mode="off")
"""The cache of settings that were made in code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run.

    Attributes:
        endpoints: By name, built-in ones included.
        key_variables: For endpoints that need a key: the environment variable that holds it.
        cache: Where replies are stored, and how they are used.
        state: The store in which limits and budgets are shared with other processes, None if they aren't shared.
        budgets: Maximum total spending; each budget applies.
        profiles: The file that stores what services refuse; None: only this process remembers it.
        source: The settings file, None if there is none.
        default_mixture: The default of `-m`: a preset, the path of a file, or a model reference.
        default_judge: The default judge of `moa eval run`.
        default_judge_model: References of the models of this judge; empty for its own.
    """

    endpoints: Mapping[str, Endpoint]
    key_variables: Mapping[str, str] = field(default_factory=dict)
    cache: CacheSettings = NO_CACHE
    state: StateSettings | None = None
    budgets: tuple[BudgetSettings, ...] = ()
    profiles: Path | None = None
    source: Path | None = None
    default_mixture: str | None = None
    default_judge: str | None = None
    default_judge_model: tuple[str, ...] = ()

    def in_tier(self, tier: str | None) -> "Settings":
        """Return the same with all endpoints in one service tier; None changes nothing."""
        if tier is None:
            return self
        return replace(self, endpoints={name: replace(one, tier=tier) for name, one in self.endpoints.items()})

    def endpoint(self, reference: str) -> tuple[Endpoint, str]:
        """Return the endpoint that a model reference names, ready to be used, and the model's id.

        Raises:
            UnknownEndpoint: The endpoint is not configured.
            MissingCredentials: Its key is not in the environment.
            ConfigError: It is not a reference, or the endpoint's proxy isn't an HTTP proxy.
        """
        try:
            name, model = split_reference(reference)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        endpoint = self.endpoints.get(name)
        if endpoint is None:
            known = tuple(self.endpoints)
            raise UnknownEndpoint(
                f"{reference}: there is no endpoint {name!r}{did_you_mean(name, known) or '.'} Known are "
                f"{', '.join(known)}; others are described in {FILE_NAME}"
            )
        variable = self.key_variables.get(name)
        if variable is not None and endpoint.api_key is None:
            raise MissingCredentials(
                f"{reference}: the endpoint {name!r} needs a key: set the environment variable {variable}"
            )
        if endpoint.proxy is not None and not endpoint.proxy.startswith(("http://", "https://")):
            raise ConfigError(f"{reference}: only HTTP proxies are supported: change HTTPS_PROXY or HTTP_PROXY")
        return endpoint, model


def load_settings(
    path: str | Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Settings:
    """Return the settings, completely checked; keys are read from the environment once, here.

    Args:
        path: The settings file. None: `MOA_CONFIG`, then `moa.yaml` in the working folder, then in the user's
            configuration folder; a missing file is not an error.
        environ: Environment variables; None: the process's own.
        cwd: The working folder; None: the process's own.

    Raises:
        ConfigError: The file can't be read or used; it names file, line and key.
    """
    environ = os.environ if environ is None else environ
    folder = cwd or Path.cwd()
    source, trusted = _source(path, environ, folder)
    document = from_file(source, ConfigError) if source else from_mapping({}, ConfigError)
    file = check(SettingsFile, document)
    merged = {name: _merged(name, file.endpoints.get(name), environ) for name in [*BUILT_IN, *file.endpoints]}
    if not trusted:
        for name, given in file.endpoints.items():
            _check_untrusted(name, given, merged[name], document)
        if file.state is not None:
            raise _untrusted("say where budgets and conversations are stored", document, "state")
    for name in file.endpoints:
        _check_kind(name, merged[name], document)
    return Settings(
        endpoints=MappingProxyType({name: _resolved(name, given, environ, source) for name, given in merged.items()}),
        key_variables=MappingProxyType(
            {name: given.api_key_env for name, given in merged.items() if given.api_key_env}
        ),
        cache=_cache(file.cache, environ, source),
        state=_state(file, environ, source),
        budgets=(file.budget_usd.settings,) if file.budget_usd else (),
        profiles=_cache_folder(environ) / PROFILES_NAME,
        source=source,
        default_mixture=_default_mixture(file.defaults.mixture, source),
        default_judge=file.defaults.judge,
        default_judge_model=file.defaults.judge_model,
    )


def _default_mixture(given: str | None, source: Path | None) -> str | None:
    return _beside(source, given) if given is not None and given.endswith((".yaml", ".yml")) else given


def _cache(given: CacheSection, environ: Mapping[str, str], source: Path | None) -> CacheSettings:
    named = _beside(source, given.path)
    path = Path(named) if named else _cache_folder(environ) / CACHE_NAME
    return CacheSettings(path=path, mode=given.mode, max_size_mb=given.max_size_mb)


def _state(file: SettingsFile, environ: Mapping[str, str], source: Path | None) -> StateSettings | None:
    where = environ.get("MOA_STATE") or file.state
    if where is None:
        return None
    is_url = re.match(r"(rediss?|unix)://", where)
    return StateSettings(where=where if is_url else str(_beside(source, where)), on_failure=file.on_state_failure)


def _cache_folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("XDG_CACHE_HOME") or environ.get("LOCALAPPDATA")
    return (Path(named) if named else Path(environ.get("HOME") or Path.home()) / ".cache") / "moa"


def with_default_state(settings: Settings, environ: Mapping[str, str] | None = None) -> Settings:
    """Return settings that share state in a file in the user's folder, unless they name a store."""
    if settings.state is not None:
        return settings
    environ = os.environ if environ is None else environ
    named = environ.get("XDG_STATE_HOME") or environ.get("LOCALAPPDATA")
    folder = Path(named) if named else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return replace(settings, state=StateSettings(where=str(folder / "moa" / STATE_NAME)))


def _source(path: str | Path | None, environ: Mapping[str, str], folder: Path) -> tuple[Path | None, bool]:
    """Return the settings file, and whether the user chose it explicitly (not by the working folder)."""
    chosen = path or environ.get("MOA_CONFIG")
    if chosen:
        return folder / Path(chosen).expanduser(), True
    if (folder / FILE_NAME).is_file():
        return folder / FILE_NAME, False
    users = _user_folder(environ) / "moa" / FILE_NAME
    return (users if users.is_file() else None), True


def _user_folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("XDG_CONFIG_HOME") or environ.get("APPDATA")
    return Path(named) if named else Path(environ.get("HOME") or Path.home()) / ".config"


_REPOINTING = ("base_url", "endpoint_url", "proxy", "ca_bundle", "headers", "query")
"""Keys that determine the recipient and the account of a request: gateways use `Host`, services headers and query."""
_WITHOUT_CREDENTIALS = ("openai", "local", "scripted")
"""Kinds that send no credentials but the key that `api_key_env` names. Other kinds find credentials themselves."""


def _check_untrusted(name: str, given: EndpointSettings, merged: EndpointSettings, document: Document) -> None:
    """Refuse settings that would send the user's credentials elsewhere: the author of a file may be someone else.

    Args:
        name: Name of the endpoint.
        given: Its settings in the file.
        merged: The same merged with the built-in endpoint.
        document: The file.
    """
    if carries_a_key(name) and "kind" in given.model_fields_set:
        raise _untrusted(f"change the kind of {name}, which has your key", document, "endpoints", name, "kind")
    if carries_a_key(name) or merged.kind not in (None, *_WITHOUT_CREDENTIALS):
        for key in _REPOINTING:
            if key in given.model_fields_set:
                raise _untrusted("redirect an endpoint that has your credentials", document, "endpoints", name, key)
        if given.batch is not None and given.batch.s3 is not None:
            raise _untrusted("send prompts to a bucket by your credentials", document, "endpoints", name, "batch")
    if given.api_key_env is None:
        return
    owners = {built_in.api_key_env: owner for owner, built_in in BUILT_IN.items()}
    if given.api_key_env.upper().startswith("AWS_") or owners.get(given.api_key_env, name) != name:
        raise _untrusted(f"use {given.api_key_env} for another endpoint", document, "endpoints", name, "api_key_env")
    if owners.get(given.api_key_env) != name and not is_loopback(urlsplit(merged.base_url or "").hostname or ""):
        raise _untrusted(f"send {given.api_key_env} to another machine", document, "endpoints", name, "api_key_env")
    if given.proxy is not None:
        raise _untrusted(f"send {given.api_key_env} through a proxy", document, "endpoints", name, "proxy")


def _untrusted(deed: str, document: Document, *location: str) -> Exception:
    advice = f"give the file with --config or MOA_CONFIG if this {FILE_NAME} is yours"
    return document.failure(f"a {FILE_NAME} found in the working folder may not {deed}: {advice}", location)


def _merged(name: str, given: EndpointSettings | None, environ: Mapping[str, str]) -> EndpointSettings:
    """Return the endpoint's settings: those of the file, then the environment, then the built-in ones."""
    given = given or EndpointSettings()
    base = BUILT_IN.get(name)
    if base is None or (given.kind and given.kind != base.kind):
        return given
    changes = {key: getattr(given, key) for key in given.model_fields_set}
    changes.setdefault("base_url", base_url_from(environ, name) or base.base_url)
    if changes["base_url"] != base.base_url and not _same_host(changes["base_url"], base.base_url):
        # At another address the same model ids may have other prices.
        changes = {"price_provider": None, "prices": {}, "price_factor": {}, **changes}
    return base.model_copy(update=changes)


def _same_host(one: str | None, other: str | None) -> bool:
    return urlsplit(one or "").hostname == urlsplit(other or "").hostname


_ONLY_FOR = {"base_url": "openai", "api_key_env": "openai", "region": "bedrock", "profile": "bedrock"}


def _check_kind(name: str, given: EndpointSettings, document: Document) -> None:
    if given.kind is None:
        raise document.failure("missing: this key is needed, e.g. openai or bedrock", ("endpoints", name, "kind"))
    if given.kind == "openai" and given.base_url is None:
        raise document.failure("missing: kind openai needs its address", ("endpoints", name, "base_url"))
    for key, kind in {**_ONLY_FOR, "endpoint_url": "bedrock"}.items():
        if given.kind in ("openai", "bedrock", "local") and given.kind != kind and getattr(given, key) is not None:
            raise document.failure(f"only kind {kind} has this, not {given.kind}", ("endpoints", name, key))


def _resolved(name: str, given: EndpointSettings, environ: Mapping[str, str], source: Path | None) -> Endpoint:
    key = environ.get(given.api_key_env, "").strip() if given.api_key_env else ""
    return Endpoint(
        name=name,
        kind=given.kind or "",
        base_url=given.base_url,
        api_key=SecretStr(key) if key else None,
        region=given.region or (environ.get("AWS_REGION", "").strip() or None if given.kind == "bedrock" else None),
        profile=given.profile,
        endpoint_url=given.endpoint_url,
        limits=given.limits,
        model_limits=MappingProxyType({model: limited.limits for model, limited in given.models.items()}),
        retry=given.retry,
        breaker=given.breaker,
        headers=MappingProxyType(given.headers),
        query=MappingProxyType(given.query),
        proxy=given.proxy or proxy_for(_address(given), environ),
        ca_bundle=_beside(source, given.ca_bundle),
        prices=MappingProxyType(given.prices),
        price_factor=MappingProxyType(given.price_factor or (BEDROCK_FACTORS if given.kind == "bedrock" else {})),
        price_provider=given.price_provider or ("aws" if given.kind == "bedrock" else None),
        tier=given.tier,
        batch=given.batch,
        options=MappingProxyType(given.options),
    )


def _address(given: EndpointSettings) -> str:
    """Return the address of the endpoint's requests, for the choice of a proxy."""
    aws = f"https://bedrock-runtime.{given.region or 'us-east-1'}.amazonaws.com" if given.kind == "bedrock" else ""
    return given.base_url or given.endpoint_url or aws


def _beside(source: Path | None, file: str | None) -> str | None:
    if file is None:
        return None
    return str((source.parent if source else Path()) / Path(file).expanduser())
