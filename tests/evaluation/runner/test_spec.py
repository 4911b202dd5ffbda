"""What a run's manifest records of the endpoints."""

from moa._config.settings import Settings
from moa.evaluation._runner.spec import endpoint_entry
from moa.providers._endpoint import Endpoint


def test_a_manifest_holds_no_secret_of_an_address() -> None:
    address = "https://me:password@x.test/proxy/s3cr3t/v1?key=query-key"
    settings = Settings(endpoints={"lab": Endpoint(name="lab", kind="openai", base_url=address)})

    assert endpoint_entry(settings, "lab") == {"kind": "openai", "url": "https://x.test/***/***/v1", "region": None}
