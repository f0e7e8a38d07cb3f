"""Sending meters to Stripe, with Stripe's own client over this service's own transport.

The client is given a way out that goes through the egress rules: to the operator's address
alone, without redirects or a proxy from the environment, by the system's authorities. Of the
headers that it would send only those are taken that the request needs.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from model_service.billing.meters import Meter
from model_service.billing.outbox import Answer, Sent
from model_service.kernel.errors import ConnectFailed, EgressRefused, UpstreamError, UpstreamTimeout
from model_service.kernel.secret import Secret
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import retry_after_seconds
from model_service.providers.transport import Limits, Timeouts, Transport, UpstreamRequest

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError

_TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=20.0, idle=20.0, total=30.0)
_LIMITS: Final = Limits(body_bytes=1024 * 1024)
_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "Stripe-Version")
# What Stripe says of an identifier it knows, with status 400: the meter is there.
_DUPLICATE_CODE: Final = "duplicate_meter_event"
_DUPLICATE_TEXT: Final = "already exists with identifier"
# Longest text of Stripe's that is kept as a reason.
_REASON: Final = 300

_CLIENT_ERROR, _CONFLICT, _TOO_MANY, _SERVER_ERROR = 400, 409, 429, 500
_KEY_REFUSED: Final = (401, 403)


class StripeMeters:
    """`MeterSender` to Stripe's `POST /v1/billing/meter_events`."""

    def __init__(
        self, transport: Transport, address: Endpoint, key: Secret[str], event_name: str
    ) -> None:
        """`event_name` is the meter's at Stripe; its value is what `Meter.microdollars` are."""
        self._transport = transport
        self._address = address
        self._key = key
        self._event_name = event_name
        self._client: StripeClient | None = None

    async def send(self, meter: Meter) -> Sent:
        """Attempt it once."""
        # Imported when first needed: a tenth of a second that most services never need.
        import stripe

        if self._client is None:
            self._client = _client(self._transport, self._address, self._key)
        try:
            await self._client.v1.billing.meter_events.create_async(
                {
                    "event_name": self._event_name,
                    "identifier": str(meter.id),
                    "timestamp": int(meter.occurred_at.timestamp()),
                    "payload": {
                        "stripe_customer_id": meter.stripe_customer_id or "",
                        "value": str(meter.microdollars),
                    },
                },
                {"idempotency_key": f"{meter.id}-{meter.refusals}"},
            )
        except stripe.StripeError as error:
            return answer_of(error)
        except (ConnectFailed, EgressRefused) as error:
            return Sent(Answer.UNREACHABLE, error.message)
        except UpstreamTimeout as error:
            connecting = error.phase == "connect"
            return Sent(Answer.UNREACHABLE if connecting else Answer.LOST, error.message)
        except UpstreamError as error:
            return Sent(Answer.LOST, error.message)
        return Sent(Answer.TAKEN)


def answer_of(error: "StripeError") -> Sent:
    """What an error of Stripe's client means for the meter."""
    status = error.http_status or 0
    code = error.code or ""
    said = _shown(error)
    if code == _DUPLICATE_CODE or _DUPLICATE_TEXT in said:
        return Sent(Answer.TAKEN)
    wait = retry_after_seconds(_header(error.headers, "retry-after"))
    if status == _TOO_MANY or code == "rate_limit":
        return Sent(Answer.BUSY, said, wait)
    if status == _CONFLICT:
        # The same request is being worked on: the key stays, and its answer is to come.
        return Sent(Answer.LOST, said, wait)
    if status >= _SERVER_ERROR:
        return Sent(Answer.FAILED, said, wait)
    if status in _KEY_REFUSED:
        return Sent(Answer.KEY_REFUSED, said)
    if status < _CLIENT_ERROR:
        return Sent(Answer.LOST, "Stripe's answer was none of its API's")
    return Sent(Answer.REFUSED, said)


def _shown(error: "StripeError") -> str:
    """Status, code and words, without the page that a proxy may have sent instead."""
    words = error.user_message if error.json_body else "no API answer"
    text = " ".join(
        part for part in (str(error.http_status or ""), error.code or "", words or "") if part
    )
    return "".join(c if c.isprintable() else " " for c in text)[:_REASON]


def _header(headers: Mapping[str, str] | None, name: str) -> str | None:
    return None if headers is None else headers.get(name)


def _client(transport: Transport, address: Endpoint, key: Secret[str]) -> "StripeClient":
    import stripe

    # Else it reports the machine's platform, and keeps a file of its own in the home directory.
    stripe.enable_telemetry = False

    class WayOut(stripe.HTTPClient):
        """Stripe's requests over the transport; one attempt each, the outbox repeats them."""

        name = "model-service"

        @override
        async def request_async(
            self,
            method: str,
            url: str,
            headers: Mapping[str, str],
            post_data: Any = None,
        ) -> tuple[bytes, int, Mapping[str, str]]:
            target = url.removeprefix(address.origin + address.path_prefix)
            sent = tuple((name, headers[name]) for name in _HEADERS if name in headers)
            request = UpstreamRequest(
                address,
                method.upper(),
                target,
                (*sent, ("User-Agent", "model-service")),
                (post_data or "").encode(),
            )
            async with await transport.send(request, _TIMEOUTS, _LIMITS) as answer:
                body = await answer.read()
                return body, answer.status, {name.lower(): text for name, text in answer.headers}

        @override
        async def close_async(self) -> None:
            """The transport is the service's."""

    return stripe.StripeClient(
        key.reveal(),
        base_addresses={"api": address.origin + address.path_prefix},
        max_network_retries=0,
        http_client=WayOut(),
    )
