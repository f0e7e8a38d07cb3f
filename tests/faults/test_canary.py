"""A unique key goes through every route and failure; it may be found in one answer only."""

from pathlib import Path
from typing import Any

import httpx

from model_service.kernel.types import uuid7
from tests.faults.service_process import (
    ENCRYPTION_SECRET,
    INTERNAL_SECRET,
    PRODUCTION,
    ServiceProcess,
)

HEADERS = {"x-internal-secret": INTERNAL_SECRET}
MARK = "c4naryK3yMaterial"


def test_a_key_is_found_nowhere_but_in_the_answer_to_decrypt(
    tmp_path: Path, sandbox_environment: dict[str, str]
) -> None:
    azure = {"endpoint": "http://" + sandbox_environment["UPSTREAM_ALLOWED_HOSTS"]}
    with ServiceProcess(
        tmp_path, **PRODUCTION, **sandbox_environment, LOG_LEVEL="debug"
    ) as service:
        client = service.client
        answers: list[httpx.Response] = []

        def send(method: str, path: str, **options: Any) -> httpx.Response:
            answers.append(client.request(method, path, **options))
            return answers[-1]

        stored = []
        for index, provider in enumerate(("OPENAI", "ANTHROPIC", "GOOGLE", "AZURE", "CUSTOM")):
            body = {
                "userId": "u1",
                "provider": provider,
                "keyName": f"k{index}",
                "apiKey": f"sk-sandbox-{MARK}{index}abcdefgh",
            }
            made = send(
                "POST",
                "/api/api-keys",
                json=body | ({"metadata": azure} if provider == "AZURE" else {}),
            )
            assert made.status_code == 201, made.text
            stored.append(made.json()["id"])
            send("POST", "/api/api-keys", json=body)
            for behaviour in ("limited", "broken", "html", "echo", "redirect", "restricted"):
                value = f"sk-sandbox-{behaviour}-{MARK}abcdefgh"
                send("POST", "/api/api-keys", json=body | {"apiKey": value, "keyName": behaviour})
            refused = f"{MARK}-refused-by-everybody"
            send("POST", "/api/api-keys", json=body | {"apiKey": refused, "keyName": "refused"})
        for misplaced in (
            {"apiKey": f"has space {MARK}"},
            {"provider": MARK},
            {MARK: 1},
            {"metadata": MARK},
            {"expiresAt": MARK},
        ):
            send("POST", "/api/api-keys", json=body | misplaced)
        content = {"content-type": "application/json"}
        send("POST", "/api/api-keys", content=f'{{"apiKey": "{MARK}', headers=content)
        send("PUT", f"/api/api-keys/{stored[0]}", json={"apiKey": MARK})
        send("GET", f"/api/api-keys/{stored[0]}")
        send("GET", "/api/api-keys?userId=u1")
        send("POST", f"/api/api-keys/{stored[0]}/validate")
        send("GET", "/api/models/providers/OPENAI/available-models?userId=u1")
        model = send(
            "POST", "/api/models", json={"name": "m", "provider": "OPENAI", "modelId": "g"}
        )
        send("GET", f"/api/models/{model.json()['id']}?userId=u1")
        send("GET", "/metrics")
        send("GET", f"/api/api-keys/{uuid7()}/decrypt", headers=HEADERS)

        for key_id in stored:
            revealed = client.get(f"/api/api-keys/{key_id}/decrypt", headers=HEADERS)
            assert MARK in revealed.json()["key"]
        with_key = client.get(f"/api/models/{model.json()['id']}?userId=u1", headers=HEADERS)
        assert MARK in with_key.json()["apiKey"]
        # what a caller sends where it does not belong must not be written down either
        for header in ("x-request-id", "user-agent", "x-custom"):
            client.get("/api/models", headers={header: f"sk-sandbox-{MARK}0abcdefgh"})
        client.get(f"/api/api-keys/sk-sandbox-{MARK}0abcdefgh")
        client.get(f"/nowhere/sk-sandbox-{MARK}0abcdefgh?q=sk-sandbox-{MARK}0abcdefgh")
        assert service.stop() == 0

    for answer in answers:
        # a field or provider named after the key is the caller's own word, said back to them
        assert "abcdefgh" not in answer.text, answer.url
        assert MARK not in str(answer.headers)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.parts[-2] == "pg_wal" for file in files), "the database's files are searched"
    for file in files:
        data = file.read_bytes()
        assert MARK.encode() not in data, file
        assert INTERNAL_SECRET.encode() not in data, file
        assert ENCRYPTION_SECRET.encode() not in data, file
