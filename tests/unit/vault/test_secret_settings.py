"""Settings of the master secret and of the keys that others keep."""

from pathlib import Path

import pytest

from model_service.kernel.errors import StartupFault
from model_service.settings import examine
from model_service.vault.kms import KmsKey

SECRET = "of-forty-characters-or-so-c81f5e20-77aa"
NAMES = ("ENCRYPTION_SECRET", "ENCRYPTION_SECRET_PREVIOUS")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_taken_from_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mounted").write_text(SECRET + "\n")
    monkeypatch.setenv(f"{name}_FILE", "mounted")
    settings, faults = examine(None)
    assert faults == []
    assert getattr(settings, name.lower()).reveal() == SECRET


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_and_a_file_of_it_are_not_both_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv(f"{name}_FILE", "mounted")
    _, faults = examine(None)
    assert faults == [f"set {name} or {name}_FILE, not both"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_read_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{name}_FILE", "absent")
    _, faults = examine(None)
    assert faults == [f"{name}_FILE cannot be read: FileNotFoundError: absent"]


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_from_a_file_must_be_strong_too(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mounted").write_text("short")
    monkeypatch.setenv(f"{name}_FILE", "mounted")
    _, faults = examine(None)
    assert faults == [f"{name} must be at least 32 characters long"]


@pytest.mark.parametrize(
    "url",
    [
        "http://kms.example.com",
        "http://10.0.0.7:8080",
        "ftp://localhost",
        "kms.example.com",
        "https://user@kms.example.com",
        "https://kms.example.com:port",
    ],
)
def test_keys_are_not_sent_to_an_endpoint_of_kms_in_clear(url: str) -> None:
    with pytest.raises(StartupFault, match="AWS_KMS_ENDPOINT_URL"):
        KmsKey("alias/any", endpoint_url=url)


@pytest.mark.parametrize(
    "url", ["https://vpce-1.kms.example.com", "http://127.0.0.1:5000", "http://[::1]:5000/"]
)
def test_an_endpoint_of_kms_is_asked_by_tls_or_on_this_machine(url: str) -> None:
    assert KmsKey("alias/any", endpoint_url=url).kind == "kms"
