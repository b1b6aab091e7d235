# SPDX-License-Identifier: GPL-2.0-only
"""Tracing: the record that remains of an action does what the action's text does."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.evaluate import Refusal, apply, evaluate
from spec.language import Layer
from spec.records import Action, FunctionOf, Model
from spec.state import State
from spec.terms import (
    BOOL,
    INT,
    TRUE,
    Int,
    Option,
    Sort,
    Term,
    and_,
    count,
    exists,
    forall,
    none,
    total,
    variable,
)
from tests.spec.programs import Programmer, model, programs, run
from tests.spec.raw import Maker, draw_names, draw_scope, draw_state, scopes, term, trees

CPU, BIT = Sort("Cpu"), Sort("Bit")
SIZES = {CPU: 2, BIT: 3}


def layer() -> Layer:
    """A layer with a field of each kind."""
    made = Layer("test", (CPU, BIT))
    made.field("flag", doc="")
    made.field("n", type=INT, doc="")
    made.field("map", CPU, BIT, doc="")
    made.field("up", CPU, doc="")
    made.field("used", CPU, type=Int((BIT,)), doc="")
    made.field("home", CPU, type=Option(BIT), doc="")
    made.field("next", CPU, type=CPU, doc="", initial=variable("cpu0", CPU))
    made.field("wired", CPU, rigid=True, doc="")
    made.field("owed", type=INT, transient=True, doc="")
    return made


def state(**given: Mapping[Any, Any]) -> dict[str, Any]:
    """Everything false, zero and none, but for what is given."""
    cells: dict[str, dict[Any, Any]] = {
        "flag": {(): False},
        "n": {(): 0},
        "map": {(c, b): False for c in range(2) for b in range(3)},
        "up": {(0,): False, (1,): False},
        "used": {(0,): 0, (1,): 0},
        "home": {(0,): None, (1,): None},
        "next": {(0,): 0, (1,): 1},
        "wired": {(0,): False, (1,): True},
        "owed": {(): 0},
    }
    return {name: {**values, **given.get(name, {})} for name, values in cells.items()}


def traced(body: Any, **params: Any) -> tuple[Model, Action]:
    """The model with this one action."""
    made = layer()
    made.action(None, **params)(body)
    built = made.build()
    return built, built.actions[body.__name__]


def after(body: Any, before: Mapping[str, Any], params: Any = None, **arguments: Any) -> Any:
    """What an action makes of a state."""
    built, action = traced(body, **(params or {}))
    result = apply(built, action, arguments, before, SIZES)
    assert not isinstance(result, Refusal), str(result)
    return result


# --- against programs that run --------------------------------------------------------------


@given(st.data(), scopes())
def test_an_action_does_what_its_text_does(data: st.DataObject, sizes: Any) -> None:
    program = data.draw(programs())
    built = model(program)
    before, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    expected = run(program, before, sizes, names)
    found = apply(built, built.actions["happen"], names, before, sizes)
    if expected is None:
        assert isinstance(found, Refusal)
    else:
        assert found == expected


@given(st.data(), scopes())
def test_a_formula_after_an_action_is_one_over_the_state_before(
    data: st.DataObject, sizes: Any
) -> None:
    """The formula binds variables that have the names of the action's parameters."""
    program = data.draw(programs())
    built = model(program)
    action = built.actions["happen"]
    formula = term(data.draw(trees(depth=3)))
    before, names = draw_state(data.draw, sizes), draw_names(data.draw, sizes)
    reached = run([s for s in program if not _requires(s)], before, sizes, names)
    if run(program, before, sizes, names) is not None and reached is not None:
        there = evaluate(formula, reached, sizes, names)
        assert evaluate(action.after(built.fields, formula), before, sizes, names) == there


@pytest.mark.parametrize("seed", range(3))
def test_many_actions_do_what_their_text_does(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        sizes, program = draw_scope(rng), Programmer(rng).program()
        built = model(program)
        action = built.actions["happen"]
        formulas = [term(Maker(rng).bool_(2, {})) for _ in range(3)]
        for _ in range(3):
            before, names = draw_state(rng, sizes), draw_names(rng, sizes)
            expected = run(program, before, sizes, names)
            found = apply(built, action, names, before, sizes)
            if expected is None:
                assert isinstance(found, Refusal), program
                continue
            assert found == expected, program
            for formula in formulas:
                there = evaluate(formula, expected, sizes, names)
                earlier = action.after(built.fields, formula)
                assert evaluate(earlier, before, sizes, names) == there, (program, formula)


def _requires(statement: Any) -> bool:
    return type(statement).__name__ == "Require"


@given(programs())
def test_a_model_can_be_pickled(program: Any) -> None:
    action = model(program).actions["happen"]
    copy = pickle.loads(pickle.dumps(action))
    assert copy.guard is action.guard
    for name, writes in action.writes.items():
        for one, other in zip(writes, copy.writes[name], strict=True):
            assert (one.condition is other.condition) and (one.value is other.value)


# --- reads, writes, when --------------------------------------------------------------------


def test_a_read_sees_the_writes_before_it() -> None:
    def bump(s: State) -> None:
        s.n += 1
        s.n += s.n
        s.flag = s.n == 2

    assert after(bump, state(n={(): 4}))["n"] == {(): 10}
    assert after(bump, state())["flag"] == {(): True}


def test_a_read_at_another_place_sees_the_write_if_it_is_the_same() -> None:
    def swap(s: State, a: Term, b: Term) -> None:
        s.up[a] = True
        s.flag = s.up[b]

    params = {"a": CPU, "b": CPU}
    assert after(swap, state(), params, a=0, b=0)["flag"] == {(): True}
    assert after(swap, state(), params, a=0, b=1)["flag"] == {(): False}


def test_what_is_not_written_is_unchanged() -> None:
    def nothing(s: State) -> None:
        """Not a thing."""

    built, action = traced(nothing)
    assert action.writes == {} and action.guard is TRUE and action.doc == "Not a thing."
    assert apply(built, action, {}, state(), SIZES) == state()


def test_when_reads_its_condition_where_it_begins() -> None:
    def flip(s: State) -> None:
        with s.when(~s.flag):
            s.flag = True
            s.n += 1
        with s.when(s.flag), s.when(s.n == 1):
            s.n += 10

    assert after(flip, state())["n"] == {(): 11}
    assert after(flip, state(flag={(): True}))["n"] == {(): 0}


def test_an_index_that_is_none_reads_the_default_and_writes_nothing() -> None:
    def at(s: State, c: Term) -> None:
        s.flag = s.map[c, s.home[c]]
        s.map[c, s.home[c]] = True

    result = after(at, state(map={(0, b): True for b in range(3)}), {"c": CPU}, c=0)
    assert result["flag"] == {(): False}
    assert result["map"] == state(map={(0, b): True for b in range(3)})["map"]
    there = after(at, state(home={(0,): 2}), {"c": CPU}, c=0)
    assert there["map"] == state(map={(0, 2): True})["map"]


def test_a_read_at_none_sees_no_write_at_none() -> None:
    def at(s: State, c: Term) -> None:
        s.map[c, s.home[c]] = True
        s.flag = s.map[c, s.home[c]]

    assert after(at, state(), {"c": CPU}, c=0)["flag"] == {(): False}
    assert after(at, state(home={(0,): 2}), {"c": CPU}, c=0)["flag"] == {(): True}


def test_a_formula_that_uses_a_parameters_name_is_about_everyone() -> None:
    def put(s: State, c: Term) -> None:
        s.up[c] = True

    built, action = traced(put, c=CPU)
    everyone = forall(CPU, lambda c: State(built.fields, frozenset()).up[c])
    assert evaluate(action.after(built.fields, everyone), state(), SIZES, {"c": 0}) is False


def test_a_field_whose_value_is_an_element_can_be_followed() -> None:
    def chain(s: State, c: Term) -> None:
        s.next[c] = s.next[s.next[c]]
        s.up[s.next[c]] = True

    result = after(chain, state(next={(0,): 1}), {"c": CPU}, c=0)
    assert result["up"] == {(0,): False, (1,): True}


# --- require and assume ---------------------------------------------------------------------


def test_a_guard_speaks_of_the_state_where_it_stands() -> None:
    def twice(s: State) -> None:
        s.n += 1
        s.require(s.n == 1)

    built, action = traced(twice)
    assert not isinstance(apply(built, action, {}, state(), SIZES), Refusal)
    refused = apply(built, action, {}, state(n={(): 1}), SIZES)
    assert isinstance(refused, Refusal) and refused.action == "twice"


def test_a_guard_below_a_condition_is_conditional() -> None:
    def careful(s: State) -> None:
        with s.when(s.flag), s.each(CPU, "c", lambda c: s.wired[c]) as c:
            s.require(s.up[c])

    built, action = traced(careful)

    def refuses(**given: Any) -> bool:
        return isinstance(apply(built, action, {}, state(**given), SIZES), Refusal)

    assert not refuses()
    assert refuses(flag={(): True})
    assert not refuses(flag={(): True}, up={(1,): True})


def test_a_guard_about_everyone_is_not_one_about_the_parameter() -> None:
    """What is known of `cpu` must not simplify a formula that binds a variable of that name."""

    def all_on(s: State, cpu: Term) -> None:
        s.require(s.up[cpu])
        s.require(forall(CPU, lambda cpu: s.up[cpu]))

    built, action = traced(all_on, cpu=CPU)
    half = state(up={(0,): True})
    assert isinstance(apply(built, action, {"cpu": 0}, half, SIZES), Refusal)


def test_an_assumption_holds_unless_its_hazard_is_on() -> None:
    def risky(s: State, c: Term) -> None:
        with s.when(s.flag):
            s.assume("H9", s.up[c])
        with s.each(BIT, "b", lambda b: s.map[c, b]) as b:
            s.assume("H9", ~(s.home[c] == b))

    made = layer()
    made.action(None, c=CPU)(risky)
    careful, careless = made.build(), made.build(frozenset({"H9"}))
    for before in (state(flag={(): True}), state(map={(0, 2): True}, home={(0,): 2})):
        refused = apply(careful, careful.actions["risky"], {"c": 0}, before, SIZES)
        assert isinstance(refused, Refusal)
        done = apply(careless, careless.actions["risky"], {"c": 0}, before, SIZES)
        assert done == before
    assert [a.switch for a in careful.actions["risky"].assumptions] == ["H9", "H9"]
    assert careless.actions["risky"].assumptions == ()


def test_a_switch_is_asked_while_the_action_is_traced() -> None:
    def defective(s: State) -> None:
        s.n = 2 if s.on("D") else 1

    made = layer()
    del made.fields["up"]
    made.action()(defective)
    made.action(only_with="D")(lambda_named := _named("extra"))
    assert set(made.build().actions) == {"defective"}
    built = made.build(frozenset({"D"}))
    assert set(built.actions) == {"defective", "extra"} and lambda_named.__name__ == "extra"
    assert repr(built.actions["defective"].writes["n"][0].value) == "2"


def _named(name: str) -> Any:
    def body(s: State) -> None:
        s.flag = True

    body.__name__ = name
    return body


# --- each -----------------------------------------------------------------------------------


def test_each_writes_every_element_at_once() -> None:
    def shift(s: State) -> None:
        with s.each(CPU, "c", lambda c: ~s.up[c]) as c:
            s.up[c] = exists(CPU, lambda d: s.up[d])
            s.used[c] = count(CPU, lambda d: s.up[d])

    assert after(shift, state())["up"] == {(0,): False, (1,): False}
    # The second statement sees what the first did, everywhere.
    assert after(shift, state(up={(0,): True}))["used"] == {(0,): 0, (1,): 2}


def test_each_adds_up_what_a_counter_gets() -> None:
    def tally(s: State) -> None:
        with s.each(CPU, "c", lambda c: s.up[c]) as c:
            s.n += s.used[c]

    before = state(up={(0,): True, (1,): True}, used={(0,): 3, (1,): 4}, n={(): 1})
    assert after(tally, before)["n"] == {(): 8}


def test_each_adds_up_below_a_condition_that_was_used_before() -> None:
    def tally(s: State) -> None:
        with s.when(s.flag):
            s.n = 5
            with s.each(CPU, "c") as c:
                s.n += s.used[c]

    assert after(tally, state(used={(0,): 3}, n={(): 1}))["n"] == {(): 1}
    assert after(tally, state(used={(0,): 3}, n={(): 1}, flag={(): True}))["n"] == {(): 8}


def test_each_on_the_diagonal_stays_on_it() -> None:
    made = Layer("square", (CPU,))
    made.field("sees", CPU, CPU, doc="")

    @made.action()
    def itself(s: State) -> None:
        """Everyone sees itself."""
        with s.each(CPU, "c") as c:
            s.sees[c, c] = True

    built = made.build()
    before: dict[str, Any] = {"sees": {(a, b): False for a in range(2) for b in range(2)}}
    result = apply(built, built.actions["itself"], {}, before, SIZES)
    assert result == {"sees": {(a, b): a == b for a in range(2) for b in range(2)}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda s, c: setattr(s, "n", s.n + s.n), "n: its change in an each block depends"),
        (lambda s, c: setattr(s, "flag", s.up[c]), "flag: .* each block"),
        (lambda s, c: s.map.__setitem__((s.next[c], s.home[c]), True), "map: .* each block"),
        (lambda s, c: s.up.__setitem__(s.next[c], True), "up: .* each block"),
    ],
)
def test_a_write_that_each_cannot_do_at_once_is_refused(body: Any, message: str) -> None:
    def collides(s: State) -> None:
        with s.each(CPU, "c") as c:
            body(s, c)

    with pytest.raises(ValueError, match=message):
        traced(collides)


def test_two_blocks_for_each_element_need_two_names() -> None:
    def twice(s: State) -> None:
        with s.each(CPU, "c"), s.each(CPU, "c") as c:
            s.up[c] = True

    with pytest.raises(ValueError, match="c is bound already"):
        traced(twice)


# --- what a specification may not say -------------------------------------------------------


def test_mistakes_are_named() -> None:
    def unknown(s: State) -> None:
        s.flags = True

    def unread(s: State) -> None:
        s.require(s.flags)

    def rigid(s: State, c: Term) -> None:
        s.wired[c] = True

    with pytest.raises(AttributeError, match="no field flags"):
        traced(unknown)
    with pytest.raises(AttributeError, match="no field flags"):
        traced(unread)
    with pytest.raises(ValueError, match="wired is rigid"):
        traced(rigid, c=CPU)
    with pytest.raises(AttributeError, match="up without arguments"):
        traced(_assigns_a_whole_field)
    with pytest.raises(ValueError, match="the parameter n has the name of a field"):
        traced(_clashes, n=INT)
    with pytest.raises(ValueError, match="a field cannot be named when"):
        layer().field("when", doc="")


def _assigns_a_whole_field(s: State) -> None:
    s.up = TRUE


def _clashes(s: State, n: Term) -> None:
    s.used[variable("c", CPU)] = n


def test_an_operation_that_leaves_something_in_hand_is_refused() -> None:
    def borrow(s: State) -> None:
        s.require(s.owed == 0)
        s.owed += 1

    def give_back(s: State) -> None:
        s.require(s.owed == 1)
        s.owed -= 1

    def balanced(s: State) -> None:
        """Both."""
        borrow(s)
        give_back(s)
        s.n += 1

    good, bad = layer(), layer()
    good.operation()(balanced)
    operation = good.build().operations["balanced"]
    assert set(operation.writes) == {"n"} and operation.guard is TRUE
    bad.operation()(borrow)
    with pytest.raises(ValueError, match="borrow leaves owed at 1"):
        bad.build()


def test_an_unknown_invariant_is_an_error() -> None:
    made = layer()
    made.invariant("I", "True enough.")(lambda s: s.flag | ~s.flag)
    assert made.build().invariant("I").formula is TRUE
    with pytest.raises(KeyError):
        made.build().invariant("J")


def test_a_layer_above_has_all_that_the_lower_has_but_what_it_leaves_out() -> None:
    made = layer()
    made.action()(_named("one"))
    made.action()(_named("two"))
    upper = made.extend("upper", (Sort("Irq"),), without=("two",))
    upper.field("more", doc="")
    assert set(upper.build().actions) == {"one"} and "more" not in made.fields
    assert [s.name for s in upper.sorts] == ["Cpu", "Bit", "Irq"]


def test_a_theorem_may_act_several_times() -> None:
    made = layer()

    @made.theorem("T", "Twice is by two.", mask=FunctionOf((CPU,), BOOL))
    def twice(before: State, s: State, mask: Any) -> Term:
        s.require(mask[variable("c", CPU)])
        for _ in range(2):
            s.n += total(CPU, lambda c: s.used[c])
        return s.n == before.n + total(CPU, lambda c: s.used[c] + s.used[c])

    (theorem,) = made.build().theorems
    now = state(used={(0,): 2, (1,): 3})
    assert evaluate(theorem.formula, now, SIZES) is True
    assert repr(theorem.guard) == "mask[c]"


def test_axioms_and_names_of_nothing() -> None:
    made = layer()
    made.axiom(lambda s: exists(CPU, lambda c: s.wired[c]))
    (axiom,) = made.build().axioms
    assert evaluate(axiom, state(), SIZES) is True
    assert and_(none(BIT) == none(BIT), axiom) is axiom
