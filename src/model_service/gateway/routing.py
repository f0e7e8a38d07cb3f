"""Who may answer instead: the fallbacks of a model, in order, without those that cannot.

A model's `fallbacks` are names, of models of any provider and dialect. The list of the model that
was asked for is all there is: a fallback's own fallbacks do not count, so that a chain has an end
that can be seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

from model_service.gateway.needs import Needs
from model_service.gateway.snapshot import Snapshot, SnapshotModel


@dataclass(frozen=True, slots=True)
class Skip:
    """A fallback that is not tried, and why, in words for the caller's record."""

    name: str
    reason: str


Candidate = SnapshotModel
"""A model that may be tried."""


def candidates(
    model: SnapshotModel,
    snapshot: Snapshot,
    needs: Needs,
    allowed: Callable[[str], bool],
    *,
    is_open: Callable[[SnapshotModel], bool] = lambda _: False,
    larger: bool = False,
) -> list[Candidate | Skip]:
    """What becomes of each fallback of a model, in their order.

    `allowed` says whether the caller may use the model of a name, `is_open` whether a model's
    circuit is known to be open (it takes no turn in it). With `larger` the request was too long
    for the model, so that only those with room for more are of use.
    """
    found: list[Candidate | Skip] = []
    seen = {model.name}
    for name in model.fallbacks:
        other = snapshot.find(name)
        if other is None:
            found.append(Skip(name, "no such model is registered"))
            continue
        if other.name in seen:
            continue  # named twice, or by `default` the model itself
        seen.add(other.name)
        reason = _unfit(model, other, needs, allowed, is_open, larger=larger)
        found.append(other if reason is None else Skip(name, reason))
    return found


def _unfit(
    model: SnapshotModel,
    other: SnapshotModel,
    needs: Needs,
    allowed: Callable[[str], bool],
    is_open: Callable[[SnapshotModel], bool],
    *,
    larger: bool,
) -> str | None:
    """Why the other one is not tried; None when it is. What nobody knows of it is no reason."""
    if not other.is_active:
        return "is not active"
    if not allowed(other.name):
        return "the token's scopes do not allow it"
    if needs.stream and not other.supports_streaming:
        return "does not stream"
    for capability, words in needs.capabilities():
        if other.capabilities.get(capability) is False:
            return words
    window = other.context_window
    if window is not None:
        if larger and model.context_window is not None and window <= model.context_window:
            return f"its context window of {window:,} tokens is not larger"
        needed = needs.input_tokens + needs.output_tokens
        if needed > window:
            return f"its context window of {window:,} tokens is too small for about {needed:,}"
    if is_open(other):
        return "its circuit is open: its provider has been failing"
    return None
