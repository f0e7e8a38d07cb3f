"""The OpenAPI document says what the routes do. The fuzzing of it is in tests/faults."""

import json

from model_service.http.documentation import openapi
from model_service.service import Service


async def test_every_operation_documents_its_errors_and_access(service: Service) -> None:
    document = openapi(service.app, version="test")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert "security" in operation, (method, path)
            if operation["security"]:
                assert "401" in operation["responses"], (method, path)
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    assert '"422"' not in text
