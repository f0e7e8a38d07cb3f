"""Chats as Ollama holds them: whole, or line by line."""

import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import orjson

from model_service.sandbox import script
from model_service.sandbox.delivery import Mark, Piece
from model_service.sandbox.ollama_models import OllamaModel
from model_service.sandbox.ollama_rules import items, mapping

_FINISHES: Final[Mapping[script.Finish, str]] = {"length": "length"}
_LOGPROB: Final = -0.25


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a chat; `model` is the name it was asked by."""

    model: str
    reply: script.Reply
    logprobs: int | None


def ask(fields: Mapping[str, object], model: OllamaModel) -> script.Ask:
    """What a chat asks of the script."""
    messages = [mapping(message) for message in items(fields, "messages")]
    options = mapping(fields.get("options"))
    limit, stops = options.get("num_predict"), options.get("stop")
    shape = fields.get("format")
    last_call = max(
        (at for at, message in enumerate(messages) if message.get("role") == "assistant"),
        default=-1,
    )
    results = [message for message in messages[last_call + 1 :] if message.get("role") == "tool"]
    if messages and messages[-1].get("role") != "tool":
        results = []
    text = next(
        (str(said.get("content", "")) for said in reversed(messages) if said.get("role") == "user"),
        "",
    )
    think = fields.get("think")
    thinks = bool(think) if think is not None else "think" in text.lower()
    begun = ""
    if messages and messages[-1].get("role") == "assistant":
        begun = str(messages[-1].get("content", ""))
    turns = sum(message.get("role") in {"user", "assistant", "tool"} for message in messages)
    return script.Ask(
        text=text,
        turns=turns - bool(begun),
        begun=begun,
        images=sum(len(items(message, "images")) for message in messages),
        tools=[_offer(mapping(tool)) for tool in items(fields, "tools")],
        may_call=True,
        results=[str(result.get("content", "")) for result in results],
        schema=shape if isinstance(shape, Mapping) else None,
        json=shape == "json",
        reasoning=thinks and "thinking" in model.capabilities,
        max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
        stop=[str(stop) for stop in stops] if isinstance(stops, list) else [],
        system="\n".join(
            str(message.get("content", ""))
            for message in messages
            if message.get("role") == "system"
        ),
        prompt_text="\n".join(filter(None, _prompt_texts(fields, messages))),
    )


def answer(
    fields: Mapping[str, object], model: OllamaModel, name: str, *, filtered: bool = False
) -> Answer:
    """What is said to a chat that asks for a model by this name; no more than no if filtered."""
    top = fields.get("top_logprobs", 0)
    wanted = fields.get("logprobs") is True
    asked = ask(fields, model)
    return Answer(
        model=name,
        reply=script.reply(replace(asked, text="refuse") if filtered else asked),
        logprobs=top if wanted and isinstance(top, int) else None,
    )


def whole(given: Answer) -> dict[str, object]:
    """The answer in one piece."""
    reply = given.reply
    message: dict[str, object] = {"role": "assistant", "content": _content(reply)}
    if reply.reasoning:
        message["thinking"] = reply.reasoning
    if _calls(reply):
        message["tool_calls"] = [_call(call, at) for at, call in enumerate(_calls(reply))]
    tokens = script.fragments(_content(reply))
    logprobs = [one for token in tokens for one in _logprobs(token, given)]
    told = {"logprobs": logprobs} if logprobs else {}
    return {**_line(given, message), **_end(reply), **told}


def pieces(given: Answer) -> Iterator[Piece]:
    """The answer line by line; the last one says how it ended and what it took."""
    reply = given.reply
    for bit in script.fragments(reply.reasoning or ""):
        yield _piece(_line(given, {"role": "assistant", "content": "", "thinking": bit}))
    for token in script.fragments(_content(reply)):
        line = _line(given, {"role": "assistant", "content": token})
        logprobs = _logprobs(token, given)
        yield _piece({**line, "logprobs": logprobs} if logprobs else line)
    for at, call in enumerate(_calls(reply)):
        message = {"role": "assistant", "content": "", "tool_calls": [_call(call, at)]}
        yield _piece(_line(given, message))
    last = {**_line(given, {"role": "assistant", "content": ""}), **_end(reply)}
    yield _piece(last, Mark.FINISH)


def empty(name: str, reason: str) -> dict[str, object]:
    """The answer to a chat without messages, which loads a model or throws it out."""
    message = {"role": "assistant", "content": ""}
    return {
        "model": name,
        "created_at": _now(),
        "message": message,
        "done": True,
        "done_reason": reason,
    }


def text_line(model: str, text: str) -> bytes:
    """A line with some text in it."""
    message = {"role": "assistant", "content": text}
    line = {"model": model, "created_at": _now(), "message": message, "done": False}
    return orjson.dumps(line) + b"\n"


def _piece(line: Mapping[str, object], mark: Mark = Mark.CONTENT) -> Piece:
    return Piece(orjson.dumps(line) + b"\n", mark)


def _line(given: Answer, message: Mapping[str, object]) -> dict[str, object]:
    return {
        "model": given.model,
        "created_at": _now(),
        "message": message,
        "done": False,
    }


def _end(reply: script.Reply) -> dict[str, object]:
    """How an answer ended; durations are in nanoseconds, and what is zero is left out."""
    end: dict[str, object] = {
        "done": True,
        "done_reason": _FINISHES.get(reply.finish, "stop"),
        "total_duration": 512_340_167,
        "load_duration": 101_250_334,
        "prompt_eval_count": reply.input_tokens,
        "prompt_eval_duration": 98_417_000,
        "eval_count": reply.output_tokens,
        "eval_duration": 301_772_500,
    }
    return {name: value for name, value in end.items() if value}


def _content(reply: script.Reply) -> str:
    """The text of an answer. A refusal is no more than what the model says."""
    return reply.refusal or reply.text or ""


def _calls(reply: script.Reply) -> Sequence[script.Call]:
    """The calls of an answer; one that was cut could not be read and is none."""
    return reply.calls[:-1] if reply.finish == "length" else reply.calls


def _call(call: script.Call, at: int) -> dict[str, object]:
    letters = string.ascii_lowercase + string.digits
    identifier = "".join(secrets.choice(letters) for _ in range(8))
    return {
        "id": f"call_{identifier}",
        "function": {"index": at, "name": call.name, "arguments": call.arguments},
    }


def _logprobs(token: str, given: Answer) -> list[dict[str, object]]:
    if given.logprobs is None:
        return []
    told: dict[str, object] = {
        "token": token,
        "logprob": _LOGPROB,
        "bytes": list(token.encode("utf-8", "surrogatepass")),
    }
    if given.logprobs:
        told["top_logprobs"] = [dict(told)]
    return [told]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _offer(tool: Mapping[str, object]) -> script.ToolOffer:
    function = mapping(tool.get("function"))
    return script.ToolOffer(str(function.get("name", "")), function.get("parameters"))


def _prompt_texts(
    fields: Mapping[str, object], messages: Sequence[Mapping[str, object]]
) -> Iterator[str]:
    for tool in items(fields, "tools"):
        yield orjson.dumps(tool).decode()
    for message in messages:
        yield str(message.get("content", ""))
        for call in items(message, "tool_calls"):
            yield orjson.dumps(mapping(call).get("function")).decode()
