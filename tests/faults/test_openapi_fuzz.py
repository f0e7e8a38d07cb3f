"""Requests made from the OpenAPI document, good and bad: no answer that it does not name."""

import json
import subprocess
import sys
from pathlib import Path

from tests.faults.service_process import ADMIN_TOKEN, INTERNAL_SECRET, PRODUCTION, ServiceProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


def test_generated_requests_meet_only_documented_answers(
    tmp_path: Path, sandbox_environment: dict[str, str]
) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION, **sandbox_environment) as service:
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(service.client.get("/api/openapi.json").json()))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", str(document)),
                *("--url", f"http://127.0.0.1:{service.port}"),
                *("-H", f"Authorization: Bearer {ADMIN_TOKEN}"),
                *("-H", f"x-internal-secret: {INTERNAL_SECRET}"),
                *("--checks", ",".join(CHECKS)),
                *("--phases", "examples,coverage,fuzzing"),
                *("--mode", "all", "--max-examples", "25", "--seed", "20260131"),
                *("--generation-database", "none", "--suppress-health-check", "all"),
                "--no-color",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "Traceback" not in service.output.read_text()
        assert "unexpected error" not in service.output.read_text()
