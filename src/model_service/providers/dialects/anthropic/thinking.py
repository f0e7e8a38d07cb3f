"""How a model is asked to think, and with what it samples.

Models up to 4.5 think with a budget, those from 4.7 on as much as they find right at an effort,
and those between in either way (`models`). A request that asks in the other way is translated:

    effort      none  minimal    low  medium    high   xhigh     max
    asked as     off      low    low  medium    high   xhigh     max
    budget         0    1,024  2,048   8,192  16,384  32,768  32,768

and a budget to the lowest effort whose budget is not smaller. The API wants a budget below
`max_tokens`, which covers thoughts as well. Where the caller did not say `max_tokens`, it is
raised. Where it did, a budget that stands for an effort is cut to half of it.
"""

from typing import Final

from model_service.providers.chat import ChatRequest, Effort, ReasoningRequest
from model_service.providers.dialects.anthropic.models import DISABLED, Traits
from model_service.providers.dialects.anthropic.wire import LEAST_BUDGET
from model_service.providers.translation import Document, Notes

_BUDGETS: Final = {
    Effort.MINIMAL: LEAST_BUDGET,
    Effort.LOW: 2048,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 16_384,
    Effort.XHIGH: 32_768,
    Effort.MAX: 32_768,
}
_EFFORTS: Final = (Effort.LOW, Effort.MEDIUM, Effort.HIGH, Effort.XHIGH)

# The default of the API is 0.99, of others 1: both take in everything.
_ALL: Final = 0.99
# What the API lets top_p be beside thinking.
_LEAST_BESIDE_THINKING: Final = 0.95


def add_thinking(body: Document, request: ChatRequest, traits: Traits, notes: Notes) -> None:
    """Add `thinking` and `output_config.effort`; raise `max_tokens` where the caller was silent."""
    asked = request.reasoning
    if asked is None:
        return
    if asked.effort is Effort.NONE or asked.budget == 0:
        _turn_off(body, traits, notes)
        return
    wanted = asked.adaptive or asked.effort is not None or asked.budget is not None
    if not wanted and not traits.thinks:
        return  # there are no thoughts that could be shown
    if not traits.budget and not traits.adaptive:
        notes.refuse("reasoning", "this model does not think")
    elif traits.budget and (asked.budget or 0) > 0:
        _add_budget(body, max(asked.budget or 0, LEAST_BUDGET), request, notes)
    elif traits.adaptive:
        body["thinking"] = {"type": "adaptive"}
        effort = asked.effort or _effort_for(asked.budget)
        if effort is not None:
            body["output_config"] = {"effort": traits.effort(effort).value}
    else:
        _add_budget_for(body, asked.effort or Effort.MEDIUM, request, notes)
    if "thinking" in body:
        _show(body["thinking"], asked, traits, notes)


def _turn_off(body: Document, traits: Traits, notes: Notes) -> None:
    if traits.off is None:
        notes.refuse("reasoning", "this model cannot do without thinking")
    elif traits.off != DISABLED or traits.budget or traits.adaptive:
        body["thinking"] = {"type": traits.off}


def _add_budget(body: Document, budget: int, request: ChatRequest, notes: Notes) -> None:
    if budget >= body["max_tokens"]:
        if request.max_tokens is not None:
            notes.refuse("reasoning", "the budget for thinking has to be below the most tokens")
            return
        body["max_tokens"] += budget
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _add_budget_for(body: Document, effort: Effort, request: ChatRequest, notes: Notes) -> None:
    budget = _BUDGETS[effort]
    if request.max_tokens is not None:
        budget = min(budget, max(request.max_tokens // 2, LEAST_BUDGET))
    _add_budget(body, budget, request, notes)


def _effort_for(budget: int | None) -> Effort | None:
    """The effort for a budget; none for a negative one, which leaves it to the model."""
    if budget is None or budget < 0:
        return None
    return next((effort for effort in _EFFORTS if budget <= _BUDGETS[effort]), Effort.MAX)


def _show(thinking: Document, asked: ReasoningRequest, traits: Traits, notes: Notes) -> None:
    shown = asked.visible
    if shown is None and asked.detail is not None:
        shown = True
    if asked.detail not in (None, "auto"):
        notes.drop("reasoning.detail")  # there is one kind of summary
    if shown is not None and shown is traits.hides:
        thinking["display"] = "summarized" if shown else "omitted"


def add_sampling(
    body: Document, request: ChatRequest, default: float | None, traits: Traits, notes: Notes
) -> None:
    """Add temperature, top_p and top_k, as far as the model takes them. `thinking` is there."""
    temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
    if top_p is not None and top_p >= _ALL:
        top_p = None
    if not traits.sampling:
        if temperature not in (None, 1):
            notes.refuse("temperature", "this model takes no temperature but 1")
        if top_p is not None:
            notes.refuse("top_p", "this model takes no top_p but 1")
        if top_k is not None:
            notes.refuse("top_k", "this model takes no top_k")
        return
    if body.get("thinking", {}).get("type") in {"enabled", "adaptive"}:
        _add_beside_thinking(body, request, notes)
        return
    if temperature is not None and temperature > 1:
        notes.refuse("temperature", "goes up to 1 with this model")
    elif temperature is not None:
        if top_p is not None and traits.one_of_two:
            notes.refuse("top_p", "this model takes either temperature or top_p")
            top_p = None
        body["temperature"] = temperature
    elif default is not None and default <= 1 and top_p is None:
        body["temperature"] = default
    if top_p is not None:
        body["top_p"] = top_p
    if top_k is not None:
        body["top_k"] = top_k


def _add_beside_thinking(body: Document, request: ChatRequest, notes: Notes) -> None:
    if request.temperature not in (None, 1):
        notes.refuse("temperature", "has to be 1 while this model thinks")
    if request.top_k is not None:
        notes.refuse("top_k", "cannot be set while this model thinks")
    if request.top_p is not None and request.top_p < _ALL:
        if request.top_p < _LEAST_BESIDE_THINKING:
            notes.refuse("top_p", "goes from 0.95 to 1 while this model thinks")
        else:
            body["top_p"] = request.top_p
