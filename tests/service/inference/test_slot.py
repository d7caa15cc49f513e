from service.inference.slot import Slot

A, B, C, D = "abcd"  # a slot never looks into what it holds


def test_a_new_version_takes_over_and_the_one_before_stays():
    slot, leaves = Slot(A).taking(B, on_trial=False)
    assert (slot, leaves) == (Slot(B, A), None)
    assert slot.taking(C, on_trial=False) == (Slot(C, B), A)
    assert slot.versions() == [B, A]


def test_a_version_on_trial_replaces_the_one_on_trial_before():
    slot, leaves = Slot(A).taking(B, on_trial=True)
    assert (slot, leaves) == (Slot(A, None, B), None)
    assert slot.taking(C, on_trial=True) == (Slot(A, None, C), B)


def test_without_the_current_version_the_one_before_serves_or_the_one_on_trial():
    slot = Slot(A, B, C)
    assert slot.without([]) == slot
    assert slot.without([A]) == Slot(B, None, C)
    assert slot.without([B]) == Slot(A, None, C)
    assert slot.without([C]) == Slot(A, B)
    assert slot.without([A, B]) == Slot(C)
    assert slot.without([A, B, C]) is None
    assert Slot(A).without([D]) == Slot(A)
