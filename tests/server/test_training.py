"""Training in SQL: on stored features, split by a hash; and label sets that nothing can be learned from."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pixelplum.core.classifiers import training
from pixelplum.core.search.vectors import from_bytes
from tests.helpers import fails_with, labels_of
from tests.unit.graphs import tiny_onnx

METRICS = "SELECT accuracy, log_loss, auc, items FROM pix.classifier_metrics WHERE classifier = %s AND evaluation = %s"


def split_of(item_id: str) -> str:
    fraction = int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:3], "big") / 2**24
    return "test" if fraction < 0.1 else "validation" if fraction < 0.2 else "train"


def features_and_labels(db, label_set: str):
    rows = db.ask(
        "SELECT item_id, label, vector FROM pix.labels JOIN pix.features USING (item_id) WHERE label_set = %s "
        "AND model_name = 'mini_inception' ORDER BY item_id",
        (label_set,),
    )
    item_ids, labels, vectors = zip(*rows, strict=True)
    return list(item_ids), list(labels), np.stack([from_bytes(bytes(vector)) for vector in vectors])


class TestSplit:
    def test_is_a_stable_hash(self, db):
        ids = [f"item {number}" for number in range(2000)] + ["ботинки 👢", "x" * 2000]
        rows = db.ask("SELECT i, pix.split_of(i) FROM unnest(%s) i", (ids,), role="rita")
        assert dict(rows) == {item_id: split_of(item_id) for item_id in ids}
        fractions = [[split for _, split in rows].count(name) / len(rows) for name in ("train", "validation", "test")]
        assert fractions == pytest.approx([0.8, 0.1, 0.1], abs=0.02)

    def test_items_stay_where_they_are(self, trained):
        before = dict(trained.ask("SELECT item_id, pix.split_of(item_id) FROM pix.labels WHERE label_set = 'heel'"))
        trained.ask("INSERT INTO pix.items (item_id) SELECT 'more ' || n FROM generate_series(1, 100) n")
        after = dict(trained.ask("SELECT item_id, pix.split_of(item_id) FROM pix.labels WHERE label_set = 'heel'"))
        assert before == after


class TestTraining:
    def test_weights_are_those_that_core_finds(self, trained):
        item_ids, labels, vectors = features_and_labels(trained, "heel")
        names, classes = np.unique(labels, return_inverse=True)
        splits = np.array([split_of(item_id) for item_id in item_ids])
        train, validation = splits == "train", splits == "validation"
        penalty, layer = training.choose_penalty(
            vectors[train], classes[train], vectors[validation], classes[validation], False
        )
        rows = trained.ask(
            "SELECT label, pix.to_array(weights), intercept FROM pix.classifier_classes WHERE classifier = 'heels' "
            "ORDER BY class",
            role="rita",
        )
        assert [label for label, *_ in rows] == names.tolist()
        np.testing.assert_allclose([weights for _, weights, _ in rows], layer.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose([intercept for *_, intercept in rows], layer.intercepts, rtol=1e-4, atol=1e-5)
        stored = trained.value("SELECT parameters FROM pix.classifiers WHERE classifier = 'heels'")
        assert stored == {"balanced": False, "folds": 0, "penalty": penalty}
        test = splits == "test"
        measured = training.evaluate(layer.probabilities(vectors[test]), classes[test], names.tolist())
        ((accuracy, log_loss, auc, items),) = trained.ask(METRICS, ("heels", "test"))
        assert (accuracy, items) == (measured["accuracy"], measured["items"])
        assert log_loss == pytest.approx(measured["log_loss"], rel=1e-4)
        assert auc == pytest.approx(measured["auc"])
        confusion = trained.ask(
            "SELECT actual, predicted, items FROM pix.classifier_confusion WHERE evaluation = 'test' ORDER BY 1, 2"
        )
        assert confusion == sorted(tuple(cell.values()) for cell in measured["confusion"])

    def test_nothing_is_extracted_again(self, labeled):
        labeled.ask("UPDATE pix.images SET content = 'not an image' WHERE false")
        before = labeled.value("SELECT max(extracted_at) FROM pix.features")
        labeled.ask("SELECT pix.train_classifier('heels', 'heel')")
        assert labeled.value("SELECT max(extracted_at) FROM pix.features") == before

    def test_folds_and_balance(self, labeled):
        row = labeled.ask(
            "SELECT items, left_out, parameters "
            "FROM pix.train_classifier('heels', 'heel', balanced => true, folds => 4)"
        )
        assert row == [(60, 0, {"balanced": True, "folds": 4, "penalty": row[0][2]["penalty"]})]
        folds = labeled.ask("SELECT items FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'")
        assert len(folds) == 4
        assert sum(items for (items,) in folds) == 60
        ranked = labeled.ask(
            "SELECT classifier, cross_validated_accuracy, usable FROM pix.classifier_ranking", role="rita"
        )
        assert (
            "heels",
            labeled.value("SELECT avg(accuracy) FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'"),
            True,
        ) in ranked

    def test_discriminant_analysis(self, labeled):
        labeled.ask("SELECT pix.train_classifier('heels', 'heel', algorithm => 'lda')")
        ((accuracy, *_),) = labeled.ask(METRICS, ("heels", "test"))
        assert 0 <= accuracy <= 1
        assert labeled.value("SELECT parameters ? 'penalty' FROM pix.classifiers WHERE classifier = 'heels'") is False

    def test_fingerprint_tells_the_training_set(self, labeled):
        train = "SELECT fingerprint, checksum FROM pix.train_classifier('heels', 'heel')"
        first, again = labeled.ask(train), labeled.query(train)
        assert first == again
        labels = labels_of(labeled, "heel")
        item_id, label = labeled.ask(
            "SELECT item_id, label FROM pix.labels WHERE label_set = 'heel' AND pix.split_of(item_id) = 'train' LIMIT 1"
        )[0]
        other = next(other for other in labels if other != label)
        labeled.ask("UPDATE pix.labels SET label = %s WHERE label_set = 'heel' AND item_id = %s", (other, item_id))
        (other,) = labeled.ask(train)
        assert other[0] != first[0][0]
        assert other[1] != first[0][1]

    def test_items_without_features_are_counted(self, labeled):
        labeled.ask("INSERT INTO pix.items (item_id) VALUES ('no image')")
        labeled.ask("INSERT INTO pix.labels VALUES ('no image', 'heel', 'flat')")
        assert labeled.ask("SELECT items, left_out FROM pix.train_classifier('heels', 'heel')") == [(60, 1)]

    def test_foreign_features_can_be_trained_on(self, labeled):
        """Features that were loaded from a file have no network: items can be classified, images cannot."""
        labeled.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('foreign', 3, 'test')")
        labeled.ask(
            "INSERT INTO pix.features (item_id, model_name, vector) SELECT item_id, 'foreign', "
            "pix.from_array(ARRAY[length(label), ascii(label), 1]::real[]) FROM pix.labels WHERE label_set = 'heel'"
        )
        labeled.ask("SELECT pix.train_classifier('by letters', 'heel', 'foreign')")
        assert labeled.ask(METRICS, ("by letters", "test"))[0][0] == 1
        item_id, label = labeled.ask("SELECT item_id, label FROM pix.labels WHERE label_set = 'heel' LIMIT 1")[0]
        results = labeled.ask("SELECT label FROM pix.classify_item(%s, '{by letters}', k => 1)", (item_id,))
        assert results == [(label,)]
        fails_with(
            labeled, "PX022", "SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), '{by letters}')"
        )

    def test_replaced_as_a_whole(self, trained):
        trained.ask("SELECT pix.train_classifier('heels', 'shaft', folds => 2)")
        rows = trained.ask("SELECT label FROM pix.classifier_classes WHERE classifier = 'heels'")
        assert {label for (label,) in rows} == labels_of(trained, "shaft")
        trained.ask("SELECT pix.train_classifier('heels', 'heel')")
        assert trained.value("SELECT count(*) FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'") == 0

    def test_failure_leaves_the_earlier_one(self, trained):
        before = trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'")
        fails_with(trained, "PX071", "SELECT pix.train_classifier('heels', 'nope')")
        assert trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'") == before

    def test_at_once(self, labeled):
        with ThreadPoolExecutor(3) as pool:
            list(
                pool.map(
                    lambda name: labeled.query("SELECT pix.train_classifier(%s, 'heel')", (name,)), ["a", "a", "b"]
                )
            )
        assert labeled.value("SELECT count(*) FROM pix.classifiers WHERE label_set = 'heel'") == 2


class TestUnfitLabels:
    def test_unknown_label_set(self, labeled):
        for label_set in ("nope", "", None):
            error = fails_with(labeled, "PX071", "SELECT pix.train_classifier('x', %s)", (label_set,))
            assert "label set" in str(error)

    def test_one_class(self, labeled):
        labeled.ask("INSERT INTO pix.labels SELECT item_id, 'all', 'boot' FROM pix.images")
        assert "'all' has one class" in str(fails_with(labeled, "PX072", "SELECT pix.train_classifier('x', 'all')"))

    def test_class_of_one_image(self, labeled):
        labeled.ask("INSERT INTO pix.labels SELECT item_id, 'odd', 'boot' FROM pix.images")
        labeled.ask(
            "UPDATE pix.labels SET label = 'only' "
            "WHERE item_id = (SELECT min(item_id) FROM pix.images) AND label_set = 'odd'"
        )
        error = fails_with(labeled, "PX072", "SELECT pix.train_classifier('x', 'odd')")
        assert "'only'" in str(error)
        assert "fewer than two" in str(error)

    def test_class_without_training_items(self, labeled):
        labeled.ask(
            "INSERT INTO pix.labels "
            "SELECT item_id, 'odd', CASE WHEN pix.split_of(item_id) = 'train' THEN 'a' ELSE 'b' END FROM pix.images"
        )
        assert "'b'" in str(fails_with(labeled, "PX072", "SELECT pix.train_classifier('x', 'odd')"))

    def test_fewer_items_than_folds(self, labeled):
        """Three of the items that are trained on are of one class."""
        labeled.ask(
            "INSERT INTO pix.labels SELECT item_id, 'odd', CASE WHEN item_id = ANY (few) THEN 'a' ELSE 'b' END "
            "FROM pix.images, (SELECT array_agg(item_id) AS few FROM (SELECT item_id FROM pix.images "
            "WHERE pix.split_of(item_id) = 'train' ORDER BY item_id LIMIT 3) s) f"
        )
        error = fails_with(labeled, "PX072", "SELECT pix.train_classifier('x', 'odd', folds => 4)")
        assert "at most 3 folds" in error.diag.message_hint
        labeled.ask("SELECT pix.train_classifier('x', 'odd', folds => 3)")

    def test_long_label(self, labeled):
        labeled.ask("INSERT INTO pix.labels SELECT item_id, 'long', repeat(item_id, 51) FROM pix.images")
        assert "500 bytes" in str(fails_with(labeled, "PX072", "SELECT pix.train_classifier('x', 'long')"))

    def test_too_few_items_for_discriminant_analysis(self, labeled):
        labeled.ask(
            "INSERT INTO pix.labels SELECT item_id, 'pairs', (row_number() OVER (ORDER BY item_id) / 2)::text "
            "FROM (SELECT item_id FROM pix.images WHERE pix.split_of(item_id) = 'train' ORDER BY item_id LIMIT 10) s"
        )
        labeled.ask("DELETE FROM pix.labels WHERE label_set = 'pairs' AND label IN ('0', '5')")
        train = "SELECT pix.train_classifier('x', 'pairs', algorithm => '{}', folds => 2)"
        error = fails_with(labeled, "PX072", train.format("lda"))
        assert "softmax" in error.diag.message_hint
        labeled.ask(train.format("softmax"))

    def test_no_features_at_all(self, labeled):
        labeled.ask("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('empty', 3, 'test')")
        assert "No item" in str(fails_with(labeled, "PX074", "SELECT pix.train_classifier('x', 'heel', 'empty')"))

    def test_labels_for_unknown_items(self, labeled):
        labeled.ask("INSERT INTO pix.labels VALUES ('stranger', 'heel', 'flat')")
        error = fails_with(labeled, "PX073", "SELECT pix.train_classifier('x', 'heel')")
        assert "1 of 61" in str(error)
        assert "stranger" in str(error)
        labeled.ask("DELETE FROM pix.items")  # images alone are in the catalogue too
        labeled.ask(error.diag.message_hint.split("remove their labels: ")[1])  # the remedy works
        assert labeled.ask("SELECT items FROM pix.train_classifier('x', 'heel')") == [(60,)]

    def test_features_of_mixed_models(self, labeled, tmp_path):
        labeled.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        labeled.ask(
            "UPDATE pix.features SET model_checksum = (SELECT checksum FROM pix.models LIMIT 1) "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        error = fails_with(labeled, "PX074", "SELECT pix.train_classifier('x', 'heel')")
        assert "59 labeled items" in str(error)
        assert "CALL pix.extract_features('mini_inception')" in error.diag.message_hint

    def test_features_that_are_missing(self, labeled):
        labeled.ask("DELETE FROM pix.features WHERE item_id = (SELECT min(item_id) FROM pix.features)")
        error = fails_with(labeled, "PX074", "SELECT pix.train_classifier('x', 'heel')")
        assert "1 labeled images" in str(error)

    def test_features_of_other_dimensions(self, labeled):
        labeled.ask(
            "UPDATE pix.features SET vector = pix.from_array(ARRAY[1, 2]::real[]) "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        assert "288 dimensions" in str(fails_with(labeled, "PX074", "SELECT pix.train_classifier('x', 'heel')"))

    def test_features_that_are_not_finite(self, labeled):
        labeled.ask(
            "UPDATE pix.features SET vector = decode(repeat('0000c07f', 288), 'hex') "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        assert "not finite" in str(fails_with(labeled, "PX030", "SELECT pix.train_classifier('x', 'heel')"))

    @pytest.mark.parametrize(
        "arguments",
        ["'', 'heel'", "NULL, 'heel'", "repeat('x', 201), 'heel'", "'x', 'heel', algorithm => 'magic'",
         "'x', 'heel', algorithm => NULL", "'x', 'heel', folds => 1", "'x', 'heel', folds => -1",
         "'x', 'heel', folds => NULL"],
    )  # fmt: skip
    def test_arguments_out_of_range(self, labeled, arguments):
        fails_with(labeled, "PX003", f"SELECT pix.train_classifier({arguments})")
        fails_with(labeled, "PX020", "SELECT pix.train_classifier('x', 'heel', 'nope')")


@pytest.mark.slow
def test_accuracy_on_photographs(photographs):
    """Ten kinds of clothing by features of a network that was trained on other things."""
    db = photographs
    db.ask("SELECT pix.train_classifier('kinds', 'kind', 'mobilenet', folds => 5)")
    ((accuracy, _, auc, items),) = db.ask(METRICS, ("kinds", "test"))
    assert items > 250
    assert accuracy >= 0.72
    assert auc > 0.94
    mean = db.value("SELECT cross_validated_accuracy FROM pix.classifier_ranking WHERE classifier = 'kinds'")
    assert mean > 0.75
