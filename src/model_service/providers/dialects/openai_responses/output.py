"""The items of a response's `output`, of which a whole answer and a stream are made alike."""

from secrets import token_hex
from typing import Final

from model_service.providers.chat import (
    Candidate,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from model_service.providers.dialects.openai_responses.thoughts import (
    made_id,
    opened,
    shown_call,
    shown_to_caller,
)
from model_service.providers.translation import Document

IN_PROGRESS: Final = "in_progress"
COMPLETED: Final = "completed"
_INCOMPLETE: Final = "incomplete"

#: Callers read arguments as JSON, so that there have to be some.
NO_ARGUMENTS: Final = "{}"


def output_items(candidate: Candidate) -> list[Document]:
    """The items that a candidate's parts make: texts and refusals in a row are one message."""
    items: list[Document] = []
    content: list[Document] | None = None
    logprobs = candidate.logprobs
    for part in candidate.parts:
        if isinstance(part, Text | Refusal):
            if not part.text:
                continue
            if content is None:
                content = []
                items.append(message_item(new_message_id(), content, COMPLETED))
            _add_part(content, part, logprobs)
            if isinstance(part, Text):
                logprobs = None
            continue
        content = None
        if isinstance(part, Reasoning):
            if part.text or part.signature:
                items.append(thought_item(thought_id(part), part.text, sealing(part)))
        elif isinstance(part, ToolCall):
            if part.signature:
                items.append(thought_item(made_id(), "", shown_call(part.signature)))
            arguments = part.arguments if part.arguments.strip() else NO_ARGUMENTS
            items.append(call_item(new_call_id(), part.id, part.name, arguments, COMPLETED))
    return items


def _add_part(content: list[Document], part: Text | Refusal, logprobs: Document | None) -> None:
    """Add a part to a message, or to its last part, if that is of the same kind."""
    last = content[-1] if content else None
    if isinstance(part, Refusal):
        if last is not None and last["type"] == "refusal":
            last["refusal"] += part.text
        else:
            content.append(refusal_part(part.text))
    elif last is not None and last["type"] == "output_text":
        last["text"] += part.text
    else:
        content.append(text_part(part.text, text_logprobs(logprobs)))


def incomplete_item(item: Document) -> None:
    """Mark the last item of an answer that was cut. Thoughts are always complete."""
    if item["type"] != "reasoning":
        item["status"] = _INCOMPLETE


def new_message_id() -> str:
    """An id for a message."""
    return "msg_" + token_hex(24)


def new_call_id() -> str:
    """An id for the item of a call; the call's own id is another."""
    return "fc_" + token_hex(24)


def thought_id(thought: Reasoning) -> str:
    """The item's own id, where OpenAI gave it one."""
    native = opened(thought.signature)
    return (native and native[0]) or thought.id or made_id()


def sealing(thought: Reasoning) -> str | None:
    """What of a thought the caller has to send back."""
    if thought.signature is None:
        return None
    return shown_to_caller(thought.signature, redacted=thought.redacted)


def message_item(item_id: str, content: list[Document], status: str) -> Document:
    """A message of the model's."""
    return {
        "type": "message",
        "id": item_id,
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, logprobs: list[Document]) -> Document:
    """A text within a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(text: str) -> Document:
    """A refusal within a message."""
    return {"type": "refusal", "refusal": text}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> Document:
    """A call of a function."""
    return {
        "type": "function_call",
        "id": item_id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def thought_item(
    item_id: str, text: str, encrypted: str | None, status: str = COMPLETED
) -> Document:
    """A thought."""
    return {
        "type": "reasoning",
        "id": item_id,
        "summary": [{"type": "summary_text", "text": text}] if text else [],
        "encrypted_content": encrypted,
        "status": status,
    }


def text_logprobs(logprobs: Document | None) -> list[Document]:
    """Log probabilities in this API's form. Whoever gave them may not say the tokens' bytes."""
    entries = logprobs.get("content") if logprobs else None
    if not isinstance(entries, list):
        return []
    written: list[Document] = []
    for entry in entries:
        token = _token(entry)
        if token is not None:
            tops = entry.get("top_logprobs")
            token["top_logprobs"] = (
                [top for found in tops if (top := _token(found)) is not None]
                if isinstance(tops, list)
                else []
            )
            written.append(token)
    return written


def _token(entry: object) -> Document | None:
    if not isinstance(entry, dict):
        return None
    token, logprob, given = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if not isinstance(token, str) or not isinstance(logprob, int | float):
        return None
    if not isinstance(given, list) or not all(isinstance(byte, int) for byte in given):
        given = list(token.encode())
    return {"token": token, "logprob": logprob, "bytes": given}
