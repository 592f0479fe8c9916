"""What a network sees, in SQL and as files."""

from __future__ import annotations

import io

from PIL import Image

from pixelplum.core.networks.layers import Layers
from pixload.models import SHIPPED
from tests.helpers import fails_with

LAST_MAPS = "(SELECT max(layer) FROM pix.model_layers('mini_inception') WHERE operation = 'Concat')"


def test_layers_are_those_that_core_lists(db):
    rows = db.query("SELECT layer, operation, shape FROM pix.model_layers('mini_inception')", role="rita")
    assert rows == Layers(SHIPPED["mini_inception"]).describe()
    assert rows == db.query("SELECT layer, operation, shape FROM pix.model_layers()")
    listed = db.pix("model", "layers", "mini_inception", role="rita").stdout
    for layer, operation, shape in rows:
        assert any(
            line.split()[:2] == [layer, operation] and line.endswith(" × ".join(map(str, shape)))
            for line in map(str.rstrip, listed.splitlines())
        )


def test_maps_are_those_that_core_draws(loaded):
    content, layer = loaded.query(f"SELECT content, {LAST_MAPS} FROM pix.images ORDER BY item_id LIMIT 1")[0]
    rows = loaded.query(
        "SELECT rank, channel, strength, image FROM pix.feature_maps(%s, 'mini_inception', %s, k => 5)",
        (content, layer),
        role="rita",
    )
    expected = Layers(SHIPPED["mini_inception"]).draw_maps(bytes(content), layer, 5)
    assert [rank for rank, *_ in rows] == [1, 2, 3, 4, 5]
    for (_, channel, strength, image), (core_channel, core_strength, core_image) in zip(rows, expected, strict=True):
        assert channel == core_channel
        assert abs(strength - core_strength) <= 1e-5 * core_strength
        assert bytes(image) == core_image


def test_maps_as_files(db, boots, tmp_path):
    layer = db.value(f"SELECT {LAST_MAPS}")
    image = next((boots / "images").iterdir())
    output = db.pix("model", "feature-maps", "mini_inception", image, tmp_path / "maps", "--layer", layer, "-k", 3)
    files = sorted((tmp_path / "maps").iterdir())
    assert len(files) == 3
    assert all(str(file) in output.stdout for file in files)
    assert files[0].name.startswith("001-channel-")
    assert Image.open(io.BytesIO(files[0].read_bytes())).format == "PNG"


def test_a_listed_layer_can_be_imported(db, tmp_path):
    """Under the name that pix model layers gives it."""
    layer = db.value(f"SELECT {LAST_MAPS}")
    output = db.pix("model", "import", "maps", "--onnx", SHIPPED["mini_inception"], "--output", layer).stdout
    assert "maps: 288 features an image" in output


def test_bad_input(loaded):
    content = "(SELECT content FROM pix.images LIMIT 1)"
    fails_with(loaded, "PX029", f"SELECT * FROM pix.feature_maps({content}, 'mini_inception', 'nope')")
    fails_with(loaded, "PX029", f"SELECT * FROM pix.feature_maps({content}, 'mini_inception', 'features')")
    fails_with(loaded, "PX029", f"SELECT * FROM pix.feature_maps({content}, 'mini_inception', NULL)")
    fails_with(loaded, "PX010", f"SELECT * FROM pix.feature_maps('no image', 'mini_inception', {LAST_MAPS})")
    fails_with(loaded, "PX010", f"SELECT * FROM pix.feature_maps(NULL, 'mini_inception', {LAST_MAPS})")
    fails_with(loaded, "PX003", f"SELECT * FROM pix.feature_maps({content}, 'mini_inception', {LAST_MAPS}, k => 0)")
    fails_with(loaded, "PX020", f"SELECT * FROM pix.feature_maps({content}, 'nope', 'features')")
    fails_with(loaded, "PX020", "SELECT * FROM pix.model_layers('nope')")
