# SPDX-License-Identifier: GPL-2.0-only
"""Random programs for small machines of three CPUs, four vectors and few interrupts."""

from collections.abc import Callable

from hypothesis import strategies as st

from impl.vector_machine import VectorMachine

__all__ = ["NR_CPUS", "Operation", "operations"]

NR_CPUS = 3
Operation = Callable[[VectorMachine], object]

_irq = st.integers(1, 4)
_cpu = st.integers(0, NR_CPUS - 1)
_mask = st.integers(1, (1 << NR_CPUS) - 1)
_vector = st.integers(1, 4)


def operations() -> st.SearchStrategy[Operation]:
    return st.one_of(
        st.just(lambda m: m.alloc_irqs(1)),
        _mask.map(lambda c: lambda m: m.alloc_irqs(1, mask=c)),
        _mask.map(lambda c: lambda m: m.alloc_irqs(2, affinity=[c, c], managed=True)),
        _irq.map(lambda i: lambda m: m.free_irqs(i)),
        st.tuples(_irq, st.booleans()).map(lambda a: lambda m: m.early_activate(*a)),
        _irq.map(lambda i: lambda m: m.request_irq(i)),
        _irq.map(lambda i: lambda m: m.free_irq(i)),
        _irq.map(lambda i: lambda m: m.disable_irq(i)),
        _irq.map(lambda i: lambda m: m.enable_irq(i)),
        st.tuples(_irq, _mask).map(lambda a: lambda m: m.set_affinity(*a)),
        st.tuples(_irq, _mask).map(lambda a: lambda m: m.set_managed_affinity(*a)),
        _irq.map(lambda i: lambda m: m.fire(i)),
        st.tuples(_cpu, _vector).map(lambda a: lambda m: m.fire_vector(*a)),
        _cpu.map(lambda c: lambda m: m.cleanup_ipi(c)),
        _cpu.map(lambda c: lambda m: m.cpu_up(c)),
        st.tuples(_cpu, st.sets(_vector)).map(lambda a: lambda m: m.cpu_down(*a)),
        st.integers(1, 3).map(lambda n: lambda m: m.fail_next("alloc_apic_chip_data", n)),
    )
