"""A circuit under any interleaving of calls, failures, deaths of callers and time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from model_service.gateway.circuit import PAUSES, PROBE_SECONDS, STREAK, UNCALLED_AFTER
from model_service.gateway.health import Circuits, Parts
from model_service.kernel.types import Provider
from model_service.providers.condition import Change, State
from model_service.providers.faults import FaultKind

#: Within so many seconds of its recovery a provider is called again (GATEWAY.md).
BACK_WITHIN = 30.0


class CircuitMachine(RuleBasedStateMachine):
    """Calls begin, and end in any order and way, at a provider that goes down and comes back."""

    @initialize(chance=st.floats(0, 1))
    def start(self, chance: float) -> None:
        self.now = 1000.0
        self.told: list[Change] = []
        self.circuits = Circuits(Parts(lambda: self.now, lambda: self.now, lambda: chance))
        self.circuits.subscribe(self.told.append)
        self.circuit = self.circuits.of(Provider.OPENAI, "https://api.openai.com", "m")
        self.calls: list[tuple[int, bool]] = []  # the ticket, and whether it was let through alone
        self.alone: dict[int, float] = {}  # those that were, and since when

    @rule()
    def begin(self) -> None:
        was_closed = self.circuit.state is State.CLOSED
        is_blocked = self.circuit.blocks(self.now)
        ticket = self.circuit.allow(self.now)
        assert bool(ticket) is not is_blocked
        if not ticket:
            return
        if not was_closed:
            # Never two at once, but that one that hangs does not keep the turn for ever.
            for since in self.alone.values():
                assert self.now - since >= PROBE_SECONDS
            self.alone[ticket] = self.now
        self.calls.append((ticket, not was_closed))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), how=st.sampled_from(["well", "badly", "silently", "refused", "left"]))
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        ticket, is_alone = call
        state, now = self.circuit.state, self.now
        is_present = ticket == self.circuit.ticket
        if is_alone:
            self.alone.pop(ticket, None)
        match how:
            case "well":
                self.circuit.succeeded(ticket, 0.1)
            case "badly":
                self.circuit.failed(ticket, FaultKind.UPSTREAM, now)
            case "silently":
                self.circuit.failed(ticket, FaultKind.TIMEOUT, now)
            case "refused":
                self.circuit.failed(ticket, FaultKind.RATE_LIMITED, now)
            case _:
                self.circuit.abandoned(ticket)
        if state is State.CLOSED and how in ("well", "refused", "left"):
            assert self.circuit.state is State.CLOSED
        if state is State.HALF_OPEN and is_present:
            # It alone decides.
            expected = {
                "well": State.CLOSED,
                "refused": State.CLOSED,
                "badly": State.OPEN,
                "silently": State.OPEN,
                "left": State.HALF_OPEN,
            }
            assert self.circuit.state is expected[how]
        if state is State.OPEN:
            assert self.circuit.state is State.OPEN

    @rule()
    def fails_in_a_row(self) -> None:
        for _ in range(STREAK):
            ticket = self.circuit.allow(self.now)
            if ticket:
                self.circuit.failed(ticket, FaultKind.UPSTREAM, self.now)
        assert self.circuit.state is not State.CLOSED

    @rule(is_alive=st.booleans())
    def is_asked(self, is_alive: bool) -> None:
        for circuit in self.circuits.uncalled():
            ticket = circuit.ask(self.now)
            circuit.probed(ticket, is_alive=is_alive, now=self.now)
            assert circuit.state is (State.CLOSED if is_alive else State.OPEN)

    @rule(seconds=st.floats(0.001, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.circuits.tick()

    @rule(is_called=st.booleans())
    def recovers(self, is_called: bool) -> None:
        """From now on every call goes well: how long until one is made, and who is asked."""
        recovered = self.now
        while self.circuit.state is not State.CLOSED:
            self.now += 0.25
            ticket = self.circuit.allow(self.now) if is_called else 0
            if ticket:
                self.circuit.succeeded(ticket, 0.1)
            for circuit in self.circuits.uncalled():
                circuit.probed(circuit.ask(self.now), is_alive=True, now=self.now)
            assert self.now - recovered < BACK_WITHIN
        self.alone.clear()

    @invariant()
    def open_is_never_longer_than_the_longest_pause(self) -> None:
        longest = PAUSES[-1] * 1.1
        assert self.circuit.retry_after(self.now) <= max(longest, PROBE_SECONDS) + 0.001
        assert longest + PROBE_SECONDS + UNCALLED_AFTER < BACK_WITHIN

    @invariant()
    def changes_are_told_in_order_and_take_turns(self) -> None:
        moments = [change.at for change in self.told]
        assert moments == sorted(set(moments))
        state = State.CLOSED
        for change in self.told:
            assert (change.state, state) != (State.CLOSED, State.CLOSED)
            state = change.state
        if self.circuit.state is State.CLOSED:
            assert state is State.CLOSED


TestCircuit = CircuitMachine.TestCase
TestCircuit.settings = settings(max_examples=150, stateful_step_count=60)
