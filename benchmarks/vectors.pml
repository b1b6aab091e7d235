/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The operations of spec/vector_operations.py in Promela, for a scope in which every vector is
 * allocatable and there are no ISA interrupts. Sizes are given to the preprocessor:
 * -DNCPU=2 -DNVEC=3 -DNIRQ=2, at most 3, 4 and 3.
 *
 * Written as a user of SPIN would who wants it to be fast: sets are bit masks, an operation with
 * its parameters chosen is one d_step behind one guard, so that no state lies in between, and what
 * the invariants imply is not asked again by the guards. Constant fields (isa, retriggered) are
 * left out. The invariants are the guard of a second process, so that each is evaluated once in
 * every state and costs no transition while all hold.
 */

#define NONE NCPU
#define ALL ((1 << NVEC) - 1)
#define B(x) (1 << (x))
#define POP(x) (((x) & 1) + (((x) >> 1) & 1) + (((x) >> 2) & 1) + (((x) >> 3) & 1))

#if NCPU == 1
#define CPUS(M) M(0)
#define I_CPUS(M, i) M(i, 0)
#define CPU_MASKS(M, i) M(i, 1)
#define MASKS_C(M, i, c) M(i, 1, c)
#elif NCPU == 2
#define CPUS(M) M(0) M(1)
#define I_CPUS(M, i) M(i, 0) M(i, 1)
#define CPU_MASKS(M, i) M(i, 1) M(i, 2) M(i, 3)
#define MASKS_C(M, i, c) M(i, 1, c) M(i, 2, c) M(i, 3, c)
#else
#define CPUS(M) M(0) M(1) M(2)
#define I_CPUS(M, i) M(i, 0) M(i, 1) M(i, 2)
#define CPU_MASKS(M, i) M(i, 1) M(i, 2) M(i, 3) M(i, 4) M(i, 5) M(i, 6) M(i, 7)
#define MASKS_C(M, i, c) M(i, 1, c) M(i, 2, c) M(i, 3, c) M(i, 4, c) M(i, 5, c) M(i, 6, c) M(i, 7, c)
#endif

#if NVEC == 1
#define C_BITS(M, c) M(c, 1)
#define IC_BITS(M, i, c) M(i, c, 1)
#define IMC_BITS(M, i, m, c) M(i, m, c, 1)
#define SLOTS0(M, i) M(i, 0) M(i, 1)
#define SLOTS1(M, i, a) M(i, a, 0) M(i, a, 1)
#define SLOTS2(M, i, a, b) M(i, a, b, 0) M(i, a, b, 1)
#elif NVEC == 2
#define C_BITS(M, c) M(c, 1) M(c, 2)
#define IC_BITS(M, i, c) M(i, c, 1) M(i, c, 2)
#define IMC_BITS(M, i, m, c) M(i, m, c, 1) M(i, m, c, 2)
#define SLOTS0(M, i) M(i, 0) M(i, 1) M(i, 2)
#define SLOTS1(M, i, a) M(i, a, 0) M(i, a, 1) M(i, a, 2)
#define SLOTS2(M, i, a, b) M(i, a, b, 0) M(i, a, b, 1) M(i, a, b, 2)
#elif NVEC == 3
#define C_BITS(M, c) M(c, 1) M(c, 2) M(c, 4)
#define IC_BITS(M, i, c) M(i, c, 1) M(i, c, 2) M(i, c, 4)
#define IMC_BITS(M, i, m, c) M(i, m, c, 1) M(i, m, c, 2) M(i, m, c, 4)
#define SLOTS0(M, i) M(i, 0) M(i, 1) M(i, 2) M(i, 4)
#define SLOTS1(M, i, a) M(i, a, 0) M(i, a, 1) M(i, a, 2) M(i, a, 4)
#define SLOTS2(M, i, a, b) M(i, a, b, 0) M(i, a, b, 1) M(i, a, b, 2) M(i, a, b, 4)
#else
#define C_BITS(M, c) M(c, 1) M(c, 2) M(c, 4) M(c, 8)
#define IC_BITS(M, i, c) M(i, c, 1) M(i, c, 2) M(i, c, 4) M(i, c, 8)
#define IMC_BITS(M, i, m, c) M(i, m, c, 1) M(i, m, c, 2) M(i, m, c, 4) M(i, m, c, 8)
#define SLOTS0(M, i) M(i, 0) M(i, 1) M(i, 2) M(i, 4) M(i, 8)
#define SLOTS1(M, i, a) M(i, a, 0) M(i, a, 1) M(i, a, 2) M(i, a, 4) M(i, a, 8)
#define SLOTS2(M, i, a, b) M(i, a, b, 0) M(i, a, b, 1) M(i, a, b, 2) M(i, a, b, 4) M(i, a, b, 8)
#endif

#if NIRQ == 1
#define IRQS(M) M(0)
#define IRQS_AT(M, c) M(c, 0)
#define PAIRS(M, c) true
#elif NIRQ == 2
#define IRQS(M) M(0) M(1)
#define IRQS_AT(M, c) M(c, 0) M(c, 1)
#define PAIRS(M, c) M(c, 0, 1)
#else
#define IRQS(M) M(0) M(1) M(2)
#define IRQS_AT(M, c) M(c, 0) M(c, 1) M(c, 2)
#define PAIRS(M, c) M(c, 0, 1) && M(c, 0, 2) && M(c, 1, 2)
#endif

/* The matrix: masks of vectors, counters. */
byte system_map, systembits_inalloc;
byte alloc_map[NCPU], managed_map[NCPU], shutdown_mark[NCPU];
byte available[NCPU], allocated[NCPU], managed[NCPU], managed_allocated[NCPU];
byte online_maps, global_available, global_reserved, total_allocated;
/* Masks of CPUs. */
byte initialized, online, cpu_online, dying = NONE;
byte affinity[NIRQ], effective[NIRQ], holds[NIRQ];
/* Masks of irqs. */
byte desc, affinity_managed, managed_shutdown, irqd_can_reserve, activated, started, pending;
byte present, is_managed, can_reserve, has_reserved, moving, cfg_shutdown, shortcut;
/* A vector is a mask with one bit, or 0; a CPU is a number, or NONE. */
byte vector[NIRQ], prev_vector[NIRQ], cfg_vector[NIRQ];
byte cpu[NIRQ] = NONE, prev_cpu[NIRQ] = NONE, cleanup[NIRQ] = NONE, cfg_cpu[NIRQ] = NONE;
/* table[c * NIRQ + i]: the vectors of CPU c whose descriptor is that of irq i. */
byte table[NCPU * NIRQ];

#define ON(field, i) (field & B(i))
#define SET(field, i) field = field | B(i)
#define CLR(field, i) field = field & ~B(i)
#define TABLE(c, i) table[(c) * NIRQ + (i)]
#define CALM (dying == NONE)
#define UP(c) (cpu_online & B(c))
#define ALIVE(i) ((cpu_online >> cpu[i]) & 1)
#define FREE(c, v) (!((alloc_map[c] | managed_map[c] | system_map) & (v)))
#define SPARE(c, v) (managed_map[c] & ~alloc_map[c] & (v))

/* --- what the operations share --- */

#if NIRQ == 1
#define NOBODY(c, v) TABLE(c, 0) = TABLE(c, 0) & ~(v)
#define EMPTY(c) TABLE(c, 0) = 0
#elif NIRQ == 2
#define NOBODY(c, v) TABLE(c, 0) = TABLE(c, 0) & ~(v); TABLE(c, 1) = TABLE(c, 1) & ~(v)
#define EMPTY(c) TABLE(c, 0) = 0; TABLE(c, 1) = 0
#else
#define NOBODY(c, v) TABLE(c, 0) = TABLE(c, 0) & ~(v); TABLE(c, 1) = TABLE(c, 1) & ~(v); \
	TABLE(c, 2) = TABLE(c, 2) & ~(v)
#define EMPTY(c) TABLE(c, 0) = 0; TABLE(c, 1) = 0; TABLE(c, 2) = 0
#endif

#define CONFIG(i, c, v) \
	cfg_vector[i] = v; cfg_cpu[i] = c; CLR(cfg_shutdown, i); CLR(shortcut, i); effective[i] = B(c)

#define CONFIG_SHUTDOWN(i) \
	cfg_vector[i] = 0; cfg_cpu[i] = NONE; SET(cfg_shutdown, i); CLR(shortcut, i); effective[i] = 0

#define UPDATE(i, c, v) \
	vector[i] = v; cpu[i] = c; NOBODY(c, v); TABLE(c, i) = TABLE(c, i) | v; \
	shutdown_mark[c] = shutdown_mark[c] & ~v; CONFIG(i, c, v)

#define KEEP_OLD(i) SET(moving, i); prev_vector[i] = vector[i]; prev_cpu[i] = cpu[i]

/* A regular bit, or a managed one, comes back. */
#define FREE_REGULAR(c, v) \
	alloc_map[c] = alloc_map[c] & ~v; allocated[c]--; total_allocated--; \
	available[c]++; global_available++
#define FREE_MANAGED(c, v) \
	alloc_map[c] = alloc_map[c] & ~v; allocated[c]--; total_allocated--; managed_allocated[c]--

#define TAKE(i, c, v) \
	if \
	:: !vector[i] -> skip \
	:: vector[i] && ALIVE(i) -> KEEP_OLD(i) \
	:: else -> FREE_REGULAR(cpu[i], vector[i]) \
	fi; \
	alloc_map[c] = alloc_map[c] | v; allocated[c]++; total_allocated++; \
	available[c]--; global_available--; UPDATE(i, c, v)

#define TAKE_MANAGED(i, c, v) \
	if \
	:: !vector[i] -> skip \
	:: vector[i] && ALIVE(i) -> KEEP_OLD(i) \
	:: else -> FREE_MANAGED(cpu[i], vector[i]) \
	fi; \
	alloc_map[c] = alloc_map[c] | v; allocated[c]++; total_allocated++; \
	managed_allocated[c]++; UPDATE(i, c, v)

#define CLEAR(i, c, v, FREE_IT) \
	NOBODY(c, v); shutdown_mark[c] = shutdown_mark[c] | v; FREE_IT(c, v)

#define RELEASE(i, FREE_IT) \
	CLEAR(i, cpu[i], vector[i], FREE_IT); \
	if \
	:: prev_vector[i] -> CLEAR(i, prev_cpu[i], prev_vector[i], FREE_IT) \
	:: else -> skip \
	fi; \
	vector[i] = 0; cpu[i] = NONE; prev_vector[i] = 0; prev_cpu[i] = NONE; \
	cleanup[i] = NONE; CLR(moving, i)

#define FREE_MOVED(i) \
	NOBODY(prev_cpu[i], prev_vector[i]); \
	shutdown_mark[prev_cpu[i]] = shutdown_mark[prev_cpu[i]] & ~prev_vector[i]; \
	if \
	:: ON(is_managed, i) -> FREE_MANAGED(prev_cpu[i], prev_vector[i]) \
	:: else -> FREE_REGULAR(prev_cpu[i], prev_vector[i]) \
	fi; \
	prev_vector[i] = 0; prev_cpu[i] = NONE; cleanup[i] = NONE; CLR(moving, i)

#define BOOK(i) \
	global_reserved++; SET(has_reserved, i); SET(can_reserve, i); SET(irqd_can_reserve, i); \
	CONFIG_SHUTDOWN(i)

#define FORGET(i) \
	CLR(present, i); CLR(is_managed, i); CLR(can_reserve, i); CLR(has_reserved, i); \
	CLR(activated, i); CLR(cfg_shutdown, i); CLR(shortcut, i); \
	CLR(desc, i); CLR(affinity_managed, i); CLR(managed_shutdown, i); \
	CLR(irqd_can_reserve, i); CLR(pending, i); \
	cfg_vector[i] = 0; cfg_cpu[i] = NONE; effective[i] = 0; affinity[i] = 0; holds[i] = 0

/* --- boot and hotplug --- */

#define ASSIGN_SYSTEM(c, v) \
	:: d_step { CALM && !(system_map & v) && !initialized -> \
		system_map = system_map | v; systembits_inalloc++ }

#define CPU_UP(c) \
	:: d_step { CALM && !UP(c) && !(online & B(c)) -> \
		if \
		:: initialized & B(c) -> skip \
		:: else -> available[c] = NVEC - managed[c] - systembits_inalloc; SET(initialized, c) \
		fi; \
		global_available = global_available + available[c]; \
		SET(online, c); online_maps++; SET(cpu_online, c); EMPTY(c); shutdown_mark[c] = 0 }

#define STAYS(c, i) && (cpu[i] != c || ON(started, i))
#define CPU_DOWN(c) \
	:: d_step { CALM && UP(c) && (cpu_online & ~B(c)) && \
		allocated[c] - managed_allocated[c] <= global_available - available[c] \
		IRQS_AT(STAYS, c) -> \
		CLR(cpu_online, c); dying = c }

#define AWAY(c, i) && cpu[i] != c && prev_cpu[i] != c && \
	(!ON(affinity_managed, i) || (affinity[i] & cpu_online) || \
	 ((ON(managed_shutdown, i) || !ON(activated, i)) && !ON(started, i) && !vector[i]))
#define CPU_DEAD(c) \
	:: d_step { dying == c IRQS_AT(AWAY, c) -> \
		EMPTY(c); shutdown_mark[c] = 0; dying = NONE; \
		global_available = global_available - available[c]; CLR(online, c); online_maps-- }

#define FORCE_COMPLETE_MOVE(i) \
	:: d_step { !CALM && prev_vector[i] && (cpu[i] == dying || prev_cpu[i] == dying) -> \
		FREE_MOVED(i) }

#define LEAVES(i) (!CALM && cpu[i] == dying && ON(started, i) && !prev_vector[i])

#define MIGRATE(i, c, v) \
	:: d_step { LEAVES(i) && !ON(is_managed, i) && UP(c) && FREE(c, v) -> TAKE(i, c, v) } \
	:: d_step { LEAVES(i) && ON(is_managed, i) && (affinity[i] & B(c)) && UP(c) && \
		SPARE(c, v) -> TAKE_MANAGED(i, c, v) }

#define MIGRATE_SHUTDOWN(i) \
	:: d_step { LEAVES(i) && ON(is_managed, i) && !(affinity[i] & cpu_online) -> \
		SET(managed_shutdown, i); CLR(started, i); RELEASE(i, FREE_MANAGED); \
		CONFIG_SHUTDOWN(i); CLR(activated, i) }

/* --- allocation --- */

#define NEW(i) (CALM && !ON(desc, i) && cpu_online)

#define ALLOC_RESERVED(i, m) \
	:: d_step { NEW(i) -> SET(desc, i); affinity[i] = m; BOOK(i); SET(present, i) }

#define ALLOC_MASKED(i, c, v) \
	:: d_step { NEW(i) && UP(c) && FREE(c, v) -> \
		SET(desc, i); affinity[i] = B(c); TAKE(i, c, v); SET(present, i) }

#define SET_ASIDE(c, v) \
	if \
	:: v -> managed_map[c] = managed_map[c] | v; managed[c]++; \
		if :: initialized & B(c) -> available[c]-- :: else -> skip fi; \
		if :: online & B(c) -> global_available-- :: else -> skip fi \
	:: else -> skip \
	fi
#define GIVE_BACK(c, v) \
	if \
	:: v -> managed_map[c] = managed_map[c] & ~v; managed[c]--; \
		if :: initialized & B(c) -> available[c]++ :: else -> skip fi; \
		if :: online & B(c) -> global_available++ :: else -> skip fi \
	:: else -> skip \
	fi
#define IN_USE(i, c) \
	(alloc_map[c] & ~(cpu[i] == c -> vector[i] : 0) & ~(prev_cpu[i] == c -> prev_vector[i] : 0))
#define GOES(i, c, v) (!(affinity[i] & B(c)) == !(v) && !((v) & ~(managed_map[c] & ~IN_USE(i, c))))
#define BIT(c, v) ((v) -> B(c) : 0)

#define ALLOC_MANAGED(i, m) \
	SET(desc, i); SET(affinity_managed, i); SET(managed_shutdown, i); affinity[i] = m; \
	SET(is_managed, i); holds[i] = m; SET(present, i)
#define FREE_MANAGED_GUARD(i) (CALM && ON(is_managed, i) && ON(present, i) && !ON(started, i))
#define LEAVE(i) if :: vector[i] -> RELEASE(i, FREE_MANAGED) :: else -> skip fi

#if NCPU == 1
#define MANAGED(i, a) \
	:: d_step { NEW(i) && a && FREE(0, a) -> ALLOC_MANAGED(i, BIT(0, a)); SET_ASIDE(0, a) } \
	:: d_step { FREE_MANAGED_GUARD(i) && a && GOES(i, 0, a) -> \
		LEAVE(i); GIVE_BACK(0, a); FORGET(i) }
#define MANAGED_OPERATIONS(i) SLOTS0(MANAGED, i)
#elif NCPU == 2
#define MANAGED(i, a, b) \
	:: d_step { NEW(i) && (a || b) && FREE(0, a) && FREE(1, b) -> \
		ALLOC_MANAGED(i, BIT(0, a) | BIT(1, b)); SET_ASIDE(0, a); SET_ASIDE(1, b) } \
	:: d_step { FREE_MANAGED_GUARD(i) && (a || b) && GOES(i, 0, a) && GOES(i, 1, b) -> \
		LEAVE(i); GIVE_BACK(0, a); GIVE_BACK(1, b); FORGET(i) }
#define MANAGED0(i, a) SLOTS1(MANAGED, i, a)
#define MANAGED_OPERATIONS(i) SLOTS0(MANAGED0, i)
#else
#define MANAGED(i, a, b, d) \
	:: d_step { NEW(i) && (a || b || d) && FREE(0, a) && FREE(1, b) && FREE(2, d) -> \
		ALLOC_MANAGED(i, BIT(0, a) | BIT(1, b) | BIT(2, d)); \
		SET_ASIDE(0, a); SET_ASIDE(1, b); SET_ASIDE(2, d) } \
	:: d_step { FREE_MANAGED_GUARD(i) && (a || b || d) && \
		GOES(i, 0, a) && GOES(i, 1, b) && GOES(i, 2, d) -> \
		LEAVE(i); GIVE_BACK(0, a); GIVE_BACK(1, b); GIVE_BACK(2, d); FORGET(i) }
#define MANAGED1(i, a, b) SLOTS2(MANAGED, i, a, b)
#define MANAGED0(i, a) SLOTS1(MANAGED1, i, a)
#define MANAGED_OPERATIONS(i) SLOTS0(MANAGED0, i)
#endif

#define CANNOT_MASK(i) \
	:: d_step { CALM && ON(has_reserved, i) && ON(irqd_can_reserve, i) -> CLR(irqd_can_reserve, i) }

#define FREE_IRQ(i) \
	:: d_step { CALM && ON(present, i) && !ON(is_managed, i) && !ON(started, i) -> \
		if :: vector[i] -> RELEASE(i, FREE_REGULAR) :: else -> skip fi; \
		if :: ON(has_reserved, i) -> global_reserved-- :: else -> skip fi; \
		FORGET(i) }

/* --- activation --- */

#define ACTIVATE(i, c, v) \
	:: d_step { CALM && ON(has_reserved, i) && UP(c) && FREE(c, v) -> \
		TAKE(i, c, v); global_reserved--; CLR(has_reserved, i); \
		if :: ON(irqd_can_reserve, i) -> SET(can_reserve, i) :: else -> CLR(can_reserve, i) fi; \
		SET(activated, i) } \
	:: d_step { CALM && vector[i] && !ON(activated, i) && !ON(is_managed, i) && \
		!ON(can_reserve, i) && !prev_vector[i] && cpu[i] != c && UP(c) && FREE(c, v) -> \
		TAKE(i, c, v); SET(activated, i) } \
	:: d_step { CALM && ON(is_managed, i) && !ON(started, i) && !vector[i] && \
		(affinity[i] & B(c)) && UP(c) && SPARE(c, v) -> \
		CLR(managed_shutdown, i); TAKE_MANAGED(i, c, v); SET(activated, i); SET(started, i) }

#define ACTIVATE_IN_PLACE(i) \
	:: d_step { CALM && vector[i] && !ON(activated, i) && !ON(is_managed, i) && ALIVE(i) -> \
		SET(activated, i) }

#define STARTUP(i) \
	:: d_step { CALM && !ON(is_managed, i) && !ON(started, i) && ON(activated, i) && \
		vector[i] && ALIVE(i) -> SET(started, i) }

#define DEACTIVATE(i) \
	:: d_step { CALM && ON(activated, i) && !ON(is_managed, i) && !ON(can_reserve, i) -> \
		CLR(started, i); CLR(activated, i) } \
	:: d_step { CALM && ON(activated, i) && !ON(is_managed, i) && ON(can_reserve, i) && vector[i] -> \
		CLR(started, i); RELEASE(i, FREE_REGULAR); BOOK(i); CLR(activated, i) } \
	:: d_step { CALM && ON(activated, i) && ON(is_managed, i) && vector[i] -> \
		CLR(started, i); RELEASE(i, FREE_MANAGED); CONFIG_SHUTDOWN(i); CLR(activated, i) }

/* --- affinity and moves --- */

#define SET_AFFINITY_TO(i, m, c, v) \
	:: d_step { CALM && ON(activated, i) && vector[i] && !ON(is_managed, i) && (m & B(c)) && \
		UP(c) && !(ALIVE(i) && (m & B(cpu[i]))) && cpu[i] != c && !prev_vector[i] && FREE(c, v) -> \
		TAKE(i, c, v); affinity[i] = m; CLR(pending, i) }
#define SET_AFFINITY(i, m, c) IMC_BITS(SET_AFFINITY_TO, i, m, c)

#define SET_AFFINITY_BUSY(i) \
	:: d_step { CALM && ON(activated, i) && prev_vector[i] && !ON(is_managed, i) && \
		!ON(pending, i) -> SET(pending, i) }

#define SET_AFFINITY_INACTIVE(i, m) \
	:: d_step { CALM && ON(desc, i) && !ON(activated, i) && !ON(is_managed, i) -> \
		affinity[i] = m; effective[i] = (cfg_vector[i] -> m : 0); SET(shortcut, i) }

#define SET_AFFINITY_MANAGED(i, c, v) \
	:: d_step { CALM && ON(activated, i) && vector[i] && ON(is_managed, i) && \
		(affinity[i] & B(c)) && UP(c) && cpu[i] != c && !prev_vector[i] && SPARE(c, v) -> \
		TAKE_MANAGED(i, c, v) }

#define COMPLETE_MOVE(i) \
	:: d_step { CALM && ON(moving, i) && ALIVE(i) && ((cpu_online >> prev_cpu[i]) & 1) -> \
		CLR(moving, i); cleanup[i] = prev_cpu[i] }

#define CLEANUP(i) \
	:: d_step { CALM && cleanup[i] != NONE && ((cpu_online >> cleanup[i]) & 1) -> FREE_MOVED(i) }

#define SPURIOUS(c, v) \
	:: d_step { CALM && UP(c) && (shutdown_mark[c] & v) -> \
		shutdown_mark[c] = shutdown_mark[c] & ~v }

/* --- all instances --- */

#define OF_C_BIT(c) C_BITS(ASSIGN_SYSTEM, c) C_BITS(SPURIOUS, c)
#define OF_ICV(i, c, v) \
	MIGRATE(i, c, v) ALLOC_MASKED(i, c, v) ACTIVATE(i, c, v) SET_AFFINITY_MANAGED(i, c, v)
#define OF_IC(i, c) IC_BITS(OF_ICV, i, c) MASKS_C(SET_AFFINITY, i, c)
#define OF_IM(i, m) ALLOC_RESERVED(i, m) SET_AFFINITY_INACTIVE(i, m)
#define OF_I(i) \
	FORCE_COMPLETE_MOVE(i) MIGRATE_SHUTDOWN(i) CANNOT_MASK(i) FREE_IRQ(i) ACTIVATE_IN_PLACE(i) \
	STARTUP(i) DEACTIVATE(i) SET_AFFINITY_BUSY(i) COMPLETE_MOVE(i) CLEANUP(i) \
	CPU_MASKS(OF_IM, i) I_CPUS(OF_IC, i) MANAGED_OPERATIONS(i)

active proctype operations()
{
end:	do
	CPUS(CPU_UP)
	CPUS(CPU_DOWN)
	CPUS(CPU_DEAD)
	CPUS(OF_C_BIT)
	IRQS(OF_I)
	od
}

/* --- invariants --- */

#define OWN(c, i) \
	((cpu[i] == c -> vector[i] : 0) | (prev_cpu[i] == c -> prev_vector[i] : 0))
#define OR_OWN(c, i) | OWN(c, i)
#define OWNED(c) (0 IRQS_AT(OR_OWN, c))
#define PLUS_HOLDS(c, i) + ((holds[i] >> c) & 1)
#define LEFT(c) (NVEC - systembits_inalloc - managed[c] - allocated[c] + managed_allocated[c])
#define FREE_BITS(c) (ALL & ~(alloc_map[c] | managed_map[c] | system_map))

#define MX_1(c) && !((alloc_map[c] | managed_map[c]) & ~ALL)
#define MX_2(c) && !((alloc_map[c] | managed_map[c]) & system_map)
#define MX_3(c) && allocated[c] == POP(alloc_map[c]) && managed[c] == POP(managed_map[c]) && \
	managed_allocated[c] == POP(alloc_map[c] & managed_map[c])
#define MX_4(c) && managed_allocated[c] <= managed[c] && managed_allocated[c] <= allocated[c] && \
	managed[c] - managed_allocated[c] == POP(managed_map[c] & ~alloc_map[c]) && \
	allocated[c] - managed_allocated[c] == POP(alloc_map[c] & ~managed_map[c])
#define MX_6(c) && ((initialized & B(c)) -> available[c] == LEFT(c) \
	: available[c] == 0 && allocated[c] == 0)
#define MX_7(c) + ((online & B(c)) -> available[c] : 0)
#define MX_9(c) + allocated[c]
#define MX_11(c) && POP(FREE_BITS(c)) == LEFT(c) && \
	(!(initialized & B(c)) || (available[c] > 0) == (FREE_BITS(c) != 0))

#define OWNS_WELL(c, i) && !(OWN(c, i) & ~alloc_map[c]) && \
	(OWN(c, i) & managed_map[c]) == (ON(is_managed, i) -> OWN(c, i) : 0)
#define APART(c, i, j) !(OWN(c, i) & OWN(c, j))
#define VEC_9(c) && PAIRS(APART, c)
#define VEC_10(c) && !(alloc_map[c] & ~OWNED(c))
#define SOUND(c, i) && (!UP(c) || !(TABLE(c, i) & ~OWN(c, i)))
#define COMPLETE(c, i) && (!UP(c) || !(OWN(c, i) & ~TABLE(c, i)))
#define HELD(c, i) && ((holds[i] >> c) & 1) == (ON(is_managed, i) && (affinity[i] & B(c)))
#define EFFECTIVE(c, i) && (!vector[i] || ON(shortcut, i) || \
	((effective[i] >> c) & 1) == (cpu[i] == c))
#define RESTING(c, i) && (!(ON(has_reserved, i) || (ON(is_managed, i) && !vector[i])) || !OWN(c, i))
#define ONE_PER_CPU(c, i) && !(OWN(c, i) & (OWN(c, i) - 1))
#define AT_HOME(c, i) && ((cpu[i] != c && prev_cpu[i] != c) || (online & B(c)))
#define OF_EVERY_IRQ(c) \
	IRQS_AT(OWNS_WELL, c) IRQS_AT(SOUND, c) IRQS_AT(COMPLETE, c) IRQS_AT(HELD, c) \
	IRQS_AT(EFFECTIVE, c) IRQS_AT(RESTING, c) IRQS_AT(ONE_PER_CPU, c) IRQS_AT(AT_HOME, c)
#define VEC_15(c) && managed[c] == (0 IRQS_AT(PLUS_HOLDS, c))
#define VEC_18(c) && !(alloc_map[c] | managed_map[c])
#define CPU_ONLINE(c) && (!UP(c) || (online & B(c))) && \
	((online & B(c)) && !UP(c)) == (dying == c)

#define VEC_1(i) && (!ON(has_reserved, i) || \
	(ON(can_reserve, i) && !ON(is_managed, i) && !vector[i] && !prev_vector[i]))
#define PLUS_RESERVED(i) + (ON(has_reserved, i) -> 1 : 0)
#define VEC_4(i) && (!prev_vector[i] || vector[i])
#define VEC_6(i) && (prev_vector[i] != 0) == (ON(moving, i) || cleanup[i] != NONE) && \
	!(ON(moving, i) && cleanup[i] != NONE)
#define VEC_7(i) && (cleanup[i] == NONE || (cleanup[i] == prev_cpu[i] && prev_vector[i]))
#define VEC_8(i) && (!prev_vector[i] || prev_cpu[i] != cpu[i])
#define NAMED(i) (cfg_vector[i] == vector[i] && cfg_cpu[i] == cpu[i])
#define UNNAMED(i) (!cfg_vector[i] && cfg_cpu[i] == NONE)
#define VEC_13(i) && (!vector[i] || NAMED(i)) && (!ON(cfg_shutdown, i) || UNNAMED(i)) && \
	(NAMED(i) || UNNAMED(i))
#define VEC_22(i) && (!ON(started, i) || (vector[i] && (ALIVE(i) || (cpu[i] == dying && !CALM))))
#define GEN_3(i) && (!ON(affinity_managed, i) || (affinity[i] & cpu_online) || !CALM || \
	((ON(managed_shutdown, i) || !ON(activated, i)) && !ON(started, i) && !vector[i]))
#define VEC_PRESENT(i) && (ON(present, i) || !(vector[i] || ON(is_managed, i) || \
	ON(has_reserved, i) || ON(can_reserve, i) || ON(cfg_shutdown, i) || cfg_vector[i] || \
	cfg_cpu[i] != NONE || ON(started, i))) && \
	(vector[i] == 0) == (cpu[i] == NONE) && (prev_vector[i] == 0) == (prev_cpu[i] == NONE)
#define VEC_PC(i) && (!(ON(affinity_managed, i) && ON(present, i)) || ON(is_managed, i)) && \
	(!ON(has_reserved, i) || !ON(affinity_managed, i)) && \
	(!ON(present, i) || vector[i] || ON(has_reserved, i) || ON(is_managed, i)) && \
	(vector[i] || prev_vector[i] || !ON(present, i) || !ON(started, i))

#define SUBSET(a, b) (!((a) & ~(b)))

#define INVARIANTS (true CPUS(MX_1) CPUS(MX_2) CPUS(MX_3) CPUS(MX_4) \
	&& SUBSET(system_map, ALL) && systembits_inalloc == POP(system_map) \
	CPUS(MX_6) && global_available == (0 CPUS(MX_7)) \
	&& online_maps == POP(online) && SUBSET(online, initialized) \
	&& total_allocated == (0 CPUS(MX_9)) CPUS(MX_11) \
	IRQS(VEC_1) && !(is_managed & (can_reserve | has_reserved)) \
	&& global_reserved == (0 IRQS(PLUS_RESERVED)) IRQS(VEC_4) IRQS(VEC_6) IRQS(VEC_7) IRQS(VEC_8) \
	CPUS(OF_EVERY_IRQ) CPUS(VEC_9) CPUS(VEC_10) IRQS(VEC_13) CPUS(VEC_15) \
	&& (present || (!global_reserved CPUS(VEC_18))) IRQS(VEC_22) \
	&& SUBSET(started, activated) IRQS(GEN_3) IRQS(VEC_PRESENT) IRQS(VEC_PC) \
	&& SUBSET(activated, present) && SUBSET(started, present) && SUBSET(present, desc) \
	&& SUBSET(is_managed, affinity_managed) && (!desc || initialized) CPUS(CPU_ONLINE))

active proctype invariants()
{
end:	do
	:: d_step { !INVARIANTS -> assert(false) }
	od
}
