"""The official client, fed with bytes instead of a connection."""

import httpx2
from openai import OpenAI


def client(body: bytes, *, status: int = 200, kind: str = "application/json") -> OpenAI:
    """A client whose every call gets this answer."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind}, content=body)

    return OpenAI(
        api_key="none",
        base_url="http://gateway.invalid/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
        max_retries=0,
    )


def streaming(body: bytes) -> OpenAI:
    """A client whose every call gets this stream."""
    return client(body, kind="text/event-stream")
