from service.rendering.text import fit, font, plain


def test_letters_that_the_font_lacks_are_replaced():
    assert plain("Défaut 강").startswith("Defaut ?")
    assert plain("a\n\x00\ud800b") == "a???b"


def test_long_text_is_cut_to_the_width():
    assert fit("short", 19, 500) == "short"
    cut = fit("a" * 500, 19, 100)
    assert cut.endswith("...")
    assert font(19).getlength(cut) <= 100
