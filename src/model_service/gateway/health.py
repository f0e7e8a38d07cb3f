"""How providers are doing, as this process learns it from its calls: all its circuits."""

from collections.abc import Iterator
from typing import Final

from model_service.gateway.circuit import Circuit, OnChange, Parts
from model_service.kernel.types import Provider
from model_service.providers.condition import Change, Numbers, Place, State

__all__ = ["Circuit", "Circuits", "OnChange", "Parts"]

#: Circuits held, at about 8 KB each.
MOST: Final = 2048


class Circuits:
    """All circuits of this process, in bounded memory."""

    def __init__(self, parts: Parts | None = None) -> None:
        self._parts = Parts() if parts is None else parts
        self._circuits: dict[Place, Circuit] = {}
        self._hearers: list[OnChange] = []

    def subscribe(self, on_change: OnChange) -> None:
        """Have every change heard that this process itself finds, not those that it adopts."""
        self._hearers.append(on_change)

    def __iter__(self) -> Iterator[Circuit]:
        return iter(list(self._circuits.values()))

    def __len__(self) -> int:
        return len(self._circuits)

    def of(self, provider: Provider, endpoint: str, model: str, name: str = "") -> Circuit:
        """The circuit of a place; `name` is the registered model that is served there.

        May be kept by whoever asks. With too many about that are in use, one that is not shared.
        """
        place = Place(provider, endpoint, model)
        circuit = self._circuits.get(place)
        if circuit is None:
            circuit = Circuit(place, self._parts, self._changed)
            if len(self._circuits) >= MOST:
                self._make_room()
            if len(self._circuits) < MOST:
                self._circuits[place] = circuit
        if name:
            circuit.named(name)
        return circuit

    def find(self, provider: Provider, endpoint: str, model: str) -> Circuit | None:
        """The circuit of a place, if there is one."""
        return self._circuits.get(Place(provider, endpoint, model))

    def adopt(self, change: Change) -> None:
        """Take up what another process learnt."""
        circuit = self._circuits.get(change.place)
        if circuit is None:
            if change.state is State.CLOSED:
                return
            circuit = self.of(*change.place)
        for name in change.names:
            circuit.named(name)
        circuit.adopt(change, self._parts.now())

    def tick(self) -> None:
        """Let go of what is old, and of open circuits that nobody wants. Every second or so."""
        now = self._parts.now()
        forgotten = []
        for place, circuit in self._circuits.items():
            circuit.roll(now)
            if circuit.state is not State.CLOSED and circuit.is_idle(now):
                forgotten.append(place)
        for place in forgotten:
            del self._circuits[place]

    def numbers(self) -> list[Numbers]:
        """What calls came to at each place."""
        self.tick()
        return [circuit.numbers() for circuit in self._circuits.values()]

    def uncalled(self) -> list[Circuit]:
        """Those that are open though their turn has come, as nobody calls."""
        now = self._parts.now()
        return [circuit for circuit in self._circuits.values() if circuit.is_uncalled(now)]

    def _changed(self, change: Change) -> None:
        for hear in self._hearers:
            hear(change)

    def _make_room(self) -> None:
        self.tick()
        now = self._parts.now()
        idle = [place for place, circuit in self._circuits.items() if circuit.is_idle(now)]
        for place in idle:
            del self._circuits[place]
