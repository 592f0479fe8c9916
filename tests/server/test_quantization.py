"""INT8 models: made from the catalogue's images, and offered only with what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from pixelplum.core.networks.quantization import neighbor_overlap
from pixelplum.core.search.vectors import from_bytes
from tests.helpers import fails_with
from tests.unit.graphs import torch_like_onnx

REPORT = "SELECT * FROM pix.quantizations WHERE model_name = 'mini_int8'"


def features(db, model_name: str) -> np.ndarray:
    rows = db.ask("SELECT vector FROM pix.features WHERE model_name = %s ORDER BY item_id", (model_name,))
    return np.stack([from_bytes(bytes(vector)) for (vector,) in rows])


@pytest.fixture
def quantized(extracted):
    extracted.ask("SELECT pix.quantize_model('mini_inception', 'mini_int8', calibrate => 30)")
    return extracted


def test_report_is_what_the_features_say(quantized):
    """All 60 images are compared: their neighbors can be counted again."""
    ((source, calibrated, compared, overlap),) = quantized.query(
        "SELECT quantized_from, calibrated_on, compared_on, overlap FROM pix.quantizations", role="rita"
    )
    assert (source, calibrated, compared) == ("mini_inception", 30, 60)
    quantized.query("CALL pix.extract_features('mini_int8')")
    before, after = features(quantized, "mini_inception"), features(quantized, "mini_int8")
    assert overlap == pytest.approx(neighbor_overlap(before, after, 10), abs=0.01)
    assert overlap >= 0.9
    assert not np.array_equal(before, after)
    assert (
        quantized.value("SELECT count(*) FROM pix.nearest((SELECT min(item_id) FROM pix.images), 5, 'mini_int8')") == 5
    )


def test_costs_are_told(quantized):
    ((float_ms, int8_ms, float_mb, int8_mb),) = quantized.query(
        "SELECT float_ms, int8_ms, float_mb, int8_mb FROM pix.quantizations"
    )
    assert 0 < int8_ms < 1000
    assert 0 < float_ms < 1000
    assert float_mb >= 0
    assert int8_mb >= 0
    sizes = dict(quantized.query("SELECT model_name, size_bytes FROM pix.models"))
    assert sizes["mini_int8"] < 0.45 * sizes["mini_inception"]


def test_accuracy_of_a_classifier_is_compared(extracted, boots):
    extracted.pix("load", "labels", boots / "labels.csv")
    extracted.ask("SELECT pix.train_classifier('heels', 'heel')")
    output = extracted.pix("model", "quantize", "mini_inception", "--as", "mini_int8", "--calibrate", 30).stdout
    ((classifier, before, after),) = extracted.ask(
        "SELECT classifier, float_accuracy, int8_accuracy FROM pix.quantizations"
    )
    assert classifier == "heels"
    measured = extracted.value(
        "SELECT accuracy FROM pix.classifier_metrics WHERE classifier = 'heels' AND evaluation = 'test'"
    )
    assert before == pytest.approx(measured)
    assert 0 <= after <= 1
    for part in ("ten nearest neighbors", "accuracy of heels", "ms an image", "MB of memory"):
        assert part in output


def test_too_small_an_overlap_is_refused(extracted, tmp_path):
    """Four features that hardly differ between images do not survive eight bits."""
    extracted.pix("model", "import", "torch", "--onnx", torch_like_onnx(tmp_path / "torch.onnx"))
    error = fails_with(extracted, "PX080", "SELECT pix.quantize_model('torch', 'torch_int8', calibrate => 1)")
    assert "% of the ten nearest neighbors" in str(error)
    assert "force" in error.diag.message_hint
    assert extracted.value("SELECT count(*) FROM pix.models WHERE model_name = 'torch_int8'") == 0
    assert extracted.value("SELECT count(*) FROM pix.quantizations") == 0
    assert extracted.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 2
    forced = extracted.pix("model", "quantize", "torch", "--as", "torch_int8", "--calibrate", 1, "--force").stdout
    assert forced.startswith("torch_int8: ")
    assert extracted.value("SELECT overlap < 0.9 FROM pix.quantizations")


def test_report_goes_with_the_model(quantized, tmp_path):
    quantized.pix("model", "import", "mini_int8", "--onnx", torch_like_onnx(tmp_path / "torch.onnx"))
    assert quantized.value("SELECT count(*) FROM pix.quantizations") == 0
    quantized.query("SELECT pix.drop_model('mini_int8')")
    quantized.query("SELECT pix.quantize_model('mini_inception', 'mini_int8', calibrate => 30)")
    quantized.query("SELECT pix.drop_model('mini_int8')")
    assert quantized.value("SELECT count(*) FROM pix.quantizations") == 0


def test_bad_input(quantized, tmp_path):
    for arguments in (
        "'mini_inception', 'mini_inception'",
        "'mini_inception', ''",
        "'mini_inception', NULL",
        "'mini_inception', 'x', calibrate => 0",
        "'mini_inception', 'x', calibrate => NULL",
        "'mini_inception', 'x', calibrate => 1001",
        "'mini_int8', 'x'",
    ):
        fails_with(quantized, "PX003", f"SELECT pix.quantize_model({arguments})")
    fails_with(quantized, "PX020", "SELECT pix.quantize_model('nope', 'x')")
    quantized.pix("model", "import", "other", "--onnx", torch_like_onnx(tmp_path / "torch.onnx"))
    error = fails_with(quantized, "PX003", "SELECT pix.quantize_model('mini_inception', 'other')")
    assert "not replaced" in str(error)
    quantized.query(
        "DELETE FROM pix.images WHERE item_id > (SELECT item_id FROM pix.images ORDER BY 1 OFFSET 9 LIMIT 1)"
    )
    assert "10 images" in str(fails_with(quantized, "PX081", "SELECT pix.quantize_model('mini_inception', 'x')"))


def test_unreadable_images_do_not_matter(loaded):
    """One that nobody has tried to extract yet is left out when it is met."""
    loaded.ask("INSERT INTO pix.images (item_id, content) SELECT 'broken ' || n, 'x' FROM generate_series(1, 8) n")
    report = loaded.ask("SELECT calibrated_on, compared_on FROM pix.quantize_model('mini_inception', 'x', 1000)")
    assert report == [(60, 60)]
