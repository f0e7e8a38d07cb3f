"""How the Gemini API answers: whole, or in the chunks of a stream, each of which tells the usage.

Beside what `script` heeds, the last user text may ask for this:

| words in it | effect                                                            |
|-------------|-------------------------------------------------------------------|
| `block`     | the prompt is blocked: no candidates, `promptFeedback` says why   |
| `refuse`    | a candidate without content, `finishReason` `SAFETY`              |
| `recite`    | `finishReason` `RECITATION`                                       |
| `malformed` | `finishReason` `MALFORMED_FUNCTION_CALL`, without content         |
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from model_service.sandbox import script
from model_service.sandbox.delivery import Mark, Piece
from model_service.sandbox.google_models import GoogleModel
from model_service.sandbox.google_rules import items, section
from model_service.sandbox.google_signatures import Content, Part, parts_of, signature

_FINISHES: Final[Mapping[script.Finish, str]] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "stop_sequence": "STOP",
    "refusal": "SAFETY",
}
_OTHER_FINISHES: Final = {"recite": "RECITATION", "malformed": "MALFORMED_FUNCTION_CALL"}
_WITHOUT_CONTENT: Final = frozenset({"SAFETY", "MALFORMED_FUNCTION_CALL"})
_NO_THINKING: Final = frozenset({"MINIMAL"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `steps` are its parts as a stream brings them, `finish` is None if blocked."""

    id: str
    model: str
    steps: Sequence[Part]
    finish: str | None
    candidates: int
    input: int
    cached: int
    output: int
    reasoning: int


def ask(request: Mapping[str, object], model: GoogleModel) -> script.Ask:
    """What a request that was read asks of the script."""
    contents = items(request, "contents")
    config = section(request, "generationConfig")
    calling = section(request, "toolConfig", "functionCallingConfig")
    mode = calling.get("mode", "AUTO")
    allowed = calling.get("allowedFunctionNames")
    tools = [tool for tool in _tools(request) if not allowed or tool.name in _names(allowed)]
    text = _last_text(contents)
    results = [section(part, "functionResponse") for part in _last_results(contents)]
    limit = config.get("maxOutputTokens")
    media = list(_media(contents))
    mime_type = config.get("responseMimeType")
    stops = config.get("stopSequences")
    last = contents[-1] if contents else {}
    begun = "".join(_texts(last)) if last.get("role") == "model" else ""
    return script.Ask(
        text=text,
        turns=len(contents) - bool(begun),
        begun=begun,
        images=sum(kind.startswith("image/") for kind in media),
        files=sum(not kind.startswith("image/") for kind in media),
        tools=tools,
        must_call=mode == "ANY",
        may_call=mode in {"AUTO", "MODE_UNSPECIFIED", "VALIDATED"},
        results=[_result(result) for result in results],
        result_errors=sum("error" in section(result, "response") for result in results),
        schema=config.get("responseSchema", config.get("responseJsonSchema")),
        json=mime_type == "application/json",
        reasoning=model.thinking and _thinks(section(config, "thinkingConfig"), text),
        max_tokens=limit if isinstance(limit, int) else None,
        stop=stops if isinstance(stops, list) else [],
        system="\n".join(_texts(section(request, "systemInstruction"))),
        prompt_text="\n".join(filter(None, _prompt_texts(request))),
    )


def answer(
    request: Mapping[str, object], model: GoogleModel, asked: script.Ask, *, blocked: bool = False
) -> Answer:
    """What the script says to the request; `blocked` is whether it is not let through."""
    reply = script.reply(asked)
    lower = asked.text.lower()
    config = section(request, "generationConfig")
    count = config.get("candidateCount", 1)
    candidates = count if isinstance(count, int) else 1
    finish: str | None = _FINISHES[reply.finish]
    for word, other in _OTHER_FINISHES.items():
        if word in lower and reply.finish == "stop":
            finish = other
    if blocked or "block" in lower:
        finish = None
    steps = list(_steps(reply, request, model)) if finish not in _WITHOUT_CONTENT else []
    output = reply.output_tokens - reply.reasoning_tokens if steps else 0
    return Answer(
        id=secrets.token_urlsafe(16),
        model=model.name,
        steps=steps if finish is not None else [],
        finish=finish,
        candidates=candidates,
        input=reply.input_tokens,
        cached=reply.cached_tokens,
        output=output * candidates if finish is not None else 0,
        reasoning=reply.reasoning_tokens if finish is not None else 0,
    )


def whole(given: Answer) -> dict[str, object]:
    """The answer in one piece."""
    parts = list(_joined(given.steps))
    candidates = [_candidate(given, index, parts, last=True) for index in range(given.candidates)]
    return _response(given, candidates, given.output)


def chunks(given: Answer) -> Iterator[tuple[Mark, dict[str, object]]]:
    """The answer in pieces, each with what it is there for."""
    if given.finish is None:
        yield Mark.FINISH, _response(given, [], 0)
        return
    spent = 0
    for step in given.steps:
        if not step.get("thought"):
            spent += _tokens(step)
        for index in range(given.candidates):
            candidate = _candidate(given, index, [step], last=False)
            yield Mark.CONTENT, _response(given, [candidate], spent * given.candidates)
    for index in range(given.candidates):
        # The end comes with a part of no text, unless there was none at all.
        parts: list[Part] = [{"text": ""}] if given.steps else []
        candidate = _candidate(given, index, parts, last=True)
        yield Mark.FINISH, _response(given, [candidate], given.output)


def sse(data: object) -> bytes:
    """A chunk of a stream of events (`alt=sse`)."""
    return b"data: %s\r\n\r\n" % orjson.dumps(data)


def sse_pieces(given: Answer) -> list[Piece]:
    """The answer as a stream of events. Nothing marks its end."""
    return [Piece(sse(chunk), mark) for mark, chunk in chunks(given)]


def array_pieces(given: Answer) -> list[Piece]:
    """The answer as a JSON array that is sent bit by bit."""
    pieces = [
        Piece(
            (b",\r\n" if number else b"[") + orjson.dumps(chunk, option=orjson.OPT_INDENT_2), mark
        )
        for number, (mark, chunk) in enumerate(chunks(given))
    ]
    return [*pieces, Piece(b"\n]", Mark.DONE)]


def text_chunk(text: str) -> dict[str, object]:
    """A chunk with some text in it."""
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0}]}


def prompt_tokens_details(tokens: int) -> list[dict[str, object]]:
    """Of which kind the tokens of a prompt are; all count as text."""
    return [{"modality": "TEXT", "tokenCount": tokens}]


def _response(given: Answer, candidates: Sequence[object], output: int) -> dict[str, object]:
    usage: dict[str, object] = {
        "promptTokenCount": given.input,
        "cachedContentTokenCount": given.cached,
        "candidatesTokenCount": output,
        "thoughtsTokenCount": given.reasoning,
        "totalTokenCount": given.input + output + given.reasoning,
        "promptTokensDetails": prompt_tokens_details(given.input),
    }
    response: dict[str, object] = {"candidates": candidates}
    if given.finish is None:
        response = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    return {
        **response,
        # What is zero is not told.
        "usageMetadata": {name: value for name, value in usage.items() if value},
        "modelVersion": given.model,
        "responseId": given.id,
    }


def _candidate(
    given: Answer, index: int, parts: Sequence[Part], *, last: bool
) -> dict[str, object]:
    candidate: dict[str, object] = {}
    if given.finish not in _WITHOUT_CONTENT:
        candidate["content"] = {"role": "model", **({"parts": parts} if parts else {})}
    if last:
        candidate["finishReason"] = given.finish
    if last and given.finish == "SAFETY":
        candidate["safetyRatings"] = [
            {
                "category": "HARM_CATEGORY_DANGEROUS_CONTENT",
                "probability": "HIGH",
                "blocked": True,
            }
        ]
    if last and given.finish == "MALFORMED_FUNCTION_CALL":
        candidate["finishMessage"] = "Malformed function call: print(default_api."
    return {**candidate, "index": index}


def _steps(
    reply: script.Reply, request: Mapping[str, object], model: GoogleModel
) -> Iterator[Part]:
    """The parts of an answer as a stream brings them, text bit by bit."""
    number = len(items(request, "contents"))
    config = section(request, "generationConfig")
    if section(config, "thinkingConfig").get("includeThoughts"):
        for bit in script.fragments(reply.reasoning or ""):
            yield {"text": bit, "thought": True}
    text = reply.text or ""
    if text and config.get("responseMimeType") == "text/x.enum":
        text = str(orjson.loads(text)) if reply.finish == "stop" else text
    for bit in script.fragments(text):
        yield {"text": bit}
    if text and not reply.calls and model.signs:
        yield {"text": "", "thoughtSignature": signature("", number)}
    # A call that was cut is no call: none comes in bits.
    calls = reply.calls[:-1] if reply.finish == "length" else reply.calls
    for place, call in enumerate(calls):
        made: dict[str, object] = {"name": call.name, "args": call.arguments}
        if model.call_ids:
            made["id"] = secrets.token_hex(4)
        part: dict[str, object] = {"functionCall": made}
        if place == 0 and model.signs:
            part["thoughtSignature"] = signature(call.name, number)
        yield part


def _joined(steps: Sequence[Part]) -> Iterator[Part]:
    """The parts of a whole answer: neighbouring bits of text are one part."""
    pending: dict[str, object] | None = None
    for step in steps:
        if pending is not None and "text" in step and _same_kind(pending, step):
            pending = {**pending, **step, "text": f"{pending['text']}{step['text']}"}
            continue
        if pending is not None:
            yield pending
        pending = None
        if "text" in step:
            pending = dict(step)
        else:
            yield step
    if pending is not None:
        yield pending


def _same_kind(one: Part, other: Part) -> bool:
    return bool(one.get("thought")) == bool(other.get("thought"))


def _tokens(step: Part) -> int:
    call = section(step, "functionCall")
    if call:
        return script.count(orjson.dumps(call["args"]).decode())
    return script.count(str(step.get("text", "")))


def _tools(request: Mapping[str, object]) -> list[script.ToolOffer]:
    return [
        script.ToolOffer(
            str(function.get("name")),
            function.get("parameters", function.get("parametersJsonSchema")),
        )
        for tool in items(request, "tools")
        for function in items(tool, "functionDeclarations")
    ]


def _names(allowed: object) -> list[object]:
    return allowed if isinstance(allowed, list) else []


def _thinks(config: Mapping[str, object], text: str) -> bool:
    """Whether the answer begins with thinking.

    It does where thinking is set up, and not turned down; elsewhere where the text says
    `think`, and the rest counts as too simple to think about.
    """
    if not config:
        return "think" in text.lower()
    return config.get("thinkingLevel") not in _NO_THINKING and config.get("thinkingBudget") != 0


def _texts(content: Content) -> list[str]:
    return [str(part["text"]) for part in parts_of(content) if "text" in part]


def _last_text(contents: Sequence[Content]) -> str:
    """The text of the last content of the user's that has any."""
    for content in reversed(contents):
        texts = _texts(content)
        if content.get("role", "user") != "model" and texts:
            return "\n".join(texts)
    return ""


def _last_results(contents: Sequence[Content]) -> list[Part]:
    return [part for part in parts_of(contents[-1]) if "functionResponse" in part]


def _result(result: Mapping[str, object]) -> str:
    """What a tool said, out of the object it has to say it in."""
    response = section(result, "response")
    if len(response) == 1:
        value = next(iter(response.values()))
        if isinstance(value, str):
            return value
    return orjson.dumps(response).decode()


def _media(contents: Sequence[Content]) -> Iterator[str]:
    for content in contents:
        for part in parts_of(content):
            inner = items(section(part, "functionResponse"), "parts")
            for holder in (part, *inner):
                for name in ("inlineData", "fileData"):
                    if name in holder:
                        yield str(section(holder, name).get("mimeType", ""))


def _prompt_texts(request: Mapping[str, object]) -> Iterator[str]:
    yield from _texts(section(request, "systemInstruction"))
    for tool in items(request, "tools"):
        yield orjson.dumps(tool).decode()
    for content in items(request, "contents"):
        for part in parts_of(content):
            if "text" in part:
                yield str(part["text"])
            for name in ("functionCall", "functionResponse"):
                if name in part:
                    inner = section(part, name)
                    shown = {
                        key: inner[key] for key in ("name", "args", "response") if key in inner
                    }
                    yield orjson.dumps(shown).decode()
