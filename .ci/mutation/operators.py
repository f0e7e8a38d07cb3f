"""The small faults that are put into a module, one at a time.

What nobody promises is left alone: docstrings, annotations, decorators, log lines, sentences for
people, what describes a field to readers of the API's documents, names that only a statement of
SQL itself sees, and durations and sizes by one. The rules are in docs/mutation-testing.md; they
are about kinds of code, never about a line.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitAnd,
}
_LOGGERS = {"log", "_log", "logger", "_logger"}
#: Calls whose strings name a type to the type checker.
_TYPING_CALLS = {"cast", "TypeVar", "NewType", "ParamSpec"}
#: Arguments that only end up in the API's documents.
_DESCRIPTIONS = {
    "description", "title", "summary", "examples", "example", "documentation", "tags",
}  # fmt: skip
#: Methods whose text names a part of an SQL statement to the rest of the same statement.
_SQL_NAMES = {"alias", "cte", "subquery"}
#: From here on, a number that a module names is a size, of which one more is no fault.
_SIZE = 100


@dataclass(frozen=True)
class Mutant:
    """One fault: in `owner`, `field` (at `index`, if it is a list) becomes `replacement`."""

    owner: ast.AST
    field: str
    index: int | None
    replacement: object
    operator: str
    line: int
    #: The lines whose execution makes a test worth running; None when import alone does.
    reach: tuple[int, int] | None
    #: The outermost function that it is in; "" for what runs at import.
    function: str
    before: str
    after: str

    def source(self, tree: ast.Module) -> str:
        """The module's text with the fault; `tree` is as before when it returns."""
        original = self.swap(self.replacement)
        try:
            return ast.unparse(ast.fix_missing_locations(tree))
        finally:
            self.swap(original)

    def swap(self, new: object) -> object:
        """Put `new` in the place; gives what was there."""
        if self.index is None:
            old = getattr(self.owner, self.field)
            setattr(self.owner, self.field, new)
        else:
            items = getattr(self.owner, self.field)
            old, items[self.index] = items[self.index], new
        return old


def mutants(tree: ast.Module) -> list[Mutant]:
    """All faults for a module, in the order of its text."""
    return sorted(_Finder(_called_at_import(tree)).within(tree), key=lambda mutant: mutant.line)


class _Finder:
    """Goes through the tree and keeps in mind where it is."""

    def __init__(self, at_import: set[str]) -> None:
        self._at_import = at_import
        self._reach: tuple[int, int] | None = None
        self._names: tuple[str, ...] = ()
        self._function = ""

    def within(self, node: ast.AST) -> Iterator[Mutant]:
        """All faults below `node`."""
        for field, value in ast.iter_fields(node):
            if _is_left_alone(node, field):
                continue
            if isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        yield from self._at(node, field, index, item)
            elif isinstance(value, ast.AST):
                yield from self._at(node, field, None, value)

    def _at(self, owner: ast.AST, field: str, index: int | None, node: ast.AST) -> Iterator[Mutant]:
        if _is_docstring(field, node) or _is_silent(node):
            return
        before = self._reach, self._names, self._function
        if isinstance(node, ast.FunctionDef) and not self._names and node.name in self._at_import:
            # What it gives is made by then; only a module that is imported anew shows the fault.
            self._names = (node.name,)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._names = (*self._names, node.name)
            self._function = self._function or ".".join(self._names)
            self._reach = node.body[0].lineno, node.end_lineno or node.lineno
        elif isinstance(node, ast.ClassDef):
            self._names = (*self._names, node.name)
        elif isinstance(node, ast.arguments) and self._function == ".".join(self._names):
            # Defaults are evaluated at import, and felt wherever the function runs.
            self._function = ""
        elif isinstance(node, ast.stmt):
            self._reach = _own_lines(node) if self._function else None
        elif isinstance(node, ast.Lambda):
            self._reach = self._reach or (node.lineno, node.end_lineno or node.lineno)
        for operator, replacement in self._replacements(owner, field, node):
            yield Mutant(
                owner=owner,
                field=field,
                index=index,
                replacement=replacement,
                operator=operator,
                line=getattr(node, "lineno", 0),
                reach=self._reach,
                function=self._function,
                before=_shown(node),
                after=_shown(replacement),
            )
        yield from self._inside_operators(node)
        yield from self.within(node)
        self._reach, self._names, self._function = before

    def _replacements(
        self, owner: ast.AST, field: str, node: ast.AST
    ) -> Iterator[tuple[str, ast.AST]]:
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield "not removed", operand
            case ast.Constant(value=value) if not isinstance(owner, ast.JoinedStr):
                if not (self._is_named_by_the_module and _is_duration_or_size(value)):
                    yield from self._constants(value)
            case ast.JoinedStr(values=values) if not _is_sentence(_words(node)):
                yield "text", ast.JoinedStr([ast.Constant("x"), *values])
            case ast.Return(value=value) if value is not None and not _is_plain(value):
                yield "return", ast.Return(ast.Constant(None))
            case ast.Raise():
                yield "raise removed", ast.Pass()
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.Delete():
                yield "statement removed", ast.Pass()
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield "statement removed", ast.Pass()
            case ast.AugAssign(op=op) if type(op) in _ARITHMETIC:
                changed = _ARITHMETIC[type(op)]()
                yield "arithmetic", ast.AugAssign(node.target, changed, node.value)
            case ast.Break():
                yield "loop", ast.Continue()
            case ast.Continue():
                yield "loop", ast.Break()
        if _decides(owner, field) and not isinstance(
            node, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant
        ):
            yield "condition negated", ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]

    @property
    def _is_named_by_the_module(self) -> bool:
        return not self._names

    def _constants(self, value: object) -> Iterator[tuple[str, ast.AST]]:
        if isinstance(value, bool):
            yield "constant", ast.Constant(not value)
        elif isinstance(value, int | float):
            yield "constant", ast.Constant(value + 1)
        elif isinstance(value, str) and not _is_sentence(value):
            yield "text", ast.Constant(value + "x")
        elif isinstance(value, bytes):
            yield "text", ast.Constant(value + b"x")

    def _inside_operators(self, node: ast.AST) -> Iterator[Mutant]:
        """Operators are no expressions of their own, so they are changed in their owner."""
        changes: list[tuple[str, str, int | None, ast.AST]] = []
        match node:
            case ast.Compare(ops=operators):
                changes = [
                    ("comparison", "ops", at, _COMPARISONS[type(old)]())
                    for at, old in enumerate(operators)
                ]
            case ast.BoolOp(op=op):
                other = ast.Or() if isinstance(op, ast.And) else ast.And()
                changes = [("and, or", "op", None, other)]
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                changes = [("arithmetic", "op", None, _ARITHMETIC[type(op)]())]
        for operator, field, index, replacement in changes:
            mutant = Mutant(
                node, field, index, replacement, operator,
                getattr(node, "lineno", 0), self._reach, self._function, _shown(node), "",
            )  # fmt: skip
            old = mutant.swap(replacement)
            after = _shown(node)
            mutant.swap(old)
            yield Mutant(**{**vars(mutant), "after": after})


def _called_at_import(tree: ast.Module) -> set[str]:
    """The functions of the module that its own statements call."""
    statements = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return {
        call.func.id
        for statement in statements
        for call in ast.walk(statement)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


def _is_left_alone(node: ast.AST, field: str) -> bool:
    if field in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
        return True
    match node:
        case ast.Subscript(value=ast.Name(id="Literal" | "Annotated")):
            return field == "slice"
        case ast.keyword(arg=name):
            return name in _DESCRIPTIONS
        case ast.Call(func=ast.Name(id="zip")):
            return field == "keywords"  # `strict` is an assertion
        case ast.Call(func=ast.Name(id=name)):
            return name in _TYPING_CALLS and field == "args"
        case ast.Call(func=ast.Attribute(attr=name)) if name in _SQL_NAMES:
            return field == "args"
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=", "), attr="join")):
            return field == "func"  # how names in a sentence are parted
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.JoinedStr() | ast.FormattedValue():
            return field == "format_spec"
    return False


def _is_docstring(field: str, node: ast.AST) -> bool:
    return field == "body" and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_silent(node: ast.AST) -> bool:
    """Whether it only writes a log line."""
    if not isinstance(node, ast.Expr):
        return False
    call = node.value.value if isinstance(node.value, ast.Await) else node.value
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in _LOGGERS
    return False


def _words(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def _is_sentence(text: str) -> bool:
    """Whether people read it: more than three words, or two of which the first is capital."""
    return text.count(" ") > 2 or (" " in text.strip() and text[0].isupper())


def _is_duration_or_size(value: object) -> bool:
    return isinstance(value, float) or (type(value) is int and value >= _SIZE)


def _is_plain(value: ast.expr) -> bool:
    """Whether a change of the returned constant says the same as returning nothing."""
    return isinstance(value, ast.Constant) and (value.value is None or value.value is False)


def _decides(owner: ast.AST, field: str) -> bool:
    return (
        (isinstance(owner, ast.If | ast.IfExp | ast.While) and field == "test")
        or (isinstance(owner, ast.comprehension) and field == "ifs")
        or (isinstance(owner, ast.BoolOp) and field == "values")
    )


def _own_lines(node: ast.stmt) -> tuple[int, int]:
    """A simple statement's lines; of one with a body, its head's."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return node.lineno, node.end_lineno or node.lineno
    first = body[0]
    start = first.pattern.lineno if isinstance(first, ast.match_case) else first.lineno
    return node.lineno, max(node.lineno, start - 1)


def _shown(node: object) -> str:
    text = " ".join(ast.unparse(node).split()) if isinstance(node, ast.AST) else ""
    return text if len(text) <= 100 else text[:97] + "..."
