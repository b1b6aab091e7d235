# SPDX-License-Identifier: GPL-2.0-only
"""Terms: what the constructors build means what was written."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.evaluate import State, evaluate
from spec.terms import (
    BOOL,
    FALSE,
    INT,
    TRUE,
    Enum,
    Option,
    Sort,
    Term,
    Type,
    add,
    and_,
    constant,
    count,
    eq,
    exists,
    forall,
    free_variables,
    ite,
    lift,
    negate,
    none,
    not_,
    or_,
    quantified,
    read,
    rebuild,
    some,
    substitute,
    total,
    transform,
    value_of,
    variable,
)
from tests.spec.raw import (
    A,
    B,
    Maker,
    Raw,
    draw_names,
    draw_scope,
    draw_state,
    scopes,
    term,
    trees,
    value,
)

P, Q, R = (read(name, [], BOOL) for name in "pqr")
N, M = (read(name, [], INT) for name in "nm")
X, Y = variable("x", A), variable("y", A)
O = read("o", [], Option(A))  # noqa: E741  # the usual letter
PX = read("px", [X], BOOL)


# --- identity -------------------------------------------------------------------------------


def test_the_same_term_is_the_same_object() -> None:
    assert and_(P, Q) is and_(P, Q) and and_(P, Q) is not and_(Q, P)
    assert forall(A, lambda x: read("px", [x], BOOL)) is forall(A, lambda x: read("px", [x], BOOL))
    assert constant(0, INT) is lift(0) and lift(1) is not TRUE and lift(0) is not FALSE
    assert variable("x", A) is not variable("x", B)


def test_terms_are_keys_and_equality_in_code_is_identity() -> None:
    assert {P: 1, Q: 2}[read("q", [], BOOL)] == 2
    assert Y in [X, Y] and X not in [Y]
    assert bool(eq(N, M)) is False and bool(not_(eq(N, M))) is True
    with pytest.raises(TypeError, match="no truth value"):
        bool(P & Q)


@given(trees())
def test_pickling_gives_the_same_object_back(raw: Raw) -> None:
    made = term(raw)
    assert pickle.loads(pickle.dumps(made)) is made


# --- meaning --------------------------------------------------------------------------------


@given(st.data(), scopes())
def test_a_simplified_term_means_what_was_written(data: st.DataObject, sizes: Any) -> None:
    raw = data.draw(trees())
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    assert evaluate(term(raw), state, sizes, names) == value(raw, state, sizes, names)


@pytest.mark.parametrize("seed", range(4))
def test_many_terms_mean_what_was_written(seed: int) -> None:
    rng = random.Random(seed)
    types: list[Type] = [BOOL, INT, Option(A), Option(B)]
    for _ in range(1000):
        sizes, raw = draw_scope(rng), Maker(rng).make(rng.choice(types), 4, {})
        state, names = draw_state(rng, sizes), draw_names(rng, sizes)
        assert evaluate(term(raw), state, sizes, names) == value(raw, state, sizes, names), raw


@given(st.data(), scopes())
def test_a_number_or_an_element_means_what_was_written(data: st.DataObject, sizes: Any) -> None:
    types: list[Type] = [INT, Option(A), Option(B)]
    raw = data.draw(trees(type=data.draw(st.sampled_from(types))))
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    assert evaluate(term(raw), state, sizes, names) == value(raw, state, sizes, names)


@given(st.data(), scopes())
def test_substitution_is_evaluation_under_other_names(data: st.DataObject, sizes: Any) -> None:
    """Bound variables of the term have the names of free ones in the replacements, and primes."""
    raw = data.draw(trees(depth=4))
    new_a, new_b = data.draw(trees(depth=0, type=A)), data.draw(trees(depth=3, type=Option(B)))
    yes = data.draw(trees(depth=2))
    made = term(raw)
    replacement = {
        variable("a", A): term(new_a),
        variable("maybe", Option(B)): term(new_b),
        variable("yes", BOOL): term(yes),
        variable("b", B): variable("x", B),
    }
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    names |= {"x": names["b"]}
    then = dict(names)
    for v, t in replacement.items():
        if v in free_variables(made):
            then[v.args[0]] = evaluate(t, state, sizes, names)
    assert evaluate(substitute(made, replacement), state, sizes, names) == evaluate(
        made, state, sizes, then
    )


@given(trees())
def test_rebuilding_changes_nothing(raw: Raw) -> None:
    made = term(raw)
    assert transform(made, lambda node, args: None) is made
    assert substitute(made, {variable("nobody", A): variable("a", A)}) is made


@given(st.data(), scopes())
def test_a_term_built_again_means_the_same(data: st.DataObject, sizes: Any) -> None:
    made = term(data.draw(trees()))
    state, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    again = transform(made, rebuild)
    assert evaluate(again, state, sizes, names) == evaluate(made, state, sizes, names)


# --- the laws, one by one -------------------------------------------------------------------

LAWS = [
    (not_(not_(P)), P),
    (and_(), TRUE),
    (or_(), FALSE),
    (and_(P, TRUE, P), P),
    (and_(P, FALSE), FALSE),
    (or_(P, TRUE), TRUE),
    (and_(P, Q, not_(P)), FALSE),
    (or_(P, Q, not_(P)), TRUE),
    (and_(and_(P, Q), R), and_(P, Q, R)),
    (and_(P, or_(Q, not_(P))), and_(P, Q)),
    (and_(P, not_(and_(P, Q))), and_(P, not_(Q))),
    (or_(P, and_(Q, not_(P))), or_(P, Q)),
    (P.implies(P), TRUE),
    (P.implies(FALSE), not_(P)),
    (TRUE.implies(P), P),
    (FALSE.implies(P), TRUE),
    (eq(P, TRUE), P),
    (eq(P, FALSE), not_(P)),
    (eq(X, X), TRUE),
    (eq(some(X), some(Y)), eq(X, Y)),
    (eq(X, none(A)), FALSE),
    (eq(lift(1), lift(2)), FALSE),
    (eq(ite(P, X, none(A)), none(A)), not_(P)),
    (ite(TRUE, N, M), N),
    (ite(P, N, N), N),
    (ite(P, TRUE, Q), or_(P, Q)),
    (ite(P, Q, FALSE), and_(P, Q)),
    (ite(P, Q, TRUE), P.implies(Q)),
    (ite(P, N, ite(P, M, 0)), ite(P, N, 0)),
    (ite(P, N, ite(and_(P, Q), M, 0)), ite(P, N, 0)),
    (ite(P, ite(P, N, M), 0), ite(P, N, 0)),
    (add(N, negate(N)), lift(0)),
    (add(N, lift(2), lift(-2)), N),
    (N + 1 - N, lift(1)),
    (add(ite(P, 1, 0), lift(-1)), ite(P, 0, -1)),
    (negate(negate(N)), N),
    (lift(1) <= lift(1), TRUE),
    (lift(1) < lift(1), FALSE),
    (forall(A, lambda x: P), P),
    (exists(A, lambda x: x == Y), TRUE),
    (forall(A, lambda x: forall(B, lambda y: read("r2", [x, y], BOOL))),
     forall(A, B, lambda x, y: read("r2", [x, y], BOOL))),
    (total(A, lambda x: lift(0)), lift(0)),
    (count(A, lambda x: FALSE), lift(0)),
    (read("px", [some(X)], BOOL), PX),
]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), LAWS, ids=lambda t: str(t))
def test_a_law_of_simplification(left: Term, right: Term) -> None:
    assert left is right


def test_what_must_not_be_simplified() -> None:
    # An option may be none: nothing pins it.
    assert exists(A, lambda x: eq(x, O)).op == "exists"
    # Nobody says how many elements there are.
    assert total(A, lambda x: lift(1)).op == "sum"


# --- binding --------------------------------------------------------------------------------


def test_a_lambda_does_not_capture_what_came_from_outside() -> None:
    def shares(x: Term) -> Term:
        return exists(A, lambda y: read("r", [x, y], BOOL))

    state: State = {"r": {(0, 0): True, (0, 1): False, (1, 0): True, (1, 1): False}}
    given_y = shares(variable("y", A))
    assert free_variables(given_y) == {variable("y", A)}
    nested = forall(A, lambda y: shares(y))
    assert evaluate(nested, state, {A: 2}) is True
    shadowed = forall(A, lambda y: exists(A, lambda y: read("r", [y, y], BOOL)))
    assert evaluate(shadowed, state, {A: 2}) is True
    crossed = forall(A, lambda y: exists(A, lambda x: read("r", [x, y], BOOL)))
    assert evaluate(crossed, state, {A: 2}) is False


def test_substitution_renames_what_would_capture() -> None:
    body = quantified("exists", (X,), read("r", [X, Y, variable("x'", A)], BOOL))
    changed = substitute(body, {Y: X})
    assert free_variables(changed) == {X, variable("x'", A)}
    swapped = substitute(read("r", [X, Y], BOOL), {X: Y, Y: X})
    assert swapped is read("r", [Y, X], BOOL)
    assert substitute(body, {X: Y}) is body


def test_quantifiers_that_merge_may_share_a_name() -> None:
    inner = quantified("forall", (X,), PX)
    assert quantified("forall", (X,), and_(inner, PX)).op == "forall"
    assert quantified("forall", (X,), inner) is inner


# --- what cannot be built -------------------------------------------------------------------


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="no term, no truth value and no integer"):
        lift("cpu0")
    with pytest.raises(AttributeError, match="Colour has no member PINK"):
        _ = Enum("Colour", ("RED",)).PINK
    with pytest.raises(TypeError, match="has no default"):
        from spec.terms import default

        default(Sort("Cpu"))
    with pytest.raises(ValueError):
        forall(A, B, lambda x: TRUE)


def test_constants_have_their_value() -> None:
    assert value_of(none(A)) is None and value_of(lift(3)) == 3


def test_a_name_is_taken_whatever_the_sort() -> None:
    """The plain evaluator tells variables apart by name alone."""
    body = exists(A, lambda x: read("pair", [x, variable("b", B)], BOOL))
    renamed = substitute(body, {variable("b", B): variable("x", B)})
    assert renamed.args[0] is variable("x'", A)
    assert exists(A, lambda b: read("pair", [b, variable("b", B)], BOOL)).args[0].args[0] == "b'"


def test_a_variable_is_not_renamed_without_need() -> None:
    term = forall(A, lambda x: read("p", [x], BOOL) & exists(A, lambda x: read("q", [x], BOOL)))
    assert repr(term) == "∀ x: A: p[x] ∧ (∃ x: A: q[x])"
