from service.inference.slot import LoadedVersions

A, B, C, D = "abcd"  # a slot never looks into what it holds


def test_a_new_version_takes_over_and_the_one_before_stays():
    slot, leaves = LoadedVersions(A).taking(B, on_trial=False)
    assert (slot, leaves) == (LoadedVersions(B, A), None)
    assert slot.taking(C, on_trial=False) == (LoadedVersions(C, B), A)
    assert slot.versions() == [B, A]


def test_a_version_on_trial_replaces_the_one_on_trial_before():
    slot, leaves = LoadedVersions(A).taking(B, on_trial=True)
    assert (slot, leaves) == (LoadedVersions(A, None, B), None)
    assert slot.taking(C, on_trial=True) == (LoadedVersions(A, None, C), B)


def test_without_the_current_version_the_one_before_serves_or_the_one_on_trial():
    slot = LoadedVersions(A, B, C)
    assert slot.without([]) == slot
    assert slot.without([A]) == LoadedVersions(B, None, C)
    assert slot.without([B]) == LoadedVersions(A, None, C)
    assert slot.without([C]) == LoadedVersions(A, B)
    assert slot.without([A, B]) == LoadedVersions(C)
    assert slot.without([A, B, C]) is None
    assert LoadedVersions(A).without([D]) == LoadedVersions(A)
