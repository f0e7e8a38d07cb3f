"""A call under way: what was found out for it so far, so that nothing is done twice."""

from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from model_service.gateway import heads
from model_service.gateway.call import Call
from model_service.gateway.policy import with_headers
from model_service.gateway.ports import CallRecord
from model_service.gateway.routes import Operation
from model_service.kernel.policy import DEFAULT, Policy
from model_service.providers.chat import Usage
from model_service.providers.exchange import Exchange
from model_service.providers.faults import Fault
from model_service.providers.translation import Document

if TYPE_CHECKING:
    from model_service.gateway.circuit import Circuit
    from model_service.gateway.leases import Lease
    from model_service.gateway.limits import Applicable, Hold
    from model_service.gateway.relay import Conversion
    from model_service.gateway.snapshot import SnapshotModel

#: Models whose headers in answers are remembered with a lease.
MOST_LINES: Final = 256


class Want(Enum):
    """What memory alone could not tell, and has to be asked for."""

    ADMISSION = auto()
    """Who calls."""
    DENIAL = auto()
    """Nothing: the call is refused, and that is to be recorded."""
    RESERVATION = auto()
    """Room within a limit."""
    LEASE = auto()
    """The key that pays."""


class Work:
    """One call's state. `record` is what others get to see of it.

    `limits` are those that apply to it, and `hold` what is reserved of them. `ticket` is the
    circuit's for the attempt under way. `first` is what the first attempt brought, if that was
    made without a task. `spent` is what attempts took that the caller got a part of, and what
    answered those.
    """

    # What most calls never change is the class's: one is made for each call.
    model: "SnapshotModel | None" = None
    body: Document | None = None
    policy: Policy = DEFAULT
    limits: "Applicable | None" = None
    hold: "Hold | None" = None
    lease: "Lease | None" = None
    conversion: "Conversion | None" = None
    circuit: "Circuit | None" = None
    ticket = 0
    first: Exchange | Fault | None = None
    want: Want | None = None
    has_limits = False
    """Whether it is settled which limits apply, and room within them is reserved."""
    has_key = False
    """Whether it is settled which key pays; `lease` None is then that none does."""
    spent: "tuple[tuple[SnapshotModel, Usage], ...]" = ()
    is_last = False
    """Whether who is asked is the last of the fallbacks: nobody waits behind it."""
    is_settled = False
    is_over = False

    def __init__(self, call: Call, record: CallRecord) -> None:
        self.call = call
        self.record = record
        self.route = call.arrival.route

    @property
    def is_bare(self) -> bool:
        """Whether a stream is to be one of JSON rather than of events."""
        return self.route is not None and self.route.bare

    @property
    def is_guarded(self) -> bool:
        """Whether others may still answer when the model does not."""
        return (
            self.record.asked is not None
            and self.route is not None
            and self.route.operation is not Operation.COUNT
            and bool(self.record.asked.fallbacks)
            and self.policy.fallback
            and not self.is_last
        )

    @property
    def parts(self) -> "tuple[SnapshotModel, Conversion]":
        """The model and the way through the dialects, once they are found."""
        if self.model is None or self.conversion is None:
            raise RuntimeError("the call is not prepared")
        return self.model, self.conversion

    def turn_to(
        self, model: "SnapshotModel", lease: "Lease | None", conversion: "Conversion"
    ) -> None:
        """Have another model answer, or the same in another way.

        How patient calls are with a model is its own; how long a call takes in all, and what
        becomes of it, that of the model that was asked for. The caller's wishes hold for all.
        """
        if model is not self.model:
            was = self.policy
            own = with_headers(model.policy, self.call.arrival.wishes)
            self.policy = replace(
                own, total=was.total, recovery=was.recovery, fallback=was.fallback
            )
        self.model = self.record.model = model
        self.lease, self.conversion = lease, conversion

    def lines(self) -> bytes:
        """The headers of the answer that say where it comes from, and how limits stand."""
        model, conversion = self.parts
        lease, record = self.lease, self.record
        lines = None if lease is None else lease.lines.get(model)
        if lines is None:
            target = model.target
            key_id = None if lease is None else lease.key.id
            lines = heads.origin_lines(target.name, target.provider, target.upstream_model, key_id)
            if lease is not None and len(lease.lines) < MOST_LINES:
                lease.lines[model] = lines
        if conversion.dropped:
            lines += heads.dropped_line(conversion.dropped)
        return b"%bx-model-service-attempts: %d\r\nx-request-id: %b\r\n" % (
            lines,
            record.attempts,
            record.request_id.encode("ascii"),
        )
