"""The error tree, its drawing, and its table of statuses agree."""

import inspect

from model_service.http.problem import STATUS, status_of
from model_service.kernel import errors
from model_service.kernel.errors import ServiceError, UpstreamTimeout


def _drawn() -> str:
    documentation = errors.__doc__ or ""
    lines = [line for line in documentation.splitlines() if line.startswith("    ")]
    return "\n".join(line[4:] for line in lines)


def _tree(kind: type[ServiceError], indent: str = "") -> list[str]:
    lines = []
    children = [c for c in kind.__subclasses__() if c.__module__ == errors.__name__]
    for child in children:
        last = child is children[-1]
        lines.append(f"{indent}{'└──' if last else '├──'} {child.__name__}")
        lines += _tree(child, indent + ("    " if last else "│   "))
    return lines


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    assert _drawn() == "\n".join(["ServiceError", *_tree(ServiceError)])


def test_every_error_has_a_status_and_a_sentence() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, ServiceError)
    ]
    assert len(kinds) > 20
    for kind in kinds:
        error = kind("idle") if kind is UpstreamTimeout else kind()
        assert 400 <= status_of(error) <= 503, kind
        assert error.message or kind.__name__ == "StartupFault", kind
        assert "\n" not in error.message


def test_every_line_of_the_status_table_names_an_error_of_the_tree() -> None:
    assert all(kind.__module__ == errors.__name__ for kind in STATUS)
