"""A value that does not print itself."""

from typing import Generic, NoReturn, TypeVar

from typing_extensions import override

T = TypeVar("T", str, bytes)

_REFUSAL = "a Secret does not leave by this way; call reveal() where it is really needed"
_MASK = "Secret(**********)"


class Secret(Generic[T]):
    """Holds a password, key or token so that no accident writes it out.

    `repr`, `str`, formatting, JSON and pickling either show a mask or raise; only
    `reveal()` gives the value. Two secrets compare unequal unless identical: comparing
    credentials is `hmac.compare_digest`'s task.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value: T = value

    def reveal(self) -> T:
        """The value itself. Whoever calls this answers for where it goes."""
        return self.__value

    @override
    def __repr__(self) -> str:
        return _MASK

    @override
    def __str__(self) -> NoReturn:
        raise TypeError(_REFUSAL)

    @override
    def __format__(self, spec: str) -> NoReturn:
        raise TypeError(_REFUSAL)

    @override
    def __reduce__(self) -> NoReturn:
        raise TypeError(_REFUSAL)

    def __iter__(self) -> NoReturn:
        raise TypeError(_REFUSAL)

    def __len__(self) -> int:
        return len(self.__value)

    def __bool__(self) -> bool:
        return bool(self.__value)
