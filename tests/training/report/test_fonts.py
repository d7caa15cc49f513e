from training.report.fonts import families_for, plot_labels


def test_latin_greek_and_cyrillic_need_one_font():
    assert families_for(["Straße", "αβγ", "кошка", "naïve\u200d"]) == ("DejaVu Sans",)


def test_letters_of_another_installed_font_bring_it():
    # Fonts that come with matplotlib: STIXGeneral has the first letter, DejaVu Sans Mono the second.
    families = families_for(["a\N{ZERO WIDTH JOINER}", "\u1d81", "\u2312"])
    assert families is not None
    assert families[0] == "DejaVu Sans"
    assert len(families) > 1


def test_letters_that_no_font_has_become_numbers():
    private = "\U000f1234"
    assert families_for([private]) is None
    found = plot_labels(["cat", private, "dog"])
    assert found.numbered
    assert found.names == ("1", "2", "3")


def test_long_labels_are_cut_in_the_middle():
    found = plot_labels(["short", "a_very_long_label_that_ends_in_left", "a_very_long_label_that_ends_in_right"])
    assert found.names == ("short", "a_very_long_…nds_in_left", "a_very_long_…ds_in_right")
    assert not found.numbered
