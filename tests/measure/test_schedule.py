from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bpfbench.measure.schedule import block_order, split_cpus

names = st.text("abcdef", min_size=1, max_size=3)
cells = st.sets(st.tuples(names, st.sampled_from(["native", "kernel", "embedded"])), min_size=1)


@given(st.integers(0, 2**48), st.integers(0, 100), cells)
def test_a_block_has_every_cell_once(seed, block, cells):
    order = block_order(seed, block, cells)
    assert Counter(order) == Counter(dict.fromkeys(cells, 1))


@given(st.integers(0, 2**48), st.integers(0, 100), cells)
def test_the_arms_of_a_case_follow_each_other(seed, block, cells):
    cases = [case for case, _ in block_order(seed, block, cells)]
    runs = [case for i, case in enumerate(cases) if i == 0 or cases[i - 1] != case]
    assert len(runs) == len(set(runs))


@given(st.integers(0, 2**48), st.integers(0, 100), cells)
def test_the_order_is_reproducible_and_ignores_the_order_of_the_input(seed, block, cells):
    assert block_order(seed, block, sorted(cells)) == block_order(seed, block, sorted(cells, reverse=True))


def test_blocks_and_seeds_differ_and_every_arm_comes_first_about_as_often():
    cells = [(case, arm) for case in "abcdefgh" for arm in ("native", "kernel")]
    orders = [tuple(block_order(1, block, cells)) for block in range(200)]
    assert len(set(orders)) == 200
    assert block_order(1, 5, cells) != block_order(2, 5, cells)
    first = Counter(order[0][1] for order in orders)
    assert 60 < first["native"] < 140


def test_the_measured_program_gets_a_cpu_of_its_own_where_there_are_two():
    assert split_cpus([0, 1, 2]) == (frozenset({2}), frozenset({0, 1}))
    assert split_cpus([3]) == (frozenset({3}), frozenset({3}))
