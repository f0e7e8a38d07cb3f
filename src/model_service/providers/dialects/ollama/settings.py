"""What a registered model's `providerSettings` say to Ollama.

`options` are its own (https://docs.ollama.com/api/chat: `num_ctx`, `min_p`, `mirostat` and so
on), `numCtx` is short for the commonest of them. `keepAlive` is how long the model stays
loaded, `think` how much it thinks when the caller does not say.

`truncate`: Ollama takes what does not fit into the context window off the front of a
conversation without a word, unless it is told not to. It is told not to, so that callers hear
of it and a fallback with a larger window can step in; true has it as Ollama does by itself.
"""

from typing import Any

from model_service.providers.faults import invalid
from model_service.providers.translation import Document, Target


def apply_settings(body: Document, target: Target) -> Document:
    """Put into a body what holds for every call of the model; gives its options, to be added to.

    Raises:
        CallFailed: a setting is of the wrong type.
    """
    settings = target.settings
    options: Document = {}
    given = _setting(target, "options", dict)
    if given is not None:
        options.update(given)
    window = settings.get("numCtx")
    if window is not None:
        if not isinstance(window, int) or isinstance(window, bool) or window < 1:
            raise invalid("providerSettings.numCtx", "must be a positive whole number")
        options["num_ctx"] = window
    keep_alive = settings.get("keepAlive")
    if keep_alive is not None:
        if not isinstance(keep_alive, str | int | float) or isinstance(keep_alive, bool):
            raise invalid("providerSettings.keepAlive", "must be seconds, or a duration as in 5m")
        body["keep_alive"] = keep_alive
    body["truncate"] = _setting(target, "truncate", bool) or False
    body["options"] = options
    return options


def default_thinking(target: Target) -> bool | str | None:
    """How much the model thinks when the caller does not say; None leaves it to Ollama."""
    think = target.settings.get("think")
    if think is not None and not isinstance(think, bool | str):
        raise invalid("providerSettings.think", "must be true, false, low, medium, high or max")
    return think


def _setting(target: Target, name: str, kind: type) -> Any:  # noqa: ANN401 - of the kind asked for
    value = target.settings.get(name)
    if value is not None and not isinstance(value, kind):
        raise invalid(f"providerSettings.{name}", f"must be {_KINDS[kind]}")
    return value


_KINDS = {dict: "an object", bool: "true or false"}
