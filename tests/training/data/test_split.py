import random
from collections import Counter
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.split import Group, apportion, split_groups


def group(name, label=0, stratum="", size=1):
    return Group(sha256=sha256(str(name).encode()).hexdigest(), label=label, stratum=stratum, size=size)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12), st.integers(0, 2000), st.integers(0, 2))
def test_shares_sum_to_the_total_and_stay_near_the_proportion(sizes, total, least):
    shares = apportion(total, sizes, least)
    floors = [min(least, size) for size in sizes]
    assert sum(shares) == max(min(total, sum(sizes)), sum(floors))
    assert all(floor <= share <= size for floor, share, size in zip(floors, shares, sizes, strict=True))
    if least == 0 and sum(sizes) >= total:
        exact = [total * size / max(1, sum(sizes)) for size in sizes]
        assert all(abs(share - wanted) < 1 for share, wanted in zip(shares, exact, strict=True))


def test_every_stratum_of_every_class_is_divided_alike():
    groups = [group((label, stratum, i), label, stratum) for label in (0, 1) for stratum in "ab" for i in range(40)]
    parts = split_groups(groups, validation=16, test=40, seed=1)
    counts = Counter((g.label, g.stratum, parts[g.sha256]) for g in groups)
    assert set(counts.values()) == {10, 4, 26}


def test_the_split_depends_on_content_and_seed_alone():
    groups = [group(i, i % 3) for i in range(60)]
    shuffled = groups.copy()
    random.Random(0).shuffle(shuffled)
    first = split_groups(groups, validation=9, test=9, seed=5)
    assert split_groups(shuffled, validation=9, test=9, seed=5) == first
    assert split_groups(groups, validation=9, test=9, seed=6) != first
    # Golden: the same images have the same parts on every machine and in every version.
    tested = sorted(g.sha256[:4] for g in groups if first[g.sha256] == "test")
    assert tested == ["0b91", "2858", "3148", "3e1e", "44cb", "5fec", "624b", "7902", "86e5"]


def test_small_classes():
    groups = [*(group(("many", i), 0) for i in range(100)), group("a", 1), group("b", 1)]
    groups += [group(i, 2) for i in range(3)] + [group("alone", 3)]
    parts = split_groups(groups, validation=15, test=15, seed=0)
    by_class = [sorted(parts[g.sha256] for g in groups if g.label == label) for label in (1, 2, 3)]
    assert by_class == [["test", "train"], ["test", "train", "validation"], ["train"]]
    assert Counter(parts.values()) == {"train": 76, "validation": 15, "test": 15}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=4, max_size=60), st.integers(0, 99))
def test_groups_of_copies_leave_no_class_without_training(members, seed):
    groups = [group(i, label, size=size) for i, (label, size) in enumerate(members)]
    total = sum(g.size for g in groups)
    parts = split_groups(groups, validation=total // 5, test=total // 5, seed=seed)
    trained = {g.label for g in groups if parts[g.sha256] == "train"}
    tested = {g.label for g in groups if parts[g.sha256] == "test"}
    several = {label for label, count in Counter(g.label for g in groups).items() if count > 1}
    assert trained == {g.label for g in groups}
    assert tested == (several if total >= 5 else set())
