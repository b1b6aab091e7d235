# SPDX-License-Identifier: GPL-2.0-only
"""Layers side by side: what agrees is joined, and what does not cannot be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofs import induction
from proofs.induction import Context, discharge, obligations
from proofs.verdict import Verdict
from spec.composition import Composition, foreign, join
from spec.language import Layer
from spec.mathematics import specification
from spec.records import Model
from spec.stack import MODELS, SWITCHES, stack
from spec.state import State
from spec.terms import BOOL, INT, Sort, Term, forall, implies
from tests.proofs.layers import CPU

LAMP = Sort("Lamp")


def switches(name: str = "switches", extra: Callable[[Layer], None] | None = None) -> Layer:
    """Lamps that are switched on and off."""
    layer = Layer(name, (CPU, LAMP))
    layer.field("lit", LAMP, doc="the lamp is lit")

    @layer.action(lamp=LAMP)
    def on(s: State, lamp: Term) -> None:
        """On."""
        s.require(~s.lit[lamp])
        s.lit[lamp] = True

    @layer.action(lamp=LAMP)
    def off(s: State, lamp: Term) -> None:
        """Off."""
        s.lit[lamp] = False

    if extra is not None:
        extra(layer)
    return layer


def meter(value: object = True, *, only_on: bool = False, guard: bool = True) -> Layer:
    """Which lamps were ever lit, and that they are lit only then."""
    layer = Layer("meter", (LAMP,))
    layer.field("lit", LAMP, doc="as the switches have it")
    layer.field("used", LAMP, doc="the lamp was lit once")

    @layer.action(lamp=LAMP, quick=BOOL)
    def on(s: State, lamp: Term, quick: Term) -> None:
        """The lamp is used."""
        if guard:
            s.require(~s.lit[lamp])
        s.lit[lamp] = value
        s.used[lamp] = True

    if not only_on:

        @layer.action(lamp=LAMP)
        def off(s: State, lamp: Term) -> None:
            """Not used any more."""
            s.lit[lamp] = False

    @layer.invariant("USED", "What is lit was lit once.")
    def used(s: State) -> Term:
        return forall(LAMP, lambda a: implies(s.lit[a], s.used[a]))

    @layer.theorem("LIT", "A lamp that is switched on is lit.", lamp=LAMP, quick=BOOL)
    def lit(before: State, s: State, lamp: Term, quick: Term) -> Term:
        on(s, lamp, quick)
        return s.lit[lamp]

    return layer


def house(*layers: Layer) -> Composition:
    return join("house", *layers)


def test_an_action_of_both_happens_in_both() -> None:
    model = house(switches(), meter()).build()
    on = model.actions["on"]
    assert set(on.writes) == {"lit", "used"}
    assert list(on.params) == ["lamp", "quick"]
    assert on.doc == "On.\nThe lamp is used."
    assert on.calls == ("on",)
    assert [part.name for part in model.parts] == ["switches", "meter"]
    assert not model.operations


def test_both_see_the_state_before() -> None:
    """The second requires what the first changes."""
    model = house(switches(), meter()).build()
    alone = switches().build().actions["on"]
    assert model.actions["on"].enabled is alone.enabled


def test_what_a_part_proves_is_not_proved_again() -> None:
    model = house(switches(), meter()).build()
    assert model.inherited == {"USED"}
    assert not model.own_invariants and not model.own_theorems
    assert [(i.id, i.layer) for i in model.invariants] == [("USED", "meter")]
    assert [(t.id, t.layer) for t in model.theorems] == [("LIT", "meter")]
    assert list(induction.names(model)) == [induction.INITIALLY, "on", "off"]
    context = Context.of(model)
    assert [o for name in induction.names(model) for o in obligations(context, name)] == []


def test_what_is_new_is_proved_from_what_the_parts_know() -> None:
    whole = house(switches(), meter())

    @whole.invariant("NEW", "A lamp that was never used is dark.", follows=True)
    def new(s: State) -> Term:
        return forall(LAMP, lambda a: implies(~s.used[a], ~s.lit[a]))

    context = Context.of(whole.build())
    results = [
        discharge(o) for name in induction.names(context.model) for o in obligations(context, name)
    ]
    assert {(r.subject, r.verdict) for r in results} == {("NEW", Verdict.PROVED)}
    assert [r.detail for r in results] == ["", "from USED"]


def test_a_further_condition_is_one_and_no_action_of_the_parts() -> None:
    whole = house(switches(), meter())

    @whole.also(lamp=LAMP)
    def off(s: State, lamp: Term) -> None:
        """Only what is lit."""
        s.require(s.lit[lamp])

    model = whole.build()
    lamp = model.actions["off"].enabled
    assert repr(lamp) == "lit[lamp]"
    assert house(switches(), meter()).build().actions["off"].enabled is not lamp


def test_an_action_of_all_layers_can_be_done_to_a_state() -> None:
    whole = house(switches(), meter())
    state = State(whole.fields, frozenset())
    lamp = next(iter(switches().build().actions["on"].enabled.args)).args[1]
    whole.act("on")(state, lamp, lamp)
    assert repr(state.used[lamp]) == "true"
    with pytest.raises(KeyError):
        whole.act("explode")


def _dims(layer: Layer) -> None:
    @layer.action(lamp=LAMP)
    def dim(s: State, lamp: Term) -> None:
        """A change that the meter does not know of."""
        s.lit[lamp] = False


def _counts(layer: Layer) -> None:
    layer.field("used", LAMP, type=INT, doc="how often")


def test_a_change_that_a_part_does_not_know_is_seen() -> None:
    whole = house(switches(extra=_dims), meter())
    with pytest.raises(ValueError, match="house: dim in meter: lit becomes"):
        whole.build()
    with pytest.raises(ValueError, match="house: off in meter: lit becomes"):
        house(switches(), meter(only_on=True)).build()


def test_a_part_whose_guard_is_gone_is_seen() -> None:
    whole = house(switches(), meter())
    part = whole.build().parts[0]
    loose = house(meter(guard=False)).build().actions["on"]
    assert "may happen where" in foreign(part, loose)
    whole_on = whole.build().actions["on"]
    assert foreign(part, whole_on) == ""


def test_what_two_layers_write_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="two steps at the same time write lit"):
        house(switches(), meter(value=False)).build()


def test_a_field_has_one_declaration() -> None:
    with pytest.raises(ValueError, match="meter declares used"):
        house(switches(extra=_counts), meter())


def test_a_parameter_has_one_type() -> None:
    other = Layer("other", (CPU,))

    @other.action(lamp=CPU)
    def on(s: State, lamp: Term) -> None:
        """A CPU for a lamp."""

    with pytest.raises(ValueError, match="on: lamp has two types"):
        house(switches(), other)


def _states_a_part(layer: Layer) -> None:
    @layer.invariant("USED", "No lamp is lit and dark.", unless=("H1",))
    def both(s: State) -> Term:
        return forall(LAMP, lambda a: ~(s.lit[a] & ~s.lit[a]) | s.lit[a])


def test_an_id_that_two_layers_state_parts_of_has_both() -> None:
    model = house(meter(), switches(extra=_states_a_part)).build()
    (invariant,) = model.invariants
    assert invariant.sentence == "What is lit was lit once. No lamp is lit and dark."
    assert invariant.unless == ("H1",)


def test_the_specification_of_a_composition_is_what_it_adds() -> None:
    lines = "\n".join(specification(house(switches(), meter()).build()))
    assert "JOINS switches, meter" in lines and "used" not in lines


# --- the stack ------------------------------------------------------------------------------


def test_every_layer_of_the_stack_is_checked_by_itself() -> None:
    for part in stack.parts:
        assert MODELS[part.name] is part


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_layers_agree_whatever_is_switched_on(switch: str) -> None:
    model: Model = stack.build(frozenset({switch}))
    assert len(model.parts) == len(stack.parts)


def test_ids_are_unique_in_each_model_and_stated_by_one_alone() -> None:
    owners: dict[str, list[str]] = {}
    for name, layer in MODELS.items():
        ids = [i.id for i in layer.build().invariants]
        assert len(ids) == len(set(ids)), name
        for invariant in layer.build().own_invariants:
            owners.setdefault(invariant.id, []).append(name)
    shared = {id: names for id, names in owners.items() if len(names) > 1}
    assert shared == {
        "GEN-2": ["vectors", "hierarchy"],
        "MSI-2": ["msi", "devices"],
        "PCI-9": ["msi", "routing"],
        "SEL-3": ["routing", "remapping"],
        "HVI-3": ["routing", "remapping"],
        "IMS-5": ["ims", "ims_queue"],
        "IMS-6": ["ims", "ims_queue"],
    }
