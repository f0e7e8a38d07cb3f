"""Plain calls: nothing is asked for but an answer to turns of text.

Most are, and what is plain takes a short way through a dialect. Each short way gives exactly what
the long one gives, or None where the long one has to be taken; so it never raises.
"""

from typing import Final

from model_service.providers.chat import ChatRequest, Document, Message, Role, Text

_USER: Final = Role.USER
_ASSISTANT: Final = Role.ASSISTANT

_MOST_TOKENS: Final = 2**63


def plain_request(
    model: str,
    messages: list[Message],
    system: list[Text],
    *,
    stream: bool,
    include_usage: bool,
) -> ChatRequest:
    """A request that is plain: each message has one text, no text has a mark for a cache.

    Besides, `max_tokens`, `temperature` and `top_p` may be set. What is not set is the class's,
    which takes a fifth of the time.
    """
    request = ChatRequest.__new__(ChatRequest)
    request.model = model
    request.messages = messages
    request.system = system
    request.stream = stream
    request.include_usage = include_usage
    request.stop = []
    request.tools = []
    request.dropped = []
    request.is_plain = True
    return request


def plain_turns(messages: object, system: list[Text] | None = None) -> list[Message] | None:
    """Turns of one text each; leading instructions go to `system`, where they may be.

    The text stands alone, or as the only block of a list.
    """
    if type(messages) is not list:
        return None
    turns: list[Message] = []
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        text, role = message.get("content"), message.get("role")
        if type(text) is list:
            text = _only_text(text)
        if type(text) is not str or not text:
            return None
        if role == "user":
            turns.append(Message(_USER, [Text(text)]))
        elif role == "assistant":
            turns.append(Message(_ASSISTANT, [Text(text)]))
        elif system is not None and not turns and (role == "system" or role == "developer"):
            system.append(Text(text))
        else:
            return None
    return turns or None


def _only_text(blocks: object) -> object:
    block = only_object(blocks)
    if block is None or len(block) != 2 or block.get("type") != "text":
        return None
    return block.get("text")


def is_count(value: object) -> bool:
    """Whether it is absent, or a number of tokens that every dialect takes."""
    return value is None or (type(value) is int and 0 < value < _MOST_TOKENS)


def is_share(value: object, most: float) -> bool:
    """Whether it is absent, or a number from 0 to `most`."""
    return value is None or ((type(value) is float or type(value) is int) and 0 <= value <= most)


def only_object(value: object) -> Document | None:
    """The one object in a list."""
    if type(value) is not list or len(value) != 1:
        return None
    only = value[0]
    return only if type(only) is dict else None
