"""How the Messages API answers: a message, or the events of one.

Beside what `script` heeds, the last user text may ask for this:

| words in it | effect                                                     |
|-------------|------------------------------------------------------------|
| `redact`    | a redacted thinking block after the thinking, where it thinks |
| `pause`     | `stop_reason` `pause_turn`                                 |
| `overflow`  | `stop_reason` `model_context_window_exceeded`              |
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from model_service.sandbox import script
from model_service.sandbox.anthropic_cache import CacheUse, placed
from model_service.sandbox.anthropic_models import AnthropicModel
from model_service.sandbox.anthropic_rules import Block, MessageRequest, blocks_of
from model_service.sandbox.anthropic_thinking import Thought, Trail, digest, shows, thinks
from model_service.sandbox.delivery import Mark, Piece

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_REDACTED: Final = "Something about which nothing is told."
_STOP_REASONS: Final[Mapping[script.Finish, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}


def identifier(prefix: str, length: int) -> str:
    """A name as the API makes them up."""
    return prefix + "".join(secrets.choice(_BASE58) for _ in range(length))


@dataclass(frozen=True, slots=True)
class _Said:
    """A block of an answer; `raw` is the JSON of a call's arguments, cut if the answer was."""

    block: dict[str, object]
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with all that is told of it. A refused one is not billed."""

    id: str
    model: str
    said: list[_Said]
    stop_reason: str
    stop_sequence: str | None
    refused: bool
    input: int
    cache: CacheUse
    output: int
    reasoning: int


def ask(request: MessageRequest, model: AnthropicModel) -> script.Ask:
    """What the request asks of the script."""
    choice = request.section("tool_choice")
    kind = choice.get("type", "auto")
    text = _last_text(request)
    results = _results(request)
    schema = request.section("output_config").get("format")
    stops = request.body.get("stop_sequences")
    kinds = [str(block.get("type")) for block in _all_blocks(request)]
    begun = _begun(request)
    return script.Ask(
        text=text,
        turns=sum(turn.role != "system" for turn in request.turns) - bool(begun),
        begun=begun,
        images=kinds.count("image"),
        files=kinds.count("document"),
        tools=[
            script.ToolOffer(str(tool.get("name")), tool.get("input_schema"))
            for tool in request.tools
        ],
        must_call=kind == "any",
        only_tool=str(choice["name"]) if kind == "tool" else None,
        may_call=kind == "auto",
        parallel=not choice.get("disable_parallel_tool_use"),
        results=[_text_of(result) for result in results],
        result_errors=sum(bool(result.get("is_error")) for result in results),
        schema=schema["schema"] if isinstance(schema, Mapping) else None,
        reasoning=thinks(request, model, text.lower()),
        max_tokens=request.max_tokens,
        stop=stops if isinstance(stops, list) else [],
        system="\n".join(_system_texts(request)),
        prompt_text="\n".join(filter(None, _prompt_texts(request))),
    )


def tokens_upto(request: MessageRequest) -> list[int]:
    """How many tokens there are up to the end of each block, in the order of the cache."""
    counts: list[int] = []
    total = 0
    for block, text in zip(_placed_blocks(request), _prompt_texts(request), strict=True):
        media = sum(part.get("type") in {"image", "document"} for part in _with_inner(block))
        total += script.count(text) + script.MEDIA_TOKENS * media
        counts.append(total)
    return counts


def answer(
    request: MessageRequest, model: AnthropicModel, asked: script.Ask, cache: CacheUse
) -> Answer:
    """What the script says to the request."""
    reply = script.reply(asked)
    lower = asked.text.lower()
    stop_reason = _STOP_REASONS[reply.finish]
    if reply.finish == "stop" and "pause" in lower:
        stop_reason = "pause_turn"
    if reply.finish == "stop" and "overflow" in lower:
        stop_reason = "model_context_window_exceeded"
    if cache == CacheUse() and reply.cached_tokens:
        cache = CacheUse(read=reply.cached_tokens)
    cached = cache.read + cache.write_5m + cache.write_1h
    return Answer(
        id=identifier("msg_01", 22),
        model=model.id,
        said=[] if reply.refusal else list(_said(reply, request, model, lower)),
        stop_reason=stop_reason,
        stop_sequence=reply.stop_sequence,
        refused=reply.refusal is not None,
        input=max(0, reply.input_tokens - cached),
        cache=cache,
        output=reply.output_tokens,
        reasoning=reply.reasoning_tokens,
    )


def message(given: Answer) -> dict[str, object]:
    """The answer as a message."""
    return {
        "id": given.id,
        "type": "message",
        "role": "assistant",
        "model": given.model,
        "content": [said.block for said in given.said],
        "stop_reason": given.stop_reason,
        "stop_sequence": given.stop_sequence,
        "stop_details": _stop_details(given),
        "usage": _usage(given, given.output),
    }


def events(given: Answer) -> Iterator[Piece]:
    """The answer as the events of a stream."""
    start = {**message(given), "content": [], "stop_reason": None, "stop_sequence": None}
    # One token is told at the start, of which the totals at the end are no sum.
    start |= {"stop_details": None, "usage": _usage(given, 1)}
    yield _event("message_start", Mark.OPENING, message=start)
    for index, said in enumerate(given.said):
        block, deltas = _opening(said)
        mark = Mark.CONTENT if index else Mark.OPENING
        yield _event("content_block_start", mark, index=index, content_block=block)
        if index == 0:
            yield _event("ping", Mark.OPENING)
        for delta in deltas:
            yield _event("content_block_delta", Mark.CONTENT, index=index, delta=delta)
        yield _event("content_block_stop", Mark.CONTENT, index=index)
    delta = {
        "stop_reason": given.stop_reason,
        "stop_sequence": given.stop_sequence,
        "stop_details": _stop_details(given),
    }
    usage = _usage(given, given.output)
    for name in ("service_tier", "inference_geo", "cache_creation"):
        del usage[name]
    yield _event("message_delta", Mark.FINISH, delta=delta, usage=usage)
    yield _event("message_stop", Mark.DONE)


def text_event(text: str) -> bytes:
    """An event with some text in it."""
    delta = {"type": "text_delta", "text": text}
    return _event("content_block_delta", Mark.CONTENT, index=0, delta=delta).data


def _event(kind: str, mark: Mark, **fields: object) -> Piece:
    data = orjson.dumps({"type": kind, **fields})
    return Piece(b"event: %s\ndata: %s\n\n" % (kind.encode(), data), mark)


def _opening(said: _Said) -> tuple[dict[str, object], list[dict[str, object]]]:
    """A block as it opens, and what fills it."""
    block = said.block
    match block["type"]:
        case "text":
            parts = script.fragments(str(block["text"]))
            return {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in parts]
        case "thinking":
            parts = script.fragments(str(block["thinking"])) or [""]
            deltas: list[dict[str, object]] = [
                {"type": "thinking_delta", "thinking": part} for part in parts
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        case "tool_use":
            # The first delta is empty; a call without arguments has no other.
            parts = [] if said.raw == "{}" else script.json_fragments(said.raw)
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in ("", *parts)
            ]
        case _:
            return block, []


def _stop_details(given: Answer) -> dict[str, object] | None:
    if not given.refused:
        return None
    return {"type": "refusal", "category": None, "explanation": script.REFUSAL}


def _usage(given: Answer, output: int) -> dict[str, object]:
    return {
        "input_tokens": given.input,
        "cache_creation_input_tokens": given.cache.write_5m + given.cache.write_1h,
        "cache_read_input_tokens": given.cache.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": given.cache.write_5m,
            "ephemeral_1h_input_tokens": given.cache.write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": min(given.reasoning, output)},
        "service_tier": "standard",
        "inference_geo": "global",
    }


def _said(
    reply: script.Reply, request: MessageRequest, model: AnthropicModel, lower: str
) -> Iterator[_Said]:
    trail = Trail(request)
    for turn in request.turns:
        for block in turn.blocks:
            trail.add(turn.role, block)
    shown = shows(request, model)
    for said in _blocks(reply, trail, model, lower, shown=shown):
        trail.add("assistant", said.block)
        yield said


def _blocks(
    reply: script.Reply, trail: Trail, model: AnthropicModel, lower: str, *, shown: bool
) -> Iterator[_Said]:
    if reply.reasoning is not None:
        yield _thinking(reply.reasoning, trail, model, shown=shown)
        if "redact" in lower:
            yield _redacted(trail, model)
    if reply.text:
        note = reply.reasoning is not None and reply.calls and model.notes
        if note:
            yield _thinking(reply.text, trail, model, shown=shown)
        else:
            yield _Said({"type": "text", "text": reply.text})
    for call in reply.calls:
        cut = reply.finish == "length" and call is reply.calls[-1]
        yield _Said(
            {
                "type": "tool_use",
                "id": identifier("toolu_01", 22),
                "name": call.name,
                "input": {} if cut else call.arguments,
            },
            call.text,
        )


def _thinking(text: str, trail: Trail, model: AnthropicModel, *, shown: bool) -> _Said:
    thought = _thought(text, trail, model, shown=shown, redacted=False)
    shown_text = text if shown else ""
    return _Said({"type": "thinking", "thinking": shown_text, "signature": thought.sign()})


def _redacted(trail: Trail, model: AnthropicModel) -> _Said:
    thought = _thought(_REDACTED, trail, model, shown=False, redacted=True)
    return _Said({"type": "redacted_thinking", "data": thought.sign()})


def _thought(
    text: str, trail: Trail, model: AnthropicModel, *, shown: bool, redacted: bool
) -> Thought:
    prefix = trail.prefix
    return Thought(
        model=model.id,
        text=digest(text),
        shown=shown,
        redacted=redacted,
        system=prefix.system,
        tools=prefix.tools,
        messages=prefix.messages,
        previous=trail.previous,
    )


def _last_text(request: MessageRequest) -> str:
    """The text of the last user turn that has any."""
    for turn in reversed(request.turns):
        texts = [str(block["text"]) for block in turn.blocks if block.get("type") == "text"]
        if turn.role == "user" and texts:
            return "\n".join(texts)
    return ""


def _begun(request: MessageRequest) -> str:
    """The beginning of the answer, if that is the last turn."""
    last = request.turns[-1] if request.turns else None
    if last is None or last.role != "assistant":
        return ""
    return "".join(str(block.get("text", "")) for block in last.blocks)


def _results(request: MessageRequest) -> list[Block]:
    """The results of tools in the last turn, if it is the user's."""
    turns = [turn for turn in request.turns if turn.role != "system"]
    if not turns or turns[-1].role != "user":
        return []
    return [block for block in turns[-1].blocks if block.get("type") == "tool_result"]


def _with_inner(block: Block) -> list[Block]:
    """A block, and the blocks in it if it is a result."""
    inner = blocks_of(block.get("content")) if block.get("type") == "tool_result" else []
    return [block, *inner]


def _all_blocks(request: MessageRequest) -> list[Block]:
    return [part for block in request.blocks for part in _with_inner(block)]


def _system_texts(request: MessageRequest) -> list[str]:
    turns = (turn.blocks for turn in request.turns if turn.role == "system")
    return [str(block.get("text", "")) for blocks in (request.system, *turns) for block in blocks]


def _placed_blocks(request: MessageRequest) -> Iterator[Block]:
    return (block for _, block in placed(request))


def _prompt_texts(request: MessageRequest) -> list[str]:
    return [_text_of(block) for block in _placed_blocks(request)]


def _text_of(block: Block) -> str:
    """All text of a block that is put before the model."""
    match block.get("type"):
        case "text":
            return str(block["text"])
        case "tool_use":
            return f"{block['name']} {orjson.dumps(block['input']).decode()}"
        case "tool_result" | "search_result":
            return "\n".join(_text_of(part) for part in blocks_of(block.get("content")))
        case "document":
            source = block.get("source")
            plain = isinstance(source, Mapping) and source.get("type") == "text"
            return str(source["data"]) if plain and isinstance(source, Mapping) else ""
        case "image" | "thinking" | "redacted_thinking":
            return ""
        case _:
            schema = orjson.dumps(block.get("input_schema", {})).decode()
            return f"{block.get('name')} {block.get('description', '')} {schema}"
