"""Asking the dialects themselves what they make of a request, for docs/translation.md.

A probe sets one field of a minimal request. What is sent with it is compared with what is sent
without it, so that nothing is written down that the code does not do.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from model_service.kernel.types import Provider
from model_service.providers.calls import CACHING_VENDOR, CALLS
from model_service.providers.chat import ChatRequest, Message, Role, Text
from model_service.providers.embedding import EmbeddingRequest
from model_service.providers.faults import CallFailed
from model_service.providers.translation import Document, Notes, Outgoing, Target
from model_service.providers.vendors import Vendor

NOTHING = "–"  # noqa: RUF001 - a dash in a table
_LONGEST_VALUE = 72
_MISSING = object()
# Fields that say nothing when they are false.
_MARKS = ("adaptive", "base64", "is_error", "redacted")

Write = Callable[[Any, Notes], Outgoing]
"""Writes a request of the intermediate form for an upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One row: what `changed` asks for beyond `base`.

    `needle` is a text in it, or one of several forms of it, that is looked for in what is sent;
    without one, what is sent is compared. `values`: the values that are sent matter, not only
    where they go.
    """

    name: str
    base: Any
    changed: Any
    needle: tuple[str, ...] = ()
    values: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a probe. `sent` is empty when nothing of it went out."""

    sent: Sequence[str] = ()
    dropped: Sequence[str] = ()
    refused: str | None = None

    @property
    def is_nothing(self) -> bool:
        """Nothing was sent, and nothing was said of it."""
        return not (self.sent or self.dropped or self.refused)

    def cell(self, name: str) -> str:
        """As it stands in a table, in the row `name`."""
        if self.refused is not None:
            return f"refused: {self.refused}"
        said = list(self.sent)
        said += [
            "dropped" if dropped == name.partition(":")[0] else f"dropped as `{dropped}`"
            for dropped in self.dropped
        ]
        return "; ".join(said) or NOTHING


HELLO = ChatRequest("m", [Message(Role.USER, [Text("Hello")])])
TEXTS = EmbeddingRequest("m", ["Hello"])


def chat_row(name: str, *, values: bool = False, base: ChatRequest = HELLO, **fields: Any) -> Probe:  # noqa: ANN401 - any field's
    """A probe that sets fields of a request."""
    return Probe(name=name, base=base, changed=replace(base, **fields), values=values)


def chat_write(
    provider: Provider, model: str, *, responses: bool = False, vendor: Vendor | None = None
) -> Write:
    """How a provider's model is written to."""
    spec, target = CALLS[provider], Target(model, provider, model, 4096)
    upstream = spec.responses if responses else spec.chat
    if vendor is not None and vendor.cache_marks:
        upstream = CACHING_VENDOR
    if upstream is None:
        raise LookupError(f"{provider} has no such API")

    def write(request: ChatRequest, notes: Notes) -> Outgoing:
        outgoing = upstream.request(request, target, notes)
        if vendor is not None:
            vendor.adapt(outgoing.body)
        return outgoing

    return write


def embed_write(provider: Provider, model: str) -> Write:
    """How a provider's model for embeddings is written to."""
    upstream, target = CALLS[provider].embeds, Target(model, provider, model, 4096)
    if upstream is None:
        raise LookupError(f"{provider} has no embeddings")
    return lambda request, notes: upstream.request(request, target, notes)


def observe(write: Write, probe: Probe) -> Outcome:
    """What becomes of a probe at an upstream."""
    before, after = Notes({}, lenient=True), Notes({})
    plain = _flattened(write(probe.base, before))
    try:
        sent = _flattened(write(probe.changed, after))
    except CallFailed as failed:
        return Outcome(refused=reason(failed))
    dropped = [name for name in after.dropped if name not in before.dropped]
    if probe.needle:
        places = sorted(
            {path for path, text in _texts(sent) if any(one in text for one in probe.needle)}
        )
        return Outcome([f"`{place}`" for place in places], dropped)
    return Outcome(list(differences(plain, sent, values=probe.values)), dropped)


def reason(failed: CallFailed) -> str:
    """Why a field is refused, without the field's name in front."""
    fault = failed.fault
    return fault.message.removeprefix(f"{fault.param}: ")


def _flattened(outgoing: Outgoing) -> Document:
    path, _, query = outgoing.path.partition("?")
    method = path.rpartition(":")[2] if ":" in path else path
    return {**outgoing.body, "(path)": f"{method}?{query}" if query else method}


def tree(value: object) -> Document:
    """A dataclass as a document without what was not said."""
    document = asdict(value) if is_dataclass(value) and not isinstance(value, type) else {}
    pruned: Document = _pruned(document)
    return pruned


def _pruned(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {
            name: _pruned(inner)
            for name, inner in value.items()
            if inner is not None and inner != [] and (inner or name not in _MARKS)
        }
    return [_pruned(inner) for inner in value] if isinstance(value, list) else value


def differences(
    base: Document, changed: Document, path: str = "", *, values: bool = False
) -> Iterator[str]:
    """Where `changed` says something else than `base`, as cells say it."""
    for name in [*base, *(name for name in changed if name not in base)]:
        where = f"{path}.{name}" if path else name
        yield from _difference(
            base.get(name, _MISSING), changed.get(name, _MISSING), where, values=values
        )


def _difference(base: Any, changed: Any, path: str, *, values: bool) -> Iterator[str]:  # noqa: ANN401
    if changed is _MISSING:
        yield f"without `{path}`"
    elif base is _MISSING:
        yield _shown(path, changed, values=values)
    elif isinstance(base, dict) and isinstance(changed, dict):
        yield from differences(base, changed, path, values=values)
    elif isinstance(base, list) and isinstance(changed, list):
        yield from dict.fromkeys(_in_lists(base, changed, path, values=values))
    elif base != changed:
        yield _shown(path, changed, values=values)


def _in_lists(base: list[Any], changed: list[Any], path: str, *, values: bool) -> Iterator[str]:
    if len(changed) < len(base):
        yield f"fewer `{path}`"
        return
    more = [item for item in changed if item not in base]
    if len(changed) > len(base) and len(more) == len(changed) - len(base):
        yield from (_shown(f"{path}[]", item, values=values) for item in more)
        return
    for index, other in enumerate(changed):
        one = base[index] if index < len(base) else _MISSING
        yield from _difference(one, other, f"{path}[]", values=values)


def _shown(path: str, value: object, *, values: bool) -> str:
    if path == "(path)":
        return f"path `{value}`"
    while isinstance(value, dict) and len(value) == 1:
        name = next(iter(value))
        if not name.isidentifier():
            break
        path, value = f"{path}.{name}", value[name]
    if not values:
        return f"`{path}`"
    text = json.dumps(value, ensure_ascii=False)
    return f"`{path}: {text}`" if len(text) <= _LONGEST_VALUE else f"`{path}`"


def _texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document, and where it is."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, f"{path}[]")
