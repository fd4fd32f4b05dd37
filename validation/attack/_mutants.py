"""The mutants of a file: its source with one small fault, from the operators of cosmic-ray and a few of our own.

Not every operator of cosmic-ray is used.  `a + b` has eleven replacements there, of which `a << b` and ten others raise
TypeError at once and would only flatter the count; here it has one.  Ours add the faults that this package has seen:
a tolerance times 1000, `any` for `all`, a check that is not made.  Annotations and the bodies of protocols are never
evaluated and are left alone.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import parso.python.tree
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parents[2]

LIBRARY = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "Mod_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "LShift_RShift", "RShift_LShift")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitAnd")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt")),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Not", "Invert")),
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "AddNot",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ZeroIterationForLoop",
    "ExceptionReplacer",
    "NumberReplacer",
)


class LooserTolerance(Operator):
    """A small number times 1000."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "number" and isinstance(value := ast.literal_eval(node.value), float) and 0 < value < 1e-3:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = repr(1000 * ast.literal_eval(node.value))
        return node

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("x = 1e-08", "x = 1e-05"),)


class OtherExtreme(Operator):
    """`any` for `all` and `max` for `min`, and the other way round, as functions and as methods."""

    OTHER: ClassVar = {"any": "all", "all": "any", "min": "max", "max": "min"}

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "name" and node.value in self.OTHER and node.get_next_leaf().value == "(":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = self.OTHER[node.value]
        return node

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("all(x)", "any(x)"), Example("x.max()", "x.min()"))


class OtherAssignment(Operator):
    """`-=` for `+=` and the like."""

    OTHER: ClassVar = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|="}

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "operator" and node.value in self.OTHER:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = self.OTHER[node.value]
        return node

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("x += 1", "x -= 1"), Example("x &= y", "x |= y"))


class NotDone(Operator):
    """A statement that is only a call, or raises, is left out: `require(...)`, `raise ...`, `out.sort()`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        statement = node.parent is not None and node.parent.type == "simple_stmt"
        call = node.type == "atom_expr" and node.children[-1].type == "trailer" and node.children[-1].children[0] == "("
        if statement and (call or node.type == "raise_stmt"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.get_first_leaf()
        return parso.python.tree.Keyword("pass", first.start_pos, prefix=first.prefix)

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return (Example("f(x)\n", "pass\n"), Example("raise E\n", "pass\n"))


OPERATORS: dict[str, Any] = {name: get_operator(f"core/{name}")() for name in LIBRARY} | {
    type(operator).__name__: operator for operator in (LooserTolerance(), OtherExtreme(), OtherAssignment(), NotDone())
}


@dataclass(frozen=True)
class Mutant:
    """One fault.  `before` and `after` are the lines that differ; file, function and these two tell mutants apart,
    and stay the same while the rest of the file changes.
    """

    file: str
    function: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.file, self.function, self.before, self.after

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}: {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class Place:
    """Where an operator applies: `occurrence` counts its places in the file."""

    operator: str
    occurrence: int
    line: int


class MutatedFile:
    """A source file of the package and the faults that can be put into it. file: its path from the root."""

    def __init__(self, file: str, root: Path = ROOT) -> None:
        self.file = file
        self.source = (root / file).read_text(encoding="utf-8")
        self.tree = ast.parse(self.source)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every place, from the top of the file; some give no mutant."""
        ignored = [span(node) for node in unevaluated(self.tree)]
        found = []
        nodes = list(ast_nodes(get_ast(self.source)))
        # the library takes the * of keyword-only parameters for a product
        markers = {node.start_pos for node in nodes if node.type == "operator" and node.parent.type == "parameters"}
        # zip(..., strict=True) asserts what holds by construction; without it nothing changes
        markers |= {
            node.children[2].start_pos
            for node in nodes
            if node.type == "argument" and node.children[0].get_code().strip() == "strict"
        }
        for name, operator in OPERATORS.items():
            starts = (start for node in nodes for start, _ in operator.mutation_positions(node))
            for occurrence, start in enumerate(starts):
                if start not in markers and not any(first <= start < last for first, last in ignored):
                    found.append(Place(name, occurrence, start[0]))
        return tuple(sorted(found, key=lambda place: (place.line, place.operator, place.occurrence)))

    def mutant(self, place: Place) -> Mutant | None:
        """The mutant of a place; None if it is not Python, or means the same as the file."""
        source = mutate_code(self.source, OPERATORS[place.operator], place.occurrence)
        try:
            if ast.dump(ast.parse(source)) == ast.dump(self.tree):
                return None
            compile(source, self.file, "exec")
        except SyntaxError:
            return None
        line, before, after = difference(self.source, source)
        return Mutant(self.file, self.function(line), line, before, after, source)

    def function(self, line: int) -> str:
        """The dotted name of the innermost function or class around a line; `<module>` outside of all."""
        names: list[str] = []
        node: ast.AST = self.tree
        while True:
            inner = [
                child
                for child in ast.walk(node)
                if child is not node
                and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and child.lineno <= line <= (child.end_lineno or child.lineno)
            ]
            if not inner:
                return ".".join(names) or "<module>"
            innermost = min(inner, key=lambda child: child.lineno)
            names.append(innermost.name)
            node = innermost

    def mutants_at(self, function: str, before: str) -> list[Mutant]:
        """The mutants that change these lines of this function: what an entry in a list of survivors can mean."""
        lines = self.source.splitlines()
        first = before.split(" / ")[0]
        wanted = {i + 1 for i, line in enumerate(lines) if line.strip() == first and self.function(i + 1) == function}
        # An operator may sit on a later line of a statement that it removes as a whole, never on an earlier one.
        mutants = [self.mutant(place) for place in self.places if place.line in wanted]
        return [mutant for mutant in mutants if mutant is not None and mutant.before == before]


def difference(old: str, new: str) -> tuple[int, str, str]:
    """The first line that differs, and the old and new lines, each stripped and joined by ` / `."""
    before, after = old.splitlines(), new.splitlines()
    blocks = [
        block for block in difflib.SequenceMatcher(None, before, after, False).get_opcodes() if block[0] != "equal"
    ]
    top, bottom = blocks[0][1], blocks[-1][2]
    new_top, new_bottom = blocks[0][3], blocks[-1][4]
    was, now = (" / ".join(line.strip() for line in lines) for lines in (before[top:bottom], after[new_top:new_bottom]))
    return top + 1, was, now


def unevaluated(tree: ast.AST) -> Iterator[ast.expr | ast.ClassDef]:
    """Annotations, which Python keeps as text here, and protocols, which nobody calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases):
            yield node
        for name in ("annotation", "returns"):
            expression = getattr(node, name, None)
            if isinstance(expression, ast.expr):
                yield expression


def span(node: ast.expr | ast.ClassDef) -> tuple[tuple[int, int], tuple[int, int]]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
