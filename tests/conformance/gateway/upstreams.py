"""The providers that calls go to, and which of their models can do what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from model_service.kernel.types import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider, called in one way.

    `unchanged` names the dialects whose calls pass through. The rest are models of the
    stand-in: one that talks and calls tools, one that thinks, one that calls tools while it
    thinks, one that sees, one that samples as it is told, the newest that calls tools, and one
    that gives vectors. `sends_back` is the field in which it wants its thoughts back.
    """

    name: str
    provider: Provider
    unchanged: frozenset[str]
    talks: str
    thinks: str
    signs: str
    sees: str
    samples: str
    newest: str
    sends_back: str
    embeds: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


_OPENAI: Final = frozenset({"openai_chat", "openai_responses"})

UPSTREAMS: Final = (
    Upstream(
        name="openai",
        provider=Provider.OPENAI,
        unchanged=_OPENAI,
        talks="gpt-4.1",
        thinks="gpt-5.5",
        signs="gpt-5.5",
        sees="gpt-4.1",
        samples="gpt-4.1",
        newest="gpt-5.5",
        sends_back="encrypted_content",
        embeds="text-embedding-3-small",
    ),
    Upstream(
        name="openai_by_responses",
        provider=Provider.OPENAI,
        unchanged=frozenset({"openai_responses"}),
        talks="gpt-4.1",
        thinks="gpt-5.5",
        signs="gpt-5.5",
        sees="gpt-4.1",
        samples="gpt-4.1",
        newest="gpt-5.5",
        sends_back="encrypted_content",
        embeds="text-embedding-3-small",
        settings={"api": "responses"},
    ),
    Upstream(
        name="anthropic",
        provider=Provider.ANTHROPIC,
        unchanged=frozenset({"anthropic"}),
        talks="claude-haiku-5-5",
        thinks="claude-haiku-5-5",
        signs="claude-haiku-5-5",
        sees="claude-haiku-5-5",
        samples="claude-haiku-4-5",
        newest="claude-opus-5-5",
        sends_back="signature",
    ),
    Upstream(
        name="google",
        provider=Provider.GOOGLE,
        unchanged=frozenset({"google"}),
        talks="gemini-3.8-flash",
        thinks="gemini-3.5-flash-lite",
        signs="gemini-3.8-flash",
        sees="gemini-3.8-flash",
        samples="gemini-3.6-flash",
        newest="gemini-4-argon",
        sends_back="thoughtSignature",
        embeds="gemini-embedding-2",
    ),
    Upstream(
        name="azure",
        provider=Provider.AZURE,
        unchanged=_OPENAI,
        talks="gpt-4.1",
        thinks="gpt-5.5",
        signs="gpt-5.5",
        sees="gpt-4.1",
        samples="gpt-4.1",
        newest="gpt-5.5",
        sends_back="encrypted_content",
        embeds="text-embedding-3-large",
    ),
    Upstream(
        name="ollama",
        provider=Provider.OLLAMA,
        unchanged=frozenset(),
        talks="llama3.2",
        thinks="gemma4",
        signs="gemma4",
        sees="gemma4",
        samples="llama3.2",
        newest="gemma4",
        sends_back="thinking",
        embeds="nomic-embed-text",
    ),
    Upstream(
        name="custom",
        provider=Provider.CUSTOM,
        unchanged=frozenset({"openai_chat"}),
        talks="gpt-4.1",
        thinks="gpt-5.5",
        signs="gpt-5",
        sees="gpt-4.1",
        samples="gpt-4.1",
        newest="gpt-4.1",
        sends_back="reasoning_content",
        embeds="text-embedding-3-small",
    ),
)
