"""Counting tokens without a call, from either side."""

from typing import Any

import orjson
import pytest
from google.genai import models, types

from model_service.providers.chat import ChatRequest, Text, Tool
from model_service.providers.dialects.google.counting import GoogleCount, GoogleCountPassthrough
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes

from .wire import ERROR, NAME, VERSION, target, user

PATH = f"/v1beta/models/{VERSION}:countTokens"


def test_the_door_gives_the_number_as_the_official_client_reads_it() -> None:
    document = GoogleCount().count(31)
    assert document == {"totalTokens": 31}
    converted = models._CountTokensResponse_from_mldev(document)
    assert types.CountTokensResponse.model_validate(converted).total_tokens == 31


def test_the_whole_request_is_counted() -> None:
    request = ChatRequest(NAME, [user("Hi")], system=[Text("Be brief.")], tools=[Tool("look")])
    outgoing = GoogleCount().count_request(request, target(), Notes({}))
    assert outgoing.path == PATH
    assert outgoing.body == {
        "generateContentRequest": {
            "model": f"models/{VERSION}",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "look", "description": ""}]}],
            "generationConfig": {"maxOutputTokens": 1000},
        }
    }


@pytest.mark.parametrize(("document", "tokens"), [({"totalTokens": 31}, 31), ({}, 0)])
def test_the_number_is_read(document: dict[str, Any], tokens: int) -> None:
    assert GoogleCount().count_answer(document) == tokens


@pytest.mark.parametrize("tokens", ["31", None, True, -1, 1.5])
def test_what_is_no_number_is_malformed(tokens: Any) -> None:
    with pytest.raises(CallFailed) as raised:
        GoogleCount().count_answer({"totalTokens": tokens})
    assert raised.value.fault.code == "malformed_answer"


def test_an_error_in_place_of_the_number_is_a_failure() -> None:
    with pytest.raises(CallFailed) as raised:
        GoogleCount().count_answer(ERROR)
    assert raised.value.fault.kind is FaultKind.OVERLOADED


def passed(body: dict[str, Any]) -> dict[str, Any]:
    outgoing = GoogleCountPassthrough().request(body, target(), stream=False)
    assert outgoing.path == PATH
    return outgoing.body


def test_a_request_passes_with_the_providers_name_for_the_model() -> None:
    assert passed({"contents": [], "unheardOf": 1}) == {"contents": [], "unheardOf": 1}
    assert passed({"model": NAME}) == {"model": f"models/{VERSION}"}


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_so_does_a_wrapped_one(name: str) -> None:
    wrapped = {"model": f"models/{NAME}", "contents": []}
    assert passed({name: wrapped}) == {name: {"model": f"models/{VERSION}", "contents": []}}


def test_an_answer_passes_as_it_is_and_nothing_was_used() -> None:
    body = b'{"totalTokens": 31, "promptTokensDetails": []}'
    assert GoogleCountPassthrough().answer(body, NAME) == (body, None)


@pytest.mark.parametrize("body", [orjson.dumps(ERROR), b"<html>", b"5"])
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(CallFailed):
        GoogleCountPassthrough().answer(body, NAME)


def test_counting_does_not_stream() -> None:
    with pytest.raises(RuntimeError):
        GoogleCountPassthrough().relay({}, NAME)
