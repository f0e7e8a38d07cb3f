import time
from collections.abc import Callable

import pytest

from model_service.kernel.errors import IntegrityFailure, SelfTestFailure
from model_service.vault import primitives
from model_service.vault.selftest import run_self_test


def test_the_library_of_this_machine_passes() -> None:
    run_self_test()


def test_the_library_of_this_machine_passes_within_five_milliseconds() -> None:
    run_self_test()
    fastest = min(_seconds(run_self_test) for _ in range(20))
    assert fastest < 0.005


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _wrong(name: str) -> Callable[..., bytes]:
    real: Callable[..., bytes] = getattr(primitives, name)

    def wrong(*values: object, **named: object) -> bytes:
        answer = real(*values, **named)
        return bytes([answer[0] ^ 1]) + answer[1:]

    return wrong


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("aes_gcm_seal", "AES-256-GCM encryption"),
        ("aes_gcm_open", "AES-256-GCM decryption"),
        ("hkdf_sha256", "HKDF-SHA256"),
        ("hkdf_extract", "HKDF-SHA256"),
        ("hkdf_expand", "HKDF-SHA256"),
        ("scrypt", "scrypt"),
    ],
)
def test_a_wrong_answer_names_its_algorithm(
    name: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primitives, name, _wrong(name))
    with pytest.raises(SelfTestFailure, match=f"known-answer self-test: {algorithm}$"):
        run_self_test()


def test_a_library_that_opens_what_was_altered_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = primitives.aes_gcm_open
    known: list[bytes] = []

    def trusting(key: bytes, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        try:
            known.append(real(key, iv, sealed, aad))
        except IntegrityFailure:
            return known[0]
        return known[0]

    monkeypatch.setattr(primitives, "aes_gcm_open", trusting)
    with pytest.raises(SelfTestFailure, match=r"AES-256-GCM authentication$"):
        run_self_test()


def test_the_tag_that_must_be_refused_differs_in_its_last_bit_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = primitives.aes_gcm_open
    opened: list[bytes] = []

    def watched(key: bytes, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        opened.append(sealed)
        return real(key, iv, sealed, aad)

    monkeypatch.setattr(primitives, "aes_gcm_open", watched)
    run_self_test()
    right, altered = opened
    assert int.from_bytes(right) ^ int.from_bytes(altered) == 1
    assert len(right) == len(altered)


def test_a_library_that_refuses_what_is_right_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> bytes:
        raise IntegrityFailure

    monkeypatch.setattr(primitives, "aes_gcm_open", refusing)
    with pytest.raises(SelfTestFailure, match=r"AES-256-GCM decryption$"):
        run_self_test()


@pytest.mark.parametrize("error", [ValueError("disabled"), AttributeError("scrypt"), OSError()])
def test_a_library_without_an_algorithm_fails(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(primitives, "scrypt", lacking)
    with pytest.raises(SelfTestFailure, match=r"scrypt$") as failure:
        run_self_test()
    assert failure.value.__cause__ is error
