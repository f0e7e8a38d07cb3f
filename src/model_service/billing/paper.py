"""Statements for people and spreadsheets: a page to print, and CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from html import escape
from typing import Final

from model_service.billing.domain import CURRENCY, ZERO, CreditNote, Line, LineKind, Statement
from model_service.billing.statements import plain, rounded, total_of
from model_service.http.wire import format_moment

_COLUMNS: Final = (
    "kind",
    "month",
    "userId",
    "model",
    "requests",
    "inputTokens",
    "cachedInputTokens",
    "cacheWriteTokens",
    "outputTokens",
    "unpricedRequests",
    "cost",
    "markupPercent",
    "amount",
    "currency",
)
# A cell that begins so is a formula to spreadsheets:
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_TITLES: Final = {
    LineKind.USAGE: "Usage",
    LineKind.LATE: "Late usage",
    LineKind.FEE: "Monthly fee",
    LineKind.MINIMUM: "To the minimum charge",
    LineKind.ROUNDING: "Rounding to cents",
}

_STYLE: Final = """\
body{font:14px/1.45 system-ui,sans-serif;color:#111;margin:2.5em auto;max-width:60em;padding:0 1em}
h1{font-size:1.5em;margin:0 0 .2em}
dl{display:grid;grid-template-columns:max-content auto;gap:.15em 1.2em;margin:1em 0 1.6em}
dt{color:#555}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th,td{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
th{border-bottom:2px solid #111}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.t{overflow-wrap:anywhere}
tr{break-inside:avoid}
thead{display:table-header-group}
tfoot td{border-bottom:0;font-weight:600}
p.note{color:#555}
@media print{body{margin:0;max-width:none}@page{margin:18mm}}
"""


def as_csv(statement: Statement) -> str:
    """The lines, one a row, and the amounts to their last digit; their sum is the total."""
    out = io.StringIO()
    writer = csv.writer(out)  # RFC 4180: lines end in CRLF
    writer.writerow(_COLUMNS)
    for line in statement.lines:
        used = line.used
        counts: Sequence[object] = [""] * 7
        if used is not None:
            counts = [
                used.requests,
                used.input_tokens,
                used.cached_input_tokens,
                used.cache_write_tokens,
                used.output_tokens,
                used.unpriced_requests,
                plain(used.cost),
            ]
        writer.writerow(
            [
                line.kind.value,
                "" if line.month is None else str(line.month),
                _cell(line.user_id or ""),
                _cell(line.model or ""),
                *counts,
                "" if line.markup_percent is None else plain(line.markup_percent),
                plain(line.amount),
                CURRENCY,
            ]
        )
    return out.getvalue()


def as_page(statement: Statement, notes: Sequence[CreditNote] = ()) -> str:
    """The statement as one page of HTML that needs nothing else: no script, no other file."""
    title = f"Statement {statement.label}"
    month = statement.month
    last_day = date.fromordinal(month.end.toordinal() - 1)
    facts = [
        ("Account", statement.account_name),
        ("Period", f"{month.first_day} to {last_day}, in UTC"),
        ("Currency", CURRENCY),
        ("Markup", f"{plain(statement.terms.markup_percent)} %"),
    ]
    if statement.closed_at is None:
        facts.append(("Status", "draft: it may still change"))
    else:
        facts.append(("Closed", format_moment(statement.closed_at)))
    if statement.digest is not None:
        facts.append(("SHA-256", statement.digest))
    unpriced = sum(line.used.unpriced_requests for line in statement.lines if line.used)
    credited = sum((note.amount for note in notes), ZERO)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><dl>",
        *(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts),
        "</dl><table><thead><tr><th>For</th><th>User</th><th>Model</th>",
        '<th class="n">Requests</th><th class="n">Tokens in</th><th class="n">Tokens out</th>',
        '<th class="n">Cost</th><th class="n">Amount</th></tr></thead><tbody>',
        *(_row(line) for line in statement.lines),
        "</tbody><tfoot>",
        _sum("Total", total_of(statement.lines)),
        *(_sum(f"Credit note {note.label}: {note.reason}", -note.amount) for note in notes),
        _sum("Left to pay", statement.total - credited) if notes else "",
        "</tfoot></table>",
    ]
    if unpriced:
        parts.append(
            f'<p class="note">{unpriced} requests went to models without a known price. They are'
            " counted above and cost nothing.</p>"
        )
    parts.append("</body></html>\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(line: Line) -> str:
    title = _TITLES[line.kind]
    if line.kind is LineKind.LATE and line.month is not None:
        title = f"{title} of {line.month}"
    used = line.used
    numbers = ["", "", "", ""]
    if used is not None:
        tokens_in = used.input_tokens + used.cached_input_tokens + used.cache_write_tokens
        numbers = [
            f"{used.requests:,}",
            f"{tokens_in:,}",
            f"{used.output_tokens:,}",
            plain(used.cost),
        ]
    cells = (*numbers, plain(line.amount))
    texts = (title, line.user_id or "", line.model or "")
    return (
        "<tr>"
        + "".join(f'<td class="t">{escape(text)}</td>' for text in texts)
        + "".join(f'<td class="n">{escape(text)}</td>' for text in cells)
        + "</tr>"
    )


def _sum(title: str, amount: Decimal) -> str:
    return (
        f'<tr><td class="t" colspan="7">{escape(title)}</td>'
        f'<td class="n">{plain(rounded(amount))}</td></tr>'
    )
