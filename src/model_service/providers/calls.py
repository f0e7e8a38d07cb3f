"""How each provider is called, and the doors that callers come by: one row each.

Adding an OpenAI-compatible vendor is a row of `vendors`; adding a dialect is a package below
`dialects` and its name in the rows here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from model_service.kernel.types import Provider
from model_service.providers.base import Headers
from model_service.providers.dialects.anthropic.counting import AnthropicCount
from model_service.providers.dialects.anthropic.counting import (
    CountPassthrough as AnthropicCountPassthrough,
)
from model_service.providers.dialects.anthropic.door import AnthropicDoor
from model_service.providers.dialects.anthropic.faults import AnthropicFaults
from model_service.providers.dialects.anthropic.passthrough import AnthropicPassthrough
from model_service.providers.dialects.anthropic.upstream import AnthropicUpstream
from model_service.providers.dialects.google.array import ArrayRelay
from model_service.providers.dialects.google.counting import GoogleCount, GoogleCountPassthrough
from model_service.providers.dialects.google.door import GoogleDoor
from model_service.providers.dialects.google.embeddings import (
    GoogleEmbeddingDoor,
    GoogleEmbeddingPassthrough,
    GoogleEmbeddingUpstream,
)
from model_service.providers.dialects.google.faults import GoogleFaults
from model_service.providers.dialects.google.passthrough import GooglePassthrough
from model_service.providers.dialects.google.upstream import GoogleUpstream
from model_service.providers.dialects.ollama.embeddings import OllamaEmbeddings
from model_service.providers.dialects.ollama.faults import OllamaFaults
from model_service.providers.dialects.ollama.upstream import OllamaUpstream
from model_service.providers.dialects.openai_chat.door import ChatDoor as OpenAIChatDoor
from model_service.providers.dialects.openai_chat.embeddings import (
    EmbeddingDoor as OpenAIEmbeddingDoor,
)
from model_service.providers.dialects.openai_chat.embeddings import (
    EmbeddingPassthrough as OpenAIEmbeddingPassthrough,
)
from model_service.providers.dialects.openai_chat.embeddings import (
    EmbeddingUpstream as OpenAIEmbeddings,
)
from model_service.providers.dialects.openai_chat.passthrough import ChatPassthrough
from model_service.providers.dialects.openai_chat.upstream import (
    ChatUpstream as OpenAIChatUpstream,
)
from model_service.providers.dialects.openai_responses.counting import ResponsesCount
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.dialects.openai_responses.passthrough import ResponsesPassthrough
from model_service.providers.dialects.openai_responses.upstream import ResponsesUpstream
from model_service.providers.faults import invalid
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.translation import (
    ChatDoor,
    ChatUpstream,
    CountDoor,
    CountUpstream,
    EmbeddingDoor,
    EmbeddingUpstream,
    FaultDoor,
    FaultReader,
    Passthrough,
    Target,
)

#: What an Azure model's settings name to be called by a dated API instead of v1.
API_VERSION: Final = "apiVersion"

#: Longest header of a caller's that goes on: beginnings of requests are remembered with theirs.
LONGEST_FORWARDED: Final = 2048


def _as_it_is(path: str, _: Target) -> str:
    return path


def azure_path(path: str, target: Target) -> str:
    """Azure's path: of its v1 API, or, with `providerSettings.apiVersion`, of a deployment."""
    version = target.settings.get(API_VERSION)
    if not isinstance(version, str) or not version:
        return f"/openai/v1{path}"
    if path.startswith("/responses"):  # where the model is named in the body
        return f"/openai{path}?api-version={quote(version, safe='')}"
    deployment = quote(target.upstream_model, safe="")
    return f"/openai/deployments/{deployment}{path}?api-version={quote(version, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """How one provider is called. What is not stated it does not have.

    The `...unchanged` rows name, by door, who speaks the provider's own dialect there. `forwards`
    are the headers of callers at such a door that go on: they are part of the provider's API.
    """

    chat: ChatUpstream
    faults: FaultReader
    passthroughs: Mapping[str, Passthrough] = field(default_factory=dict)
    responses: ChatUpstream | None = None
    counts: CountUpstream | None = None
    counts_unchanged: Mapping[str, Passthrough] = field(default_factory=dict)
    embeds: EmbeddingUpstream | None = None
    embeds_unchanged: Mapping[str, Passthrough] = field(default_factory=dict)
    locate: Callable[[str, Target], str] = _as_it_is
    forwards: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def forwarded(self, door: str, sent: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Those of a caller's headers that go on.

        Raises:
            CallFailed: one is none that could be sent.
        """
        wanted = self.forwards.get(door)
        if not wanted:
            return ()
        return tuple(
            (name.decode("ascii"), _sound(name, value)) for name, value in sent if name in wanted
        )


def _sound(name: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable() and len(text) <= LONGEST_FORWARDED):
        # Were it left to the transport, the provider would be held to have failed.
        reason = f"must be printable ASCII of {LONGEST_FORWARDED} characters at most"
        raise invalid(name.decode("ascii"), reason)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSpec:
    """What can be asked for at one door."""

    chat: ChatDoor | None = None
    counts: CountDoor | None = None
    embeds: EmbeddingDoor | None = None


_OPENAI_EMBEDDINGS: Final = OpenAIEmbeddings()
_OPENAI_FAULTS: Final = OpenAIFaults()

#: Every provider.
CALLS: Final[Mapping[Provider, CallSpec]] = {
    Provider.OPENAI: CallSpec(
        chat=OpenAIChatUpstream(),
        responses=ResponsesUpstream(),
        faults=_OPENAI_FAULTS,
        passthroughs={
            "openai_chat": ChatPassthrough(),
            "openai_responses": ResponsesPassthrough(),
        },
        counts=ResponsesCount(),
        embeds=_OPENAI_EMBEDDINGS,
        embeds_unchanged={"openai_chat": OpenAIEmbeddingPassthrough()},
    ),
    Provider.ANTHROPIC: CallSpec(
        chat=AnthropicUpstream(),
        faults=AnthropicFaults(),
        passthroughs={"anthropic": AnthropicPassthrough()},
        # Not its version: what 2026-10-21 has beyond 2023-06-01 is what it refuses, and the
        # newest client asks for it at every call.
        forwards={"anthropic": frozenset({b"anthropic-beta"})},
        counts=AnthropicCount(),
        counts_unchanged={"anthropic": AnthropicCountPassthrough()},
    ),
    Provider.GOOGLE: CallSpec(
        chat=GoogleUpstream(),
        faults=GoogleFaults(),
        passthroughs={"google": GooglePassthrough()},
        counts=GoogleCount(),
        counts_unchanged={"google": GoogleCountPassthrough()},
        embeds=GoogleEmbeddingUpstream(),
        embeds_unchanged={
            "google": GoogleEmbeddingPassthrough(),
            "google_batch": GoogleEmbeddingPassthrough(batch=True),
        },
    ),
    Provider.AZURE: CallSpec(
        chat=OpenAIChatUpstream(),
        responses=ResponsesUpstream(),
        faults=_OPENAI_FAULTS,
        passthroughs={
            "openai_chat": ChatPassthrough(),
            "openai_responses": ResponsesPassthrough(),
        },
        embeds=_OPENAI_EMBEDDINGS,
        embeds_unchanged={"openai_chat": OpenAIEmbeddingPassthrough()},
        locate=azure_path,
    ),
    Provider.OLLAMA: CallSpec(
        chat=OllamaUpstream(), faults=OllamaFaults(), embeds=OllamaEmbeddings()
    ),
    Provider.CUSTOM: CallSpec(
        chat=OpenAIChatUpstream(max_tokens_field="max_tokens"),
        faults=_OPENAI_FAULTS,
        passthroughs={"openai_chat": ChatPassthrough(max_tokens_field="max_tokens")},
        embeds=_OPENAI_EMBEDDINGS,
        embeds_unchanged={"openai_chat": OpenAIEmbeddingPassthrough()},
    ),
}

#: What calls a vendor that takes marks for its cache.
CACHING_VENDOR: Final[ChatUpstream] = OpenAIChatUpstream("max_tokens", cache_marks=True)

#: Every door.
DOORS: Final[Mapping[str, DoorSpec]] = {
    "openai_chat": DoorSpec(chat=OpenAIChatDoor(), embeds=OpenAIEmbeddingDoor()),
    "openai_responses": DoorSpec(chat=ResponsesDoor()),
    "anthropic": DoorSpec(chat=AnthropicDoor(), counts=AnthropicCount()),
    "google": DoorSpec(chat=GoogleDoor(), counts=GoogleCount(), embeds=GoogleEmbeddingDoor()),
    "google_batch": DoorSpec(embeds=GoogleEmbeddingDoor(batch=True)),
}

#: How the doors of each family say that something is wrong.
FAULT_DOORS: Final[Mapping[str, FaultDoor]] = {
    "openai": _OPENAI_FAULTS,
    "anthropic": AnthropicFaults(),
    "google": GoogleFaults(),
}

__all__ = [
    "CACHING_VENDOR",
    "CALLS",
    "DOORS",
    "FAULT_DOORS",
    "ArrayRelay",
    "CallSpec",
    "DoorSpec",
    "azure_path",
]
