"""The API's own documentation: the OpenAPI document, and a page that shows it.

The page's scripts come from a package, not from somebody else's server: a page on this
origin can do what the person looking at it can do.
"""

from collections.abc import Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from model_service.http.auth import Access, GuardedRoute, Permission, declare

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Model Service API</title>
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/api/openapi.json", dom_id: "#swagger-ui", deepLinking: true, docExpansion: "list",
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


class _File(StrEnum):
    """The files the page loads."""

    SCRIPT = "swagger-ui-bundle.js"
    STYLE = "swagger-ui.css"
    START = "start.js"


def documentation(app: FastAPI, *, version: str) -> APIRouter:
    """The routes that show the OpenAPI document, as JSON and as a page."""
    routes = APIRouter(route_class=GuardedRoute, include_in_schema=False)
    guarded = declare(Access.SERVICE, Permission.OPERATIONS_READ)

    @routes.get("/api/openapi.json", summary="The OpenAPI document", openapi_extra=guarded)
    async def document() -> JSONResponse:
        return JSONResponse(openapi(app, version=version))

    @routes.get("/api/docs", summary="The OpenAPI document as a page", openapi_extra=guarded)
    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})

    # Open, because a browser sends no credential for them; they hold nothing of this service.
    @routes.get(
        "/api/docs/{file}", summary="The page's own files", openapi_extra=declare(Access.OPEN)
    )
    async def asset(file: _File) -> Response:
        if file is _File.START:
            return Response(_START, media_type="text/javascript")
        return FileResponse(_assets() / file.value)

    return routes


def openapi(app: FastAPI, *, version: str) -> dict[str, Any]:
    """The OpenAPI document of the routes as they are.

    The framework documents a 422 that this service never gives; it is taken out, and each
    route's declared access becomes its security requirement.
    """
    document = get_openapi(
        title="Model Service",
        version=version,
        summary="LLM models and provider API keys, kept in one place.",
        routes=app.routes,
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.get("responses", {}).pop("422", None)
            access = Access(operation["x-access"])
            operation["security"] = _SECURITY[access]
            if access is not Access.OPEN:
                # Who failed to authenticate too often is told to wait, whatever the route.
                operation["responses"].setdefault("429", operation["responses"]["401"])
    components = document.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token or the ADMIN_TOKEN; x-api-key, x-goog-api-key and"
            " api-key carry it as well.",
        },
        "internal": {"type": "apiKey", "in": "header", "name": "x-internal-secret"},
    }
    return document


_SECURITY: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.USER: [{"token": []}, {"internal": []}],
    Access.SERVICE: [{"token": []}, {"internal": []}],
    Access.ADMINISTRATOR: [{"token": []}],
    Access.INTERNAL: [{"internal": []}],
    Access.AUDITOR: [{"token": []}],
}


def _assets() -> Path:
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("fastapi-offline is a dependency of this package")
    return Path(spec.origin).parent / "static"
