"""Who runs a command, also where the operating system knows no name for them."""

import getpass
import os
import socket

import pytest

from model_service.cli.operator import author, operator


def test_an_operator_is_an_account_on_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert author() == f"ann@{socket.gethostname()}"
    assert operator().actor == f"operator:ann@{socket.gethostname()}"


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_an_account_without_a_name_is_its_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def unknown() -> str:
        raise error("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert author() == f"{os.getuid()}@{socket.gethostname()}"
