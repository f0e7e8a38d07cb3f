"""Models of the OpenAI stand-in that misbehave, on the wire and as the official client sees it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import orjson
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.faults import Fault, Pace, fault_of
from model_service.sandbox.openai import OpenAI

# Longer than any answer here takes, far shorter than a stream that stalls.
PROMPTLY = 5.0
BRIEFLY = 0.3
SAYS = "You said: one two three four five six"
PATHS = ["chat/completions", "responses"]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[OpenAI]:
    async with serve() as sandbox:
        yield sandbox.openai


@pytest.fixture
def stand_in(served: OpenAI) -> OpenAI:
    served.clear()
    served.pace = Pace(slow=BRIEFLY, drip=0, huge=2_000_000)
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(served: OpenAI) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {served.sample_key()}"}
    async with httpx.AsyncClient(
        base_url=served.base_url, headers=headers, timeout=PROMPTLY
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: OpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=served.sample_key(), base_url=served.base_url, max_retries=0, timeout=PROMPTLY
    ) as client:
        yield client


def body(path: str, fault: str, *, stream: bool = False) -> dict[str, Any]:
    text = "one two three four five six"
    asked: dict[str, Any] = {"model": f"fault-{fault}", "stream": stream}
    if path == "responses":
        return {**asked, "input": text}
    if path == "embeddings":
        return {"model": f"fault-{fault}", "input": text}
    return {**asked, "messages": [{"role": "user", "content": text}]}


async def read(
    http: httpx.AsyncClient, path: str, fault: str, limit: int = 100_000_000
) -> tuple[bytes, Exception | None]:
    """What a stream brings, up to a limit, and the error that it ends with."""
    got = b""
    try:
        async with http.stream("POST", path, json=body(path, fault, stream=True)) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_raw():
                got += piece
                if len(got) > limit:
                    break
    except httpx.TransportError as error:
        return got, error
    return got, None


def text_in(stream: bytes) -> str:
    """All text of the events of a stream that can be read."""
    said = ""
    for line in stream.split(b"\n"):
        try:
            event = orjson.loads(line.removeprefix(b"data: "))
        except orjson.JSONDecodeError:
            continue
        if "choices" in event:
            said += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
        elif event.get("type") == "response.output_text.delta":
            said += event["delta"]
    return said


def finished(stream: bytes) -> bool:
    return b'"finish_reason":"stop"' in stream or b'"type":"response.completed"' in stream


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("fault-429", Fault.LIMITED),
        ("fault-429-once", Fault.LIMITED),
        ("fault-429-once.first", Fault.LIMITED),
        ("fault-no-done:latest", Fault.NO_DONE),
        ("fault-huge-event", Fault.HUGE_EVENT),
        ("fault-unheard-of", None),
        ("fault-", None),
        ("default-429", None),
        ("gpt-4.1", None),
    ],
)
def test_a_name_says_how_a_model_misbehaves(model: str, fault: Fault | None) -> None:
    assert fault_of(model) is fault


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_can_be_asked_for(fault: Fault) -> None:
    assert fault_of(f"fault-{fault}") is fault


@pytest.mark.parametrize("path", [*PATHS, "embeddings"])
@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        ("429", 429, "requests", "rate_limit_exceeded"),
        ("500", 500, "server_error", None),
        ("503", 503, "server_error", None),
        ("529", 503, "service_unavailable_error", "server_is_overloaded"),
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("402", 429, "insufficient_quota", "insufficient_quota"),
        ("404", 404, "invalid_request_error", "model_not_found"),
        ("413", 413, "invalid_request_error", None),
        ("context", 400, "invalid_request_error", "context_length_exceeded"),
        ("filter", 400, "invalid_request_error", "invalid_prompt"),
        ("refused-param", 400, "invalid_request_error", "unsupported_parameter"),
        ("echo", 400, "invalid_request_error", "invalid_api_key"),
        ("error-200", 200, "server_error", None),
    ],
)
async def test_errors_are_the_real_ones(
    stand_in: OpenAI,
    http: httpx.AsyncClient,
    path: str,
    fault: str,
    status: int,
    kind: str,
    code: str | None,
) -> None:
    answer = await http.post(path, json=body(path, fault))
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert not stand_in.usage


@pytest.mark.parametrize("path", PATHS)
async def test_too_long_a_conversation_is_named_by_its_field(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    answer = await http.post(path, json=body(path, "context"))
    expected = "input" if path == "responses" else "messages"
    assert answer.json()["error"]["param"] == expected


async def test_a_limited_model_says_when_to_come_back(
    stand_in: OpenAI, http: httpx.AsyncClient
) -> None:
    for _ in range(3):
        answer = await http.post("responses", json=body("responses", "429"))
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"


async def test_once_is_the_first_call_of_a_name_until_the_stand_in_is_cleared(
    stand_in: OpenAI, http: httpx.AsyncClient
) -> None:
    async def statuses(*faults: str) -> list[int]:
        asked = [body("responses", fault) for fault in faults]
        return [(await http.post("responses", json=one)).status_code for one in asked]

    assert await statuses("500-once", "500-once", "500-once.other") == [500, 200, 500]
    stand_in.clear()
    assert await statuses("500-once") == [500]


async def test_an_echo_repeats_the_whole_key(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    answer = await http.post("responses", json=body("responses", "echo"))
    assert stand_in.sample_key() in answer.json()["error"]["message"]
    assert answer.headers["x-echoed-key"] == stand_in.sample_key()


async def test_a_proxy_answers_in_html(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    answer = await http.post("responses", json=body("responses", "html"))
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")


async def test_a_reset_ends_the_connection_before_any_header(stand_in: OpenAI) -> None:
    host, port = stand_in.origin.removeprefix("http://").split(":")
    content = orjson.dumps(body("responses", "reset"))
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(content)}\r\n"
        f"authorization: Bearer {stand_in.sample_key()}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + content)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), PROMPTLY)
    writer.close()


async def test_after_a_reset_the_next_connection_is_served(
    stand_in: OpenAI, http: httpx.AsyncClient
) -> None:
    asked = body("responses", "reset-once")
    with pytest.raises(httpx.ReadError):
        await http.post("responses", json=asked)
    assert (await http.post("responses", json=asked)).status_code == 200


async def test_silence_lasts_until_the_client_leaves(
    stand_in: OpenAI, http: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await http.post("responses", json=body("responses", "silent"), timeout=BRIEFLY)
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize("path", [*PATHS, "embeddings"])
async def test_a_slow_answer_comes_late_and_whole(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    began = time.monotonic()
    answer = await http.post(path, json=body(path, "slow"))
    assert time.monotonic() - began >= BRIEFLY
    assert answer.json()["usage"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_slow_stream_has_its_headers_at_once_and_its_first_token_late(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    began = time.monotonic()
    async with http.stream("POST", path, json=body(path, "slow", stream=True)) as answer:
        headers_came = time.monotonic() - began
        got = b"".join([piece async for piece in answer.aiter_raw()])
    assert headers_came < BRIEFLY <= time.monotonic() - began
    assert text_in(got) == SAYS


@pytest.mark.parametrize("path", PATHS)
async def test_a_dripping_stream_is_whole(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "drip")
    assert (text_in(got), finished(got), error) == (SAYS, True, None)


@pytest.mark.parametrize("path", PATHS)
async def test_a_cut_stream_ends_in_the_middle_of_an_event(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "cut")
    assert isinstance(error, httpx.RemoteProtocolError)
    assert not got.endswith(b"\n\n")
    assert text_in(got) == "You said: one two three"
    assert not finished(got)


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_that_ends_early_ends_cleanly(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "end")
    assert error is None
    assert text_in(got) == "You said: one two three"
    assert not finished(got)


@pytest.mark.parametrize("path", PATHS)
async def test_a_stalling_stream_brings_nothing_more(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    http.timeout = httpx.Timeout(PROMPTLY, read=BRIEFLY)
    got, error = await read(http, path, "stall")
    http.timeout = httpx.Timeout(PROMPTLY)
    assert isinstance(error, httpx.ReadTimeout)
    assert text_in(got) == "You said: one two three"


@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_event_stands_between_sound_ones(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "malformed")
    assert error is None
    events = [event.rpartition(b"data: ")[2] for event in got.strip().split(b"\n\n")]
    broken = [event for event in events if not event.endswith((b"}", b"[DONE]"))]
    assert len(broken) == 1
    assert (text_in(got), finished(got)) == (SAYS, True)


@pytest.mark.parametrize("path", PATHS)
async def test_garbage_lasts_until_the_end(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "garbage")
    assert error is None
    events = [event.rpartition(b"data: ")[2] for event in got.strip().split(b"\n\n")]
    assert [event.endswith(b"}") for event in events[-3:]] == [False] * 3
    assert not finished(got)


async def test_the_closing_mark_can_be_missing(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    got, error = await read(http, "chat/completions", "no-done")
    assert (finished(got), b"[DONE]" in got, error) == (True, False, None)


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_comes_in_the_middle_of_a_stream(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "error-event")
    assert error is None
    assert b"The server had an error while processing your request" in got
    assert text_in(got) == "You said: one"
    assert not finished(got)


async def test_an_error_in_a_stream_is_the_clients_own_error(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    chat: Any = body("chat/completions", "error-event", stream=True)
    respond: Any = body("responses", "error-event", stream=True)
    for stream in (
        await client.chat.completions.create(**chat),
        await client.responses.create(**respond),
    ):
        with pytest.raises(openai.APIError, match="The server had an error"):
            async for _ in stream:
                pass


async def test_a_failed_response_says_so_after_the_error(
    stand_in: OpenAI, http: httpx.AsyncClient
) -> None:
    got, _ = await read(http, "responses", "error-event")
    last = orjson.loads(got.strip().rpartition(b"data: ")[2])
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "server_error"


@pytest.mark.parametrize("path", PATHS)
async def test_a_flood_does_not_end(stand_in: OpenAI, http: httpx.AsyncClient, path: str) -> None:
    got, error = await read(http, path, "flood", limit=3_000_000)
    assert error is None
    assert len(text_in(got)) > 50_000
    assert not finished(got)


@pytest.mark.parametrize("path", PATHS)
async def test_a_huge_event_is_one_event(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    got, error = await read(http, path, "huge-event")
    assert error is None
    assert max(len(event) for event in got.split(b"\n\n")) > 2_000_000
    assert finished(got)


@pytest.mark.parametrize("path", [*PATHS, "embeddings"])
async def test_a_whole_answer_can_be_cut(
    stand_in: OpenAI, http: httpx.AsyncClient, path: str
) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        await http.post(path, json=body(path, "cut"))


@pytest.mark.parametrize("fault", ["end", "malformed", "garbage"])
async def test_a_whole_answer_can_be_no_json(
    stand_in: OpenAI, http: httpx.AsyncClient, fault: str
) -> None:
    answer = await http.post("responses", json=body("responses", fault))
    assert answer.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)


async def test_a_whole_answer_can_be_an_error(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    answer = await http.post("responses", json=body("responses", "error-event"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (200, "server_error")


async def test_a_whole_answer_can_be_huge(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    answer = await http.post("responses", json=body("responses", "huge-event"))
    assert len(answer.content) > 2_000_000
    assert orjson.loads(answer.content)["status"] == "completed"


async def test_a_whole_answer_can_stall(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await http.post("responses", json=body("responses", "stall"), timeout=BRIEFLY)


async def test_a_whole_answer_can_be_without_end(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    size = 0
    async with http.stream("POST", "responses", json=body("responses", "flood")) as answer:
        async for piece in answer.aiter_raw():
            size += len(piece)
            if size > 3_000_000:
                break
    assert size > 3_000_000


async def test_a_whole_answer_can_drip(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    answer = await http.post("responses", json=body("responses", "drip"))
    assert answer.json()["status"] == "completed"


async def test_usage_says_what_spoiled_an_answer(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    await read(http, "responses", "end")
    await read(http, "responses", "end-once")
    await read(http, "responses", "end-once")
    assert [billed.fault for billed in stand_in.usage] == [Fault.END, Fault.END, None]


async def test_events_can_come_at_a_pace(stand_in: OpenAI, http: httpx.AsyncClient) -> None:
    stand_in.pace = Pace(between=0.03)
    began = time.monotonic()
    got, _ = await read(http, "chat/completions", "no-done")
    assert time.monotonic() - began > 0.03 * got.count(b"data: ") * 0.9


async def test_the_end_does_not_wait_for_answers_that_have_none() -> None:
    async with httpx.AsyncClient(timeout=60) as http:
        async with serve() as sandbox:
            http.headers["authorization"] = f"Bearer {sandbox.openai.sample_key()}"
            http.base_url = httpx.URL(sandbox.openai.base_url)
            held = [
                asyncio.create_task(http.post(path, json=body(path, fault, stream=True)))
                for path in PATHS
                for fault in ("silent", "stall", "flood", "slow")
            ]
            await asyncio.wait_for(sandbox.openai.arrived(len(held)), PROMPTLY)
            ended = time.monotonic()
        took = time.monotonic() - ended
        outcomes = await asyncio.gather(*held, return_exceptions=True)
    assert took < 1.0
    assert all(isinstance(outcome, httpx.TransportError) for outcome in outcomes)
