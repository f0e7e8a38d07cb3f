"""Reckoning a statement, and the form in which a closed one is kept.

Lines are exact. The total is rounded to cents, half to even; what that leaves over is a line of
its own, and the next statement begins with it. So the sum of an account's statements is never
more than half a cent away from what its usage and fees come to, however many there are.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from model_service.billing.domain import (
    CENT,
    CURRENCY,
    EXACT,
    NOTHING,
    ZERO,
    Account,
    ClosedStatement,
    Line,
    LineKind,
    Membership,
    Statement,
    Terms,
    UsageSum,
    Used,
    charged,
)
from model_service.billing.months import Month
from model_service.http.wire import format_moment

#: Said in the content, so that a later form can be told from this one.
FORM: Final = 1
# As exact as the other, save that here something is cut off.
_ROUNDING: Final = Context(prec=EXACT.prec)


def unbilled(
    sums: Iterable[UsageSum],
    billed: Mapping[tuple[str, str, object], Used],
    memberships: Sequence[Membership],
) -> list[UsageSum]:
    """What of the sums falls into the memberships and no statement has billed yet.

    `billed` is by user, model and day.
    """
    of_user: dict[str, list[Membership]] = {}
    for membership in memberships:
        of_user.setdefault(membership.user_id, []).append(membership)
    found = []
    for entry in sums:
        if not any(one.covers(entry.day) for one in of_user.get(entry.user_id, ())):
            continue
        new = entry.used.beyond(billed.get((entry.user_id, entry.model, entry.day), NOTHING))
        if new != NOTHING:
            found.append(replace(entry, used=new))
    return found


def usage_lines(
    terms: Terms,
    month: Month,
    first_billed: Iterable[UsageSum],
    markup_of: Callable[[Month], Decimal],
) -> list[Line]:
    """Lines of a month's statement for usage that was not billed before, by user and model.

    Usage of earlier months comes as late lines, at the markup of its own month, which is what
    `markup_of` tells: late or not, it costs the same.
    """
    grouped: dict[tuple[Month, str, str], Used] = {}
    for entry in first_billed:
        key = (Month.of(entry.day), entry.user_id, entry.model)
        grouped[key] = grouped.get(key, NOTHING).plus(entry.used)
    lines = []
    for (used_in, user_id, model), used in grouped.items():
        late = used_in != month
        markup = markup_of(used_in) if late else terms.markup_percent
        kind = LineKind.LATE if late else LineKind.USAGE
        amount = charged(used.cost, markup)
        lines.append(Line(kind, amount, user_id, model, used_in, used, markup))
    return lines


def reckon(statement_id: UUID, account: Account, month: Month, usage: Sequence[Line]) -> Statement:
    """The statement of a month, as a draft, over the lines of its usage."""
    lines = sorted(usage, key=_place)
    lines += _fees(account.terms, total_of(lines), month)
    sum_of_lines = total_of(lines)
    due = EXACT.add(sum_of_lines, account.carried)
    total = rounded(due)
    rounding = EXACT.subtract(total, sum_of_lines)
    if rounding:
        lines.append(Line(LineKind.ROUNDING, rounding))
    return Statement(
        id=statement_id,
        account_id=account.id,
        account_name=account.name,
        month=month,
        terms=account.terms,
        lines=tuple(lines),
        total=total,
        carried_in=account.carried,
        carried_out=EXACT.subtract(due, total),
    )


def closed(statement: Statement, number: int, now: datetime) -> ClosedStatement:
    """The statement as it is kept for good."""
    content = canonical(document_of(replace(statement, number=number, closed_at=now)))
    return ClosedStatement(
        statement.id,
        number,
        statement.account_id,
        statement.month,
        statement.total,
        content,
        digest_of(content),
        now,
    )


def opened(kept: ClosedStatement) -> Statement:
    """The statement again, out of what was kept."""
    document = json.loads(kept.content)
    terms = document["terms"]
    return Statement(
        id=kept.id,
        account_id=kept.account_id,
        account_name=document["accountName"],
        month=kept.month,
        terms=Terms(
            Decimal(terms["markupPercent"]),
            Decimal(terms["monthlyFee"]),
            Decimal(terms["minimumCharge"]),
        ),
        lines=tuple(_line(line) for line in document["lines"]),
        total=Decimal(document["total"]),
        carried_in=Decimal(document["carriedIn"]),
        carried_out=Decimal(document["carriedOut"]),
        number=kept.number,
        closed_at=kept.closed_at,
        digest=kept.digest,
    )


def document_of(statement: Statement) -> dict[str, Any]:
    """What a statement says, with money as text: nothing of it is lost to floating point."""
    return {
        "form": FORM,
        "id": str(statement.id),
        "number": statement.number,
        "accountId": str(statement.account_id),
        "accountName": statement.account_name,
        "month": str(statement.month),
        "currency": CURRENCY,
        "terms": {
            "markupPercent": plain(statement.terms.markup_percent),
            "monthlyFee": plain(statement.terms.monthly_fee),
            "minimumCharge": plain(statement.terms.minimum_charge),
        },
        "lines": [_line_document(line) for line in statement.lines],
        "total": plain(statement.total),
        "carriedIn": plain(statement.carried_in),
        "carriedOut": plain(statement.carried_out),
        "closedAt": None if statement.closed_at is None else format_moment(statement.closed_at),
    }


def canonical(document: Mapping[str, Any]) -> str:
    """The one way in which a document is written: names in order, no blanks, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(content: str) -> str:
    """SHA-256 of the content, in hexadecimal digits."""
    return sha256(content.encode()).hexdigest()


def total_of(lines: Iterable[Line]) -> Decimal:
    """What lines come to, exactly."""
    total = ZERO
    for line in lines:
        total = EXACT.add(total, line.amount)
    return total


def rounded(amount: Decimal) -> Decimal:
    """To whole cents; a half goes to the even one, so that halves even out."""
    # Adding nothing makes a plain zero of a negative one.
    return EXACT.add(amount.quantize(CENT, ROUND_HALF_EVEN, _ROUNDING), ZERO)


def plain(amount: Decimal) -> str:
    """An amount in digits alone: no exponent, no zeros at its end beyond the cents."""
    shown = format(amount.normalize(EXACT), "f")
    whole, _, fraction = shown.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def _place(line: Line) -> tuple[bool, str, str, str]:
    """Late lines come last; else by month, user and model."""
    late = line.kind is LineKind.LATE
    return late, str(line.month), line.user_id or "", line.model or ""


def _fees(terms: Terms, usage: Decimal, month: Month) -> list[Line]:
    lines = []
    if terms.monthly_fee:
        lines.append(Line(LineKind.FEE, terms.monthly_fee, month=month))
    missing = EXACT.subtract(terms.minimum_charge, EXACT.add(usage, terms.monthly_fee))
    if missing > 0:
        lines.append(Line(LineKind.MINIMUM, missing, month=month))
    return lines


def _line_document(line: Line) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": line.kind.value, "amount": plain(line.amount)}
    if line.month is not None:
        document["month"] = str(line.month)
    if line.used is not None and line.markup_percent is not None:
        document |= {
            "userId": line.user_id,
            "model": line.model,
            "requests": line.used.requests,
            "inputTokens": line.used.input_tokens,
            "cachedInputTokens": line.used.cached_input_tokens,
            "cacheWriteTokens": line.used.cache_write_tokens,
            "outputTokens": line.used.output_tokens,
            "unpricedRequests": line.used.unpriced_requests,
            "cost": plain(line.used.cost),
            "markupPercent": plain(line.markup_percent),
        }
    return document


def _line(document: Mapping[str, Any]) -> Line:
    kind, amount = LineKind(document["kind"]), Decimal(document["amount"])
    month = Month.parse(document["month"]) if "month" in document else None
    if "cost" not in document:
        return Line(kind, amount, month=month)
    used = Used(
        document["requests"],
        document["inputTokens"],
        document["cachedInputTokens"],
        document["cacheWriteTokens"],
        document["outputTokens"],
        document["unpricedRequests"],
        Decimal(document["cost"]),
    )
    markup = Decimal(document["markupPercent"])
    return Line(kind, amount, document["userId"], document["model"], month, used, markup)
