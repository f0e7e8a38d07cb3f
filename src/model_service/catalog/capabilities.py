"""What the models of the large providers can do, as their documentation says.

A small table of facts, not of guesses: a pattern names exactly the models whose pages were
read, dated snapshots included, so that a newer model of a family is unknown until somebody
looks it up. What a page leaves open is None.

Sources:
  OpenAI     https://platform.openai.com/docs/models (each model's page: features, endpoints),
             https://platform.openai.com/docs/guides/structured-outputs (supported models),
             https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning (table)
  Anthropic  https://platform.claude.com/docs/en/about-claude/models/overview,
             .../docs/en/build-with-claude/structured-outputs, .../extended-thinking
  Google     https://ai.google.dev/gemini-api/docs/models, .../function-calling, .../thinking
"""

import re
from typing import Final

from model_service.catalog.domain import Capabilities

_DATED: Final = r"(?:-\d{4}-\d{2}-\d{2})?"
_CLAUDE_DATED: Final = r"(?:-\d{8}|-latest|-0)?"
_GEMINI_DATED: Final = r"(?:-\d{3}|-latest|-preview(?:-\d{2}-(?:\d{2}|\d{4}))?)?"


def capabilities_of(model_id: str) -> Capabilities | None:
    """What a provider's model can do, by the provider's name for it; None when unknown."""
    for pattern, facts in _TABLE:
        if pattern.fullmatch(model_id):
            return dict(facts)
    return None


def _facts(
    *,
    streaming: bool | None = True,
    tools: bool | None = True,
    parallel: bool | None = True,
    vision: bool | None = True,
    structured: bool | None = True,
    reasoning: bool | None = False,
    embeddings: bool | None = False,
) -> Capabilities:
    return {
        "streaming": streaming,
        "tools": tools,
        "parallelTools": parallel,
        "vision": vision,
        "structuredOutput": structured,
        "reasoning": reasoning,
        "embeddings": embeddings,
    }


_CHAT: Final = _facts()
_REASONING: Final = _facts(reasoning=True)
_EMBEDDING: Final = _facts(
    streaming=False, tools=False, parallel=False, vision=False, structured=False, embeddings=True
)

_OPENAI: Final = {
    r"text-embedding-(?:3-small|3-large|ada-002)": _EMBEDDING,
    rf"gpt-5(?:-mini|-nano)?{_DATED}|gpt-5\.[12]{_DATED}": _REASONING,
    rf"gpt-4\.1(?:-mini|-nano)?{_DATED}": _CHAT,
    # JSON schemas came with the snapshot of 2024-08-06.
    r"gpt-4o-2024-05-13": _facts(structured=False),
    rf"gpt-4o(?:-mini)?{_DATED}": _CHAT,
    r"gpt-4-turbo(?:-2024-04-09)?": _facts(structured=False),
    r"gpt-3\.5-turbo(?:-0125|-1106)?": _facts(vision=False, structured=False),
    # The o series calls tools; of parallel calls its pages say nothing certain.
    rf"(?:o1|o3|o4-mini){_DATED}": _facts(parallel=None, reasoning=True),
    rf"o3-mini{_DATED}": _facts(parallel=None, vision=False, reasoning=True),
}

_ANTHROPIC: Final = {
    # Structured outputs: "Claude 4.5 and higher"; thinking: 3.7 and higher.
    rf"claude-(?:(?:opus|sonnet|haiku)-4-5|(?:opus|sonnet)-4-6|opus-4-[78]){_CLAUDE_DATED}": (
        _REASONING
    ),
    rf"claude-(?:opus-5|sonnet-5|fable-5|fable-5-1){_CLAUDE_DATED}": _REASONING,
    rf"claude-(?:opus|sonnet)-4{_CLAUDE_DATED}|claude-opus-4-1{_CLAUDE_DATED}": _facts(
        structured=None, reasoning=True
    ),
    rf"claude-3-7-sonnet{_CLAUDE_DATED}": _facts(structured=False, reasoning=True),
    rf"claude-3(?:-5)?-(?:opus|sonnet|haiku){_CLAUDE_DATED}": _facts(structured=False),
}

_GOOGLE: Final = {
    r"gemini-embedding-001|text-embedding-004": _EMBEDDING,
    rf"gemini-3(?:\.1)?-pro{_GEMINI_DATED}|gemini-3(?:\.5)?-flash{_GEMINI_DATED}": _REASONING,
    rf"gemini-2\.5-(?:pro|flash|flash-lite){_GEMINI_DATED}": _REASONING,
    rf"gemini-2\.0-(?:flash|flash-lite){_GEMINI_DATED}": _CHAT,
    rf"gemini-1\.5-(?:pro|flash){_GEMINI_DATED}": _CHAT,
}

_TABLE: Final = tuple(
    (re.compile(pattern), facts)
    for table in (_OPENAI, _ANTHROPIC, _GOOGLE)
    for pattern, facts in table.items()
)
