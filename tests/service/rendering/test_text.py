from service.rendering.text import fit, font, number, plain


def test_letters_that_the_font_lacks_are_replaced():
    assert plain("Défaut 강").startswith("Defaut ?")
    assert plain("a\n\x00\ud800b") == "a???b"


def test_long_text_is_cut_to_the_width():
    assert fit("short", 19, 500) == "short"
    cut = fit("a" * 500, 19, 100)
    assert cut.endswith("...")
    assert font(19).getlength(cut) <= 100


def test_numbers_are_short():
    assert [number(value) for value in (0, 1234.5, -0.00123456)] == ["0", "1.23e+03", "-0.00123"]
