"""What a model thought, as chat completions show it and take it back.

OpenAI itself shows nothing of it here. What callers know are the vendors' ways: the bare text as
`reasoning_content` (DeepSeek) or `reasoning`, and OpenRouter's `reasoning_details` with what has
to come back unchanged (https://openrouter.ai/docs/use-cases/reasoning-tokens). The door writes
`reasoning_content` for readers, and `reasoning_details` for the way back.
"""

from typing import Final

from model_service.providers import signatures
from model_service.providers.chat import Document, Part, Reasoning
from model_service.providers.faults import unsupported
from model_service.providers.fields import Fields

#: What this dialect's signatures are marked with.
ORIGIN: Final = "openai_chat"

#: The `format` of the details that the door wrote: their `index` is a place among all parts.
FORMAT: Final = "model-service"

#: Where the kinds of entries that have a text have it.
TEXTS: Final = {"reasoning.text": "text", "reasoning.summary": "summary"}

_Placed = tuple[int | None, Reasoning]


def detail(thought: Reasoning, index: int) -> Document:
    """The entry of `reasoning_details` for a thought that is the part number `index`."""
    signature = thought.signature
    shown = None if signature is None else signatures.shown(signature, ORIGIN)
    item: Document
    if thought.redacted:
        item = {"type": "reasoning.encrypted", "data": shown or ""}
        if thought.text:
            item["text"] = thought.text
    else:
        item = {"type": "reasoning.text", "text": thought.text}
        if shown is not None:
            item["signature"] = shown
    if thought.id is not None:
        item["id"] = thought.id
    item["format"], item["index"] = FORMAT, index
    return item


def read_thoughts(fields: Fields) -> list[_Placed]:
    """What an assistant's message says it thought.

    Raises:
        CallFailed: it is malformed.
    """
    text = fields.text("reasoning_content")
    other = fields.text("reasoning")
    text = text or other
    placed = [_read_detail(item) for item in fields.objects("reasoning_details")]
    if text and not any(thought.text for _, thought in placed):
        placed.insert(0, (None, Reasoning(text)))
    return placed


def _read_detail(item: Fields) -> _Placed:
    kind = item.required_text("type")
    if kind == "reasoning.encrypted":
        text, signature = item.text("text") or "", item.text("data")
    elif kind in TEXTS:
        text, signature = item.text(TEXTS[kind]) or "", item.text("signature")
    else:
        raise unsupported(item.name("type"), f"'{kind[:100]}' is not known")
    thought = Reasoning(
        text,
        signatures.taken(signature, ORIGIN) if signature else None,
        redacted=kind == "reasoning.encrypted",
        id=item.text("id"),
    )
    index = item.raw("index")
    ours = item.text("format") == FORMAT and isinstance(index, int)
    return (index if ours else None), thought


def with_thoughts(placed: list[_Placed], others: list[Part]) -> list[Part]:
    """All parts in their order: the thoughts come first where it is not known."""
    parts: list[Part] = []
    taken = 0
    last = -1
    for index, thought in placed:
        if index is None or index <= last:
            break
        last = index
        while len(parts) < index and taken < len(others):
            parts.append(others[taken])
            taken += 1
        if len(parts) < index:
            break
        parts.append(thought)
    else:
        return parts + others[taken:]
    return [*(thought for _, thought in placed), *others]
