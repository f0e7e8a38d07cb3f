"""The request with which another model goes on with an answer that was cut."""

from dataclasses import replace
from typing import Final

from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.types import Provider
from model_service.providers.chat import ChatRequest, Choice, Message, Role, Text
from model_service.providers.translation import ChatUpstream

#: The least text, in characters, that is worth going on from. It is also long enough that a
#: continuation which begins with all of it is a repetition.
LEAST_TEXT: Final = 16
#: Characters to a token, for what no provider has counted: OpenAI's and Google's own rule of
#: thumb for English; most other text has fewer.
CHARACTERS_PER_TOKEN: Final = 4
#: What `providerSettings` says to have a model go on from a beginning, or never.
PREFILL: Final = "prefill"


def continuation(
    request: ChatRequest, text: str, upstream: ChatUpstream, model: SnapshotModel
) -> ChatRequest | None:
    """The request with the beginning of its answer, without the blanks at the end of that.

    None where the model does not go on from one, or where that would not give one answer: an
    answer in a form begins its form anew, and a call that has to come would not come.
    """
    begun = text.rstrip()
    if len(begun) < LEAST_TEXT or not takes_prefill(request, upstream, model):
        return None
    messages = list(request.messages)
    if messages and messages[-1].role is Role.ASSISTANT:
        messages[-1] = _extended(messages[-1], begun)
    else:
        messages.append(Message(Role.ASSISTANT, [Text(begun)]))
    most = request.max_tokens
    if most is not None:
        most = max(1, most - len(begun) // CHARACTERS_PER_TOKEN)
    return replace(request, messages=messages, max_tokens=most)


def takes_prefill(request: ChatRequest, upstream: ChatUpstream, model: SnapshotModel) -> bool:
    """Whether the model goes on from the beginning of an answer to such a request."""
    choice = request.tool_choice
    if request.output is not None or (
        choice is not None and choice.kind in (Choice.REQUIRED, Choice.NAMED)
    ):
        return False
    told = model.target.settings.get(PREFILL)
    if isinstance(told, bool):
        return told
    if model.vendor is not None and model.vendor.takes_prefix:
        return True
    return upstream.takes_prefill(request, model.target)


def may_echo(model: SnapshotModel) -> bool:
    """Whether the model's provider may repeat the beginning before it goes on."""
    return model.provider is Provider.CUSTOM


def _extended(message: Message, text: str) -> Message:
    """The caller's own beginning with what the first model added to it."""
    *before, last = message.parts or [Text("")]
    if isinstance(last, Text):
        return replace(message, parts=[*before, replace(last, text=last.text + text)])
    return replace(message, parts=[*before, last, Text(text)])
