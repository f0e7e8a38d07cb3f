"""Who may do what with which key: the whole rule, without a question to anybody.

How somebody stands to a key follows from who asks, who owns it and which grant there is;
what they may do follows from a table. What the table does not name is refused.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Final

from model_service.kernel.acting import names_nobody
from model_service.kernel.principal import Principal, Role
from model_service.keys.shares import HeldKey, ShareScope


class Action(StrEnum):
    """What can be done with a key."""

    SEE = "see"
    VALIDATE = "validate"
    CHANGE = "change"
    ROTATE = "rotate"
    DELETE = "delete"
    SHARE = "share"
    """Grant it to somebody, or take a grant away."""
    SEE_SHARES = "see_shares"
    REVEAL = "reveal"
    """Have its value; needs the internal secret too, whoever it is."""


class Relation(StrEnum):
    """How somebody stands to a key."""

    ADMINISTRATOR = auto()
    OWNER = auto()
    """The owner, or a service acting for it."""
    REVEALER = auto()
    """Who has a live grant with the scope reveal."""
    MODEL_REVEALER = auto()
    """The same limited to models: has the value only when asking for one of them."""
    USER = auto()
    """Who has a live grant with the scope use."""
    UNNAMED = auto()
    """A service that does not say for whom it acts."""
    STRANGER = auto()


class Decision(StrEnum):
    """What becomes of a request."""

    ALLOW = auto()
    REFUSE = auto()
    """They know the key and may not do that with it."""
    HIDE = auto()
    """To them the key does not exist."""
    ASK_FOR_NAME = auto()
    """A service first has to say for whom it acts."""


_MANAGE = frozenset(Action) - {Action.REVEAL}
_LOOK = frozenset({Action.SEE, Action.SEE_SHARES})

#: The whole rule. An administrator manages every key and has the value of none.
MAY: Final[Mapping[Relation, frozenset[Action]]] = {
    Relation.ADMINISTRATOR: _MANAGE,
    Relation.OWNER: _MANAGE | {Action.REVEAL},
    Relation.REVEALER: _LOOK | {Action.REVEAL},
    Relation.MODEL_REVEALER: _LOOK,
    Relation.USER: _LOOK,
    Relation.UNNAMED: frozenset({Action.REVEAL}),
    Relation.STRANGER: frozenset(),
}


def relation(principal: Principal, held: HeldKey, now: datetime) -> Relation:
    """How somebody stands to the key, by the grant that was found with it, if one was."""
    if principal.role is Role.ADMINISTRATOR:
        return Relation.ADMINISTRATOR
    if names_nobody(principal):
        return Relation.UNNAMED
    user_id = None if principal.role is Role.NOBODY else principal.user_id
    if user_id is None:
        return Relation.STRANGER
    if user_id == held.key.user_id:
        return Relation.OWNER
    share = held.share
    if (
        share is None
        or share.key_id != held.key.id
        or share.grantee_user_id != user_id
        or not share.is_live(now)
    ):
        return Relation.STRANGER
    if share.scope is not ShareScope.REVEAL:
        return Relation.USER
    return Relation.REVEALER if share.models is None else Relation.MODEL_REVEALER


def decide(standing: Relation, action: Action, *, internal: bool) -> Decision:
    """Whether who stands so to a key may do that with it.

    `internal` says that the internal secret was shown and is right.
    """
    if action in MAY[standing] and (internal or action is not Action.REVEAL):
        return Decision.ALLOW
    if standing is Relation.UNNAMED:
        return Decision.ASK_FOR_NAME
    if standing is Relation.STRANGER and not (internal and action is Action.REVEAL):
        return Decision.HIDE
    return Decision.REFUSE
