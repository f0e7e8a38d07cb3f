"""What a call used and cost, settled before its caller has the end of the answer."""

from model_service.gateway.ports import Meter
from model_service.gateway.work import Work


class Accounting:
    """Settles calls."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def begin(self, work: Work) -> None:
        """The call is about to be sent to a provider.

        Raises:
            Unavailable: what it uses could not be kept.
        """
        if not work.record.is_metered:
            self._meter.begin(work.record)
            work.record.is_metered = True

    def settle(self, work: Work) -> None:
        """The call is over. May be repeated."""
        if work.is_settled:
            return
        work.is_settled = True
        record = work.record
        if record.is_metered:
            self._meter.finish(record)
