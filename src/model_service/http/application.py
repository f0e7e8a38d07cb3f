"""The routes behind the edge, with the documentation of themselves."""

from fastapi import APIRouter, FastAPI

from model_service.http import problem
from model_service.http.auth import Authenticator
from model_service.http.documentation import documentation
from model_service.http.metrics import Metrics
from model_service.http.middleware import BrowserGuard, Edge


def application(
    guard: BrowserGuard | None,
    metrics: Metrics,
    authenticator: Authenticator,
    version: str,
    *routers: APIRouter,
) -> FastAPI:
    """The application that a server serves, save the gateway's calls."""
    app = FastAPI(
        title="Model Service",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.authenticator = authenticator
    problem.install(app)
    app.add_middleware(Edge, metrics=metrics, guard=guard)
    for router in (*routers, documentation(app, version=version)):
        # The routes themselves, not the routers: one step less to each request.
        app.router.routes.extend(router.routes)
    return app
