"""POST /v1/responses: what was asked, and the answer as one object.

Formats after https://developers.openai.com/api/reference/resources/responses.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_service.sandbox import openai_items as inputs
from model_service.sandbox.openai_chat import Spent
from model_service.sandbox.openai_items import Item
from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_responses_rules import effort
from model_service.sandbox.openai_wire import identifier, token_logprobs
from model_service.sandbox.script import Ask, Reply, ToolOffer

Body = Mapping[str, Any]  # Any: a wire edge, of a shape that was checked
Json = dict[str, Any]  # Any: JSON on its way out, which Azure adds to

_ID_LENGTH = 48


def ask(body: Body, items: Sequence[Item], can: Abilities) -> Ask:
    """The request as the stand-ins' mind reads it."""
    choice = body.get("tool_choice", "auto")
    kind = choice if isinstance(choice, str) else choice["type"]
    tools = body.get("tools") or []
    if kind == "allowed_tools":
        kind = choice["mode"]
        names = {tool["name"] for tool in choice["tools"]}
        tools = [tool for tool in tools if tool["name"] in names]
    form = (body.get("text") or {}).get("format") or {}
    instructions = body.get("instructions") or ""
    system = "\n".join(one for one in (instructions, *inputs.instructions(items)) if one)
    parallel = body.get("parallel_tool_calls")
    return Ask(
        text=inputs.said_last(items),
        turns=inputs.turns(items),
        images=inputs.count(items, "input_image"),
        files=inputs.count(items, "input_file"),
        tools=[ToolOffer(tool["name"], tool.get("parameters")) for tool in tools],
        must_call=kind == "required",
        only_tool=choice["name"] if kind == "function" else None,
        may_call=kind == "auto",
        parallel=True if parallel is None else parallel,
        results=inputs.last_results(items),
        schema=form.get("schema"),
        json=form.get("type") == "json_object",
        reasoning=effort(body, can) not in {"none", "minimal"},
        max_tokens=body.get("max_output_tokens"),
        system=system,
        prompt_text="\n".join((instructions, inputs.prompt(items, body.get("tools") or []))),
    )


@dataclass(slots=True)
class Answer:
    """One answer of the Responses API.

    `model` is the snapshot that gives it, `sealed` the thought for it to be sent back,
    `filtered` whether a filter cut it off.
    """

    body: Body
    model: str
    can: Abilities
    reply: Reply
    spent: Spent
    sealed: str | None = None
    filtered: bool = False
    id: str = field(default_factory=lambda: identifier("resp_", _ID_LENGTH))
    created: int = field(default_factory=lambda: int(time.time()))
    output: list[Json] = field(init=False)

    def __post_init__(self) -> None:
        self.output = self._items()

    @property
    def incomplete(self) -> bool:
        """Whether the answer was cut."""
        return self.filtered or self.reply.finish == "length"

    @property
    def stored(self) -> bool:
        """Whether the response is kept."""
        return self.body.get("store") is not False

    def begun(self) -> Json:
        """The response before anything of the answer is there."""
        tier = self.body.get("service_tier") or "auto"
        return {**self._head(), "status": "in_progress", "service_tier": tier}

    def failed(self, message: str) -> Json:
        """The response when the provider failed in the middle."""
        error = {"code": "server_error", "message": message}
        return {**self._head(), "status": "failed", "error": error}

    def whole(self) -> Json:
        """The response with the whole answer."""
        asked = self.body.get("service_tier")
        priority = asked in {"priority", "fast"}
        reason = {"reason": "content_filter" if self.filtered else "max_output_tokens"}
        return {
            **self._head(),
            "status": "incomplete" if self.incomplete else "completed",
            "completed_at": None if self.incomplete else int(time.time()),
            "incomplete_details": reason if self.incomplete else None,
            "output": self.output,
            "service_tier": "priority" if priority else "flex" if asked == "flex" else "default",
            "usage": self._usage(),
        }

    def _head(self) -> Json:
        body, can = self.body, self.can
        form = body.get("text") or {}
        parallel = body.get("parallel_tool_calls")
        reasoning = body.get("reasoning") or {}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": "completed",
            "background": False,
            "completed_at": None,
            "error": None,
            "frequency_penalty": 0.0,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": body.get("max_tool_calls"),
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True if parallel is None else parallel,
            "presence_penalty": 0.0,
            "previous_response_id": body.get("previous_response_id"),
            "prompt_cache_key": body.get("prompt_cache_key"),
            "prompt_cache_retention": body.get("prompt_cache_retention"),
            "reasoning": {
                "effort": effort(body, can) if can.reasons else None,
                "summary": reasoning.get("summary"),
            },
            "safety_identifier": body.get("safety_identifier"),
            "service_tier": "default",
            "store": self.stored,
            "temperature": body.get("temperature") or 1.0,
            "text": {
                "format": _form(form.get("format") or {"type": "text"}),
                "verbosity": form.get("verbosity") or "medium",
            },
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": [_tool(tool) for tool in body.get("tools") or ()],
            "top_logprobs": body.get("top_logprobs") or 0,
            "top_p": body.get("top_p") or 1.0,
            "truncation": body.get("truncation") or "disabled",
            "usage": None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }

    def _items(self) -> list[Json]:
        reply = self.reply
        items: list[Json] = []
        if reply.reasoning is not None:
            items.append(self._thought(reply.reasoning))
        if reply.refusal is not None:
            items.append(self._message({"type": "refusal", "refusal": reply.refusal}))
        elif reply.text is not None:
            logprobs = token_logprobs(reply.text, self._top()) if self._wants_logprobs() else []
            items.append(
                self._message(
                    {
                        "type": "output_text",
                        "annotations": [],
                        "logprobs": logprobs,
                        "text": reply.text,
                    }
                )
            )
        items.extend(
            {
                "id": identifier("fc_", _ID_LENGTH),
                "type": "function_call",
                "status": "completed",
                "arguments": call.text,
                "call_id": identifier("call_"),
                "name": call.name,
            }
            for call in reply.calls
        )
        if self.incomplete and items and "status" in items[-1]:
            items[-1]["status"] = "incomplete"
        return items

    def _thought(self, thought: str) -> Json:
        shown = (self.body.get("reasoning") or {}).get("summary") is not None
        summary = [{"type": "summary_text", "text": thought}] if shown else []
        item: Json = {
            "id": identifier("rs_", _ID_LENGTH),
            "type": "reasoning",
            "summary": summary,
        }
        if self.sealed is not None:
            item["encrypted_content"] = self.sealed
        return item

    def _message(self, part: Json) -> Json:
        return {
            "id": identifier("msg_", _ID_LENGTH),
            "type": "message",
            "status": "completed",
            "content": [part],
            "role": "assistant",
        }

    def _wants_logprobs(self) -> bool:
        include = self.body.get("include") or ()
        return "message.output_text.logprobs" in include or self._top() > 0

    def _top(self) -> int:
        return self.body.get("top_logprobs") or 0

    def _usage(self) -> Json:
        spent = self.spent
        return {
            "input_tokens": spent.prompt,
            "input_tokens_details": {
                "cache_write_tokens": spent.written,
                "cached_tokens": spent.cached,
            },
            "output_tokens": spent.completion,
            "output_tokens_details": {"reasoning_tokens": spent.reasoning},
            "total_tokens": spent.prompt + spent.completion,
        }


def _form(form: Json) -> Json:
    if form["type"] != "json_schema":
        return form
    return {"description": None, "strict": False, **form}


def _tool(tool: Mapping[str, Any]) -> Json:
    return {"description": None, "strict": True, "parameters": None, **tool}
