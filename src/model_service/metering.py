"""`Meter` on the usage journal: from a call's record to what is kept of it for good."""

from typing import Final

from orjson import Fragment

from model_service.gateway.ports import CallRecord
from model_service.kernel.counting import NANO
from model_service.kernel.errors import JournalFull
from model_service.kernel.types import uuid7_text
from model_service.providers.chat import Usage
from model_service.usage.journal import Journal
from model_service.usage.records import begun_payload, event_payload, origin

#: Bytes of a request to one token of it, about.
BYTES_PER_TOKEN: Final = 4
#: Combinations of caller, model and key remembered, at some 300 bytes each.
MOST_ORIGINS: Final = 10_000

_NOTHING: Final = Usage()
#: The status of a call whose caller left before it got one; nginx's.
_LEFT: Final = 499
#: That of one whose caller was still there, and was not told: the service was stopped.
_CUT: Final = 500
#: The class of error of a call that was given up because its caller had left.
CLIENT_LEFT: Final = "client_left"


class JournalMeter:
    """Writes calls down."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._origins: dict[object, Fragment] = {}

    def begin(self, record: CallRecord) -> None:
        """A call is about to be sent to a provider. Raises JournalFull."""
        self._journal.check()
        record.event_id = record.event_id or uuid7_text()
        model = record.model
        prices = None if model is None else model.prices
        price = None if prices is None else prices.at(record.began)
        record.ticket = self._journal.begin(
            begun_payload(
                record.event_id,
                int(record.began * 1000),
                record.request_id,
                self._origin(record),
                record.body_bytes // BYTES_PER_TOKEN,
                None if price is None else price.input_rate,
                None if price is None else price.version,
                record.tags,
            )
        )

    def finish(self, record: CallRecord) -> None:
        """Such a call is over."""
        self._journal.finish(record.ticket, self._event(record))

    def note(self, record: CallRecord) -> None:
        """A call was refused before it was sent to a provider."""
        record.event_id = record.event_id or uuid7_text()
        try:
            self._journal.note(self._event(record))
        except JournalFull:
            return  # it used nothing, and what it was refused for is that, mostly

    def _origin(self, record: CallRecord) -> Fragment:
        """Who calls what with which key: made once for many calls, and found once for a call."""
        known = record.origin
        if known is not None and known[0] is record.model and known[1] is record.key_id:
            fragment = known[2]
            if isinstance(fragment, Fragment):
                return fragment
        found = self._found_origin(record)
        record.origin = record.model, record.key_id, found
        return found

    def _found_origin(self, record: CallRecord) -> Fragment:
        principal, model, key_id = record.principal, record.model, record.key_id
        user_id = token_id = None
        if principal is not None:
            user_id, token_id = principal.user_id, principal.token_id
        who = (
            user_id,
            None if token_id is None else token_id.int,  # hashed faster than the id
            model,
            None if key_id is None else key_id.int,
            record.door,
            record.operation,
            record.stream,
        )
        found = self._origins.get(who)
        if found is None:
            if len(self._origins) >= MOST_ORIGINS:
                self._origins.clear()
            name = provider = upstream = ""
            if model is not None:
                target = model.target
                name, provider, upstream = target.name, target.provider, target.upstream_model
            found = self._origins[who] = origin(
                user_id, token_id, name, provider, upstream, key_id, *who[4:]
            )
        return found

    def _event(self, record: CallRecord) -> bytes:
        usage = record.usage or _NOTHING
        asked, model = record.asked, record.model
        first, started = record.first_byte, record.started
        error = None if record.error is None else record.error.value
        if record.client_left and error is None:
            error = CLIENT_LEFT
        return event_payload(
            record.event_id,
            int(record.began * 1000),
            record.request_id,
            self._origin(record),
            record.status or (_LEFT if record.client_left else _CUT),
            usage.input,
            usage.cached_input,
            usage.cache_write,
            usage.cache_write_1h,
            usage.output,
            usage.reasoning,
            record.cost_text,
            record.price_version,
            round((record.finished - started) * 1000, 3),
            None if first is None or not record.stream else round((first - started) * 1000, 3),
            record.attempts,
            asked.name if asked is not None and model is not asked else None,
            record.estimated,
            error,
            record.tags,
            _why(record),
        )


def _why(record: CallRecord) -> dict[str, object] | None:
    """What the event does not say by itself."""
    why: dict[str, object] = {}
    if record.why is not None:
        why["steps"] = record.why
    if record.reserved is not None:
        requests, tokens, nano = record.reserved
        why["reservation"] = {"requests": requests, "tokens": tokens, "costUsd": nano / NANO}
    return why or None
