"""For whom a request is made: the part of the rules that is the same for everything owned."""

from dataclasses import replace

from model_service.kernel.errors import FieldFault, Forbidden, InvalidInput
from model_service.kernel.principal import Principal, Role


def names_nobody(principal: Principal) -> bool:
    """Whether it is a service that does not say for whom it acts."""
    return principal.role is Role.SERVICE and principal.user_id is None


def where_values_leave(principal: Principal) -> Principal:
    """The same principal, where a key's value is given out: a service, if it knows the secret.

    Being administrator gives nobody a value; who shows the internal secret may have those of
    the user it names, or, naming nobody, of all.
    """
    return replace(principal, role=Role.SERVICE) if principal.internal else principal


def whose(principal: Principal, named: str | None) -> str | None:
    """The user whose things are meant, where the request may name one as `userId`.

    None means everybody's, which is for administrators alone.

    Raises:
        Forbidden: the one named is not the one it may act for.
        InvalidInput: it is a service that names nobody.
    """
    if principal.role is Role.ADMINISTRATOR:
        return principal.user_id if named is None else named
    if names_nobody(principal):
        if named is None:
            raise name_needed()
        return named
    if principal.user_id is None or named not in (None, principal.user_id):
        raise Forbidden("userId names another user than this request is made for")
    return principal.user_id


def name_needed() -> InvalidInput:
    """What a service hears that does not say for whom it acts."""
    return InvalidInput(
        errors=[FieldFault("userId", "is required, here or as the header x-user-id")]
    )
