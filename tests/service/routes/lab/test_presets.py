from service.routes.lab.presets import PRESETS


def test_presets_have_names_of_their_own_and_an_image_each():
    assert len({preset.name for preset in PRESETS}) == len(PRESETS) >= 4
    assert all(preset.model_dump()["request"]["image"] for preset in PRESETS)
