"""nginx beside the service: the upstream stand-in, and the plain reverse proxy to compare with.

Debian's packages nginx-light and libnginx-mod-http-echo (for streams); wrk makes the load.
"""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

#: What has to be installed for these benchmarks, and is not there when this is not empty.
MISSING = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]

_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")

#: A whole answer as OpenAI gives it to a short prompt.
ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-5.5",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello! How can I assist you today?",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
    }
)

#: The same as Anthropic gives it.
MESSAGE = orjson.dumps(
    {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": "Hello! How can I assist you today?"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 19,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 10,
        },
    }
)


def _chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    return b"data: " + orjson.dumps(
        {
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "object": "chat.completion.chunk",
            "created": 1741569952,
            "model": "gpt-5.5",
            "service_tier": "default",
            "system_fingerprint": "fp_44709d6fcb",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
    )


def chunks(tokens: int) -> list[bytes]:
    """The events of a stream of so many tokens, without their blank lines."""
    usage = b'data: {"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741569952,'
    usage += b'"model":"gpt-5.5","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":'
    usage += b'%d,"total_tokens":%d}}' % (tokens, 19 + tokens)
    return [
        _chunk({"role": "assistant", "content": ""}),
        *(_chunk({"content": f" word{number}"}) for number in range(tokens)),
        _chunk({}, "stop"),
        usage,
        b"data: [DONE]",
    ]


def _echoes(events: list[bytes], pause: float = 0.0) -> str:
    lines = []
    for event in events:
        text = event.decode().replace("'", "\\'")
        lines.append(f"echo -n '{text}\\n\\n'; echo_flush;")
        if pause:
            lines.append(f"echo_sleep {pause};")
    return "\n".join(lines)


def _configuration(directory: Path, port: int, body: str) -> str:
    module = f"load_module {_MODULE};" if _MODULE.exists() else ""
    temp = "\n".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{module}
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; tcp_nodelay on;
  client_body_buffer_size 128k; {temp}
  {body.replace("PORT", str(port))}
}}
"""


def upstream_body(slow_pause: float = 0.1) -> str:
    """The upstream: `/v1` answers whole, `/stream/v1` in 100 events, `/slow/v1` as people read."""
    return f"""
  server {{
    listen 127.0.0.1:PORT;
    location = /v1/chat/completions {{
      default_type application/json; return 200 '{ANSWER.decode()}';
    }}
    location = /v1/messages {{ default_type application/json; return 200 '{MESSAGE.decode()}'; }}
    location = /stream/v1/chat/completions {{
      default_type text/event-stream; echo_read_request_body;
      {_echoes(chunks(96))}
    }}
    location = /slow/v1/chat/completions {{
      default_type text/event-stream; echo_read_request_body;
      {_echoes(chunks(96), slow_pause)}
    }}
  }}"""


def proxy_body(upstream: int) -> str:
    """A reverse proxy as one would write it: kept-alive connections, nothing buffered."""
    return f"""
  upstream there {{ server 127.0.0.1:{upstream}; keepalive 256; }}
  server {{
    listen 127.0.0.1:PORT;
    location / {{
      proxy_pass http://there; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}"""


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def answers(port: int) -> None:
    """Wait until somebody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@asynccontextmanager
async def nginx(directory: Path, body: str, core: int) -> AsyncIterator[tuple[int, int]]:
    """A running nginx on that core; gives its port and the process id of its worker."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    file = directory / "nginx.conf"
    file.write_text(_configuration(directory, port, body))
    process = subprocess.Popen(
        ["nginx", "-p", str(directory), "-c", str(file)],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (workers := children.read_text().split()):
            if process.poll() is not None:
                raise RuntimeError((directory / "error.log").read_text())
            await asyncio.sleep(0.02)
        yield port, int(workers[0])
    finally:
        process.terminate()
        process.wait(10)
