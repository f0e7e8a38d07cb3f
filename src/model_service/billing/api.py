"""The routes of billing, for administrators alone."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from model_service.billing.closing import StatementService
from model_service.billing.domain import ZERO
from model_service.billing.metering import MeterService
from model_service.billing.paper import as_csv, as_page
from model_service.billing.service import AccountService
from model_service.billing.views import (
    AccountView,
    CreditNoteView,
    MemberView,
    MeterView,
    StatementSummary,
    StatementView,
)
from model_service.billing.wire import (
    ChangeAccount,
    CloseStatement,
    CreateAccount,
    CreateCreditNote,
    JoinAccount,
    LeaveQuery,
    MetersQuery,
    StatementsQuery,
    month_of,
)
from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import NoQuery

#: Credit notes that a printed statement names.
_NOTES = 500
# The page is self-contained: nothing is to be loaded or run, even if it were not escaped.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
}
_MONTH = Path(description="A calendar month such as 2026-01", max_length=10)


def router(
    accounts: AccountService, statements: StatementService, meters: MeterService
) -> APIRouter:
    """The routes under `/api/billing`."""
    routes = APIRouter(prefix="/api/billing", tags=["Billing"], route_class=GuardedRoute)
    _add_account_routes(routes, accounts)
    _add_member_routes(routes, accounts)
    _add_statement_routes(routes, statements)
    _add_forms(routes, statements)
    _add_note_routes(routes, statements)
    _add_meter_routes(routes, meters)
    return routes


def _add_account_routes(routes: APIRouter, accounts: AccountService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "/accounts",
        status_code=201,
        summary="Open an account",
        responses=documented(400, 401, 403, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def create_account(body: CreateAccount, _: Annotated[NoQuery, Query()]) -> AccountView:
        return AccountView.of(await accounts.create(body.to_new()))

    @routes.get(
        "/accounts",
        summary="List accounts, newest first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_accounts(query: Annotated[CursorQuery, Query()]) -> CursorPage[AccountView]:
        listed = await accounts.page(query.before_id(), query.limit + 1)
        return page_of(listed, query.limit, AccountView.of, lambda account: account.id)

    @routes.get(
        "/accounts/{account_id}",
        summary="One account",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def get_account(account_id: UUID, _: Annotated[NoQuery, Query()]) -> AccountView:
        return AccountView.of(await accounts.get(account_id))

    @routes.put(
        "/accounts/{account_id}",
        summary="Change some fields of an account; terms hold for months that are not closed",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def change_account(
        account_id: UUID, body: ChangeAccount, _: Annotated[NoQuery, Query()]
    ) -> AccountView:
        return AccountView.of(await accounts.change(account_id, body.to_changes()))

    @routes.delete(
        "/accounts/{account_id}",
        status_code=204,
        response_class=Response,
        summary="Remove an account that was never billed",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=administrator,
    )
    async def delete_account(account_id: UUID, _: Annotated[NoQuery, Query()]) -> None:
        await accounts.delete(account_id)


def _add_member_routes(routes: APIRouter, accounts: AccountService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.get(
        "/accounts/{account_id}/members",
        summary="Who is, was or will be with an account",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def list_members(
        account_id: UUID, query: Annotated[CursorQuery, Query()]
    ) -> CursorPage[MemberView]:
        listed = await accounts.members(account_id, query.before_id(), query.limit + 1)
        return page_of(listed, query.limit, MemberView.of, lambda member: member.id)

    @routes.post(
        "/accounts/{account_id}/members",
        status_code=201,
        summary="Let a user be with this account, and no other, from a day on",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def join_account(
        account_id: UUID, body: JoinAccount, _: Annotated[NoQuery, Query()]
    ) -> MemberView:
        return MemberView.of(await accounts.join(account_id, body.user_id, body.since))

    @routes.delete(
        "/accounts/{account_id}/members",
        status_code=204,
        response_class=Response,
        summary="Let a user be with this account no more from a day on",
        responses=documented(400, 401, 403, 404, 409, 503),
        openapi_extra=administrator,
    )
    async def leave_account(account_id: UUID, query: Annotated[LeaveQuery, Query()]) -> None:
        await accounts.leave(account_id, query.user_id, query.since)


def _add_statement_routes(routes: APIRouter, statements: StatementService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.get(
        "/accounts/{account_id}/statements/{month}",
        summary="The statement of a month: the closed one, or a draft of what it would be now",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def get_month(
        account_id: UUID, month: Annotated[str, _MONTH], _: Annotated[NoQuery, Query()]
    ) -> StatementView:
        statement = await statements.of_month(account_id, month_of(month))
        credited = await statements.credited([statement.id])
        return StatementView.of(statement, credited.get(statement.id, ZERO))

    @routes.get(
        "/statements",
        summary="List closed statements, those closed last first",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_statements(
        query: Annotated[StatementsQuery, Query()],
    ) -> CursorPage[StatementSummary]:
        listed = await statements.page(
            query.account_id, query.month, query.before_id(), query.limit + 1
        )
        return page_of(listed, query.limit, StatementSummary.of, lambda one: one.id)

    @routes.post(
        "/statements/close",
        summary="Close the statement of a month for good; one that is closed is given as it is",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def close_statement(
        body: CloseStatement, _: Annotated[NoQuery, Query()]
    ) -> StatementView:
        statement = await statements.close(body.account_id, body.month)
        credited = await statements.credited([statement.id])
        return StatementView.of(statement, credited.get(statement.id, ZERO))

    @routes.get(
        "/statements/{statement_id}",
        summary="One closed statement",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def get_statement(statement_id: UUID, _: Annotated[NoQuery, Query()]) -> StatementView:
        statement = await statements.get(statement_id)
        credited = await statements.credited([statement_id])
        return StatementView.of(statement, credited.get(statement_id, ZERO))


def _add_forms(routes: APIRouter, statements: StatementService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.get(
        "/statements/{statement_id}/csv",
        response_class=Response,
        summary="The lines of a closed statement as CSV, amounts to their last digit",
        responses=documented(400, 401, 403, 404, 503) | {200: {"content": {"text/csv": {}}}},
        openapi_extra=administrator,
    )
    async def get_csv(statement_id: UUID, _: Annotated[NoQuery, Query()]) -> Response:
        statement = await statements.get(statement_id)
        name = f"{statement.label}-{statement.month}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(as_csv(statement), media_type="text/csv", headers=headers)

    @routes.get(
        "/statements/{statement_id}/json",
        response_class=Response,
        summary="A closed statement in the very bytes that its digest is of, money as text",
        responses=documented(400, 401, 403, 404, 503)
        | {200: {"content": {"application/json": {}}}},
        openapi_extra=administrator,
    )
    async def get_json(statement_id: UUID, _: Annotated[NoQuery, Query()]) -> Response:
        kept = await statements.kept(statement_id)
        headers = {"x-content-sha256": kept.digest}
        return Response(kept.content, media_type="application/json", headers=headers)

    @routes.get(
        "/statements/{statement_id}/html",
        response_class=Response,
        summary="A closed statement as a page to print, with its credit notes",
        responses=documented(400, 401, 403, 404, 503) | {200: {"content": {"text/html": {}}}},
        openapi_extra=administrator,
    )
    async def get_html(statement_id: UUID, _: Annotated[NoQuery, Query()]) -> Response:
        statement = await statements.get(statement_id)
        notes = await statements.notes(statement_id, None, _NOTES)
        page = as_page(statement, notes[::-1])
        return Response(page, media_type="text/html", headers=_PAGE_HEADERS)


def _add_note_routes(routes: APIRouter, statements: StatementService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "/statements/{statement_id}/credit-notes",
        status_code=201,
        summary="Give money back on a closed statement",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=administrator,
    )
    async def create_credit_note(
        statement_id: UUID, body: CreateCreditNote, _: Annotated[NoQuery, Query()]
    ) -> CreditNoteView:
        return CreditNoteView.of(await statements.credit(statement_id, body.to_new()))

    @routes.get(
        "/statements/{statement_id}/credit-notes",
        summary="What was given back on a statement, newest first",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def list_credit_notes(
        statement_id: UUID, query: Annotated[CursorQuery, Query()]
    ) -> CursorPage[CreditNoteView]:
        listed = await statements.notes(statement_id, query.before_id(), query.limit + 1)
        return page_of(listed, query.limit, CreditNoteView.of, lambda note: note.id)


def _add_meter_routes(routes: APIRouter, meters: MeterService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.get(
        "/meters",
        summary="What was metered, newest first, and how far it is on its way to Stripe",
        responses=documented(400, 401, 403, 503),
        openapi_extra=administrator,
    )
    async def list_meters(query: Annotated[MetersQuery, Query()]) -> CursorPage[MeterView]:
        listed = await meters.page(
            query.account_id, query.state, query.before_id(), query.limit + 1
        )
        return page_of(listed, query.limit, MeterView.of, lambda meter: meter.id)

    @routes.post(
        "/meters/{meter_id}/retry",
        summary="Send a parked meter to Stripe again, once what parked it is mended",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def retry_meter(meter_id: UUID, _: Annotated[NoQuery, Query()]) -> MeterView:
        return MeterView.of(await meters.retry(meter_id))
