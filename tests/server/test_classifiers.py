"""Classifiers in SQL: training on stored features, classifying, and label sets that nothing can be learned from."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest

from pixelplum.core import training
from pixelplum.core.vectors import from_bytes
from pixload.models import SHIPPED
from tests.server.test_features import fails_with
from tests.unit.test_networks import tiny_onnx

METRICS = "SELECT accuracy, log_loss, auc, items FROM pix.classifier_metrics WHERE classifier = %s AND evaluation = %s"


@pytest.fixture
def labelled(extracted, boots):
    """Features and labels of the drawn boots."""
    extracted.pix("load", "labels", boots / "labels.csv")
    return extracted


@pytest.fixture
def trained(labelled):
    """A classifier of their heels."""
    labelled.query("SELECT pix.train_classifier('heels', 'heel')")
    return labelled


def split_of(item_id: str) -> str:
    place = int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:3], "big") / 2**24
    return "test" if place < 0.1 else "validation" if place < 0.2 else "train"


def labels_of(db, label_set: str) -> set[str]:
    return {label for (label,) in db.query("SELECT DISTINCT label FROM pix.labels WHERE label_set = %s", (label_set,))}


def features_and_labels(db, label_set: str):
    rows = db.query(
        "SELECT item_id, label, vector FROM pix.labels JOIN pix.features USING (item_id) WHERE label_set = %s "
        "AND model_name = 'mini_inception' ORDER BY item_id",
        (label_set,),
    )
    item_ids, labels, vectors = zip(*rows, strict=True)
    return list(item_ids), list(labels), np.stack([from_bytes(bytes(vector)) for vector in vectors])


class TestSplit:
    def test_is_a_stable_hash(self, db):
        ids = [f"item {number}" for number in range(2000)] + ["ботинки 👢", "x" * 2000]
        rows = db.query("SELECT i, pix.split_of(i) FROM unnest(%s) i", (ids,), role="rita")
        assert dict(rows) == {item_id: split_of(item_id) for item_id in ids}
        shares = [[split for _, split in rows].count(name) / len(rows) for name in ("train", "validation", "test")]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)

    def test_items_stay_where_they_are(self, trained):
        before = dict(trained.query("SELECT item_id, pix.split_of(item_id) FROM pix.labels WHERE label_set = 'heel'"))
        trained.query("INSERT INTO pix.items (item_id) SELECT 'more ' || n FROM generate_series(1, 100) n")
        after = dict(trained.query("SELECT item_id, pix.split_of(item_id) FROM pix.labels WHERE label_set = 'heel'"))
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
        rows = trained.query(
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
        ((accuracy, log_loss, auc, items),) = trained.query(METRICS, ("heels", "test"))
        assert (accuracy, items) == (measured["accuracy"], measured["items"])
        assert log_loss == pytest.approx(measured["log_loss"], rel=1e-4)
        assert auc == pytest.approx(measured["auc"])
        confusion = trained.query(
            "SELECT actual, predicted, items FROM pix.classifier_confusion WHERE evaluation = 'test' ORDER BY 1, 2"
        )
        assert confusion == sorted(tuple(cell.values()) for cell in measured["confusion"])

    def test_nothing_is_extracted_again(self, labelled):
        labelled.query("UPDATE pix.images SET content = 'not a picture' WHERE false")
        before = labelled.value("SELECT max(extracted_at) FROM pix.features")
        labelled.query("SELECT pix.train_classifier('heels', 'heel')")
        assert labelled.value("SELECT max(extracted_at) FROM pix.features") == before

    def test_folds_and_balance(self, labelled):
        row = labelled.query(
            "SELECT items, left_out, parameters "
            "FROM pix.train_classifier('heels', 'heel', balanced => true, folds => 4)"
        )
        assert row == [(60, 0, {"balanced": True, "folds": 4, "penalty": row[0][2]["penalty"]})]
        folds = labelled.query("SELECT items FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'")
        assert len(folds) == 4
        assert sum(items for (items,) in folds) == 60
        ranked = labelled.query(
            "SELECT classifier, cross_validated_accuracy, usable FROM pix.classifier_ranking", role="rita"
        )
        assert (
            "heels",
            labelled.value("SELECT avg(accuracy) FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'"),
            True,
        ) in ranked

    def test_discriminant_analysis(self, labelled):
        labelled.query("SELECT pix.train_classifier('heels', 'heel', algorithm => 'lda')")
        ((accuracy, *_),) = labelled.query(METRICS, ("heels", "test"))
        assert 0 <= accuracy <= 1
        assert labelled.value("SELECT parameters ? 'penalty' FROM pix.classifiers WHERE classifier = 'heels'") is False

    def test_fingerprint_tells_the_training_set(self, labelled):
        train = "SELECT fingerprint, checksum FROM pix.train_classifier('heels', 'heel')"
        first, again = labelled.query(train), labelled.query(train)
        assert first == again
        labels = labels_of(labelled, "heel")
        item_id, label = labelled.query(
            "SELECT item_id, label FROM pix.labels WHERE label_set = 'heel' AND pix.split_of(item_id) = 'train' LIMIT 1"
        )[0]
        other = next(other for other in labels if other != label)
        labelled.query("UPDATE pix.labels SET label = %s WHERE label_set = 'heel' AND item_id = %s", (other, item_id))
        (other,) = labelled.query(train)
        assert other[0] != first[0][0]
        assert other[1] != first[0][1]

    def test_items_without_features_are_counted(self, labelled):
        labelled.query("INSERT INTO pix.items (item_id) VALUES ('no picture')")
        labelled.query("INSERT INTO pix.labels VALUES ('no picture', 'heel', 'flat')")
        assert labelled.query("SELECT items, left_out FROM pix.train_classifier('heels', 'heel')") == [(60, 1)]

    def test_foreign_features_can_be_trained_on(self, labelled):
        """Features that were loaded from a file have no network: items can be classified, pictures cannot."""
        labelled.query("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('foreign', 3, 'test')")
        labelled.query(
            "INSERT INTO pix.features (item_id, model_name, vector) SELECT item_id, 'foreign', "
            "pix.from_array(ARRAY[length(label), ascii(label), 1]::real[]) FROM pix.labels WHERE label_set = 'heel'"
        )
        labelled.query("SELECT pix.train_classifier('by letters', 'heel', 'foreign')")
        assert labelled.query(METRICS, ("by letters", "test"))[0][0] == 1
        item_id, label = labelled.query("SELECT item_id, label FROM pix.labels WHERE label_set = 'heel' LIMIT 1")[0]
        found = labelled.query("SELECT label FROM pix.classify_item(%s, 'by letters', top => 1)", (item_id,))
        assert found == [(label,)]
        fails_with(
            labelled, "PX022", "SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), 'by letters')"
        )

    def test_replaced_as_a_whole(self, trained):
        trained.query("SELECT pix.train_classifier('heels', 'shaft', folds => 2)")
        rows = trained.query("SELECT label FROM pix.classifier_classes WHERE classifier = 'heels'")
        assert {label for (label,) in rows} == labels_of(trained, "shaft")
        trained.query("SELECT pix.train_classifier('heels', 'heel')")
        assert trained.value("SELECT count(*) FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %'") == 0

    def test_failure_leaves_the_earlier_one(self, trained):
        before = trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'")
        fails_with(trained, "PX071", "SELECT pix.train_classifier('heels', 'nope')")
        assert trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'") == before

    def test_at_once(self, labelled):
        with ThreadPoolExecutor(3) as pool:
            list(
                pool.map(
                    lambda name: labelled.query("SELECT pix.train_classifier(%s, 'heel')", (name,)), ["a", "a", "b"]
                )
            )
        assert labelled.value("SELECT count(*) FROM pix.classifiers WHERE label_set = 'heel'") == 2


class TestUnfitLabels:
    def test_unknown_label_set(self, labelled):
        for label_set in ("nope", "", None):
            error = fails_with(labelled, "PX071", "SELECT pix.train_classifier('x', %s)", (label_set,))
            assert "label set" in str(error)

    def test_one_class(self, labelled):
        labelled.query("INSERT INTO pix.labels SELECT item_id, 'all', 'boot' FROM pix.images")
        assert "'all' has one class" in str(fails_with(labelled, "PX072", "SELECT pix.train_classifier('x', 'all')"))

    def test_class_of_one_picture(self, labelled):
        labelled.query("INSERT INTO pix.labels SELECT item_id, 'odd', 'boot' FROM pix.images")
        labelled.query(
            "UPDATE pix.labels SET label = 'only' "
            "WHERE item_id = (SELECT min(item_id) FROM pix.images) AND label_set = 'odd'"
        )
        error = fails_with(labelled, "PX072", "SELECT pix.train_classifier('x', 'odd')")
        assert "'only'" in str(error)
        assert "fewer than two" in str(error)

    def test_class_without_training_items(self, labelled):
        labelled.query(
            "INSERT INTO pix.labels "
            "SELECT item_id, 'odd', CASE WHEN pix.split_of(item_id) = 'train' THEN 'a' ELSE 'b' END FROM pix.images"
        )
        assert "'b'" in str(fails_with(labelled, "PX072", "SELECT pix.train_classifier('x', 'odd')"))

    def test_fewer_items_than_folds(self, labelled):
        """Three of the items that are trained on are of one class."""
        labelled.query(
            "INSERT INTO pix.labels SELECT item_id, 'odd', CASE WHEN item_id = ANY (few) THEN 'a' ELSE 'b' END "
            "FROM pix.images, (SELECT array_agg(item_id) AS few FROM (SELECT item_id FROM pix.images "
            "WHERE pix.split_of(item_id) = 'train' ORDER BY item_id LIMIT 3) s) f"
        )
        error = fails_with(labelled, "PX072", "SELECT pix.train_classifier('x', 'odd', folds => 4)")
        assert "at most 3 folds" in error.diag.message_hint
        labelled.query("SELECT pix.train_classifier('x', 'odd', folds => 3)")

    def test_long_label(self, labelled):
        labelled.query("INSERT INTO pix.labels SELECT item_id, 'long', repeat(item_id, 51) FROM pix.images")
        assert "500 bytes" in str(fails_with(labelled, "PX072", "SELECT pix.train_classifier('x', 'long')"))

    def test_too_few_items_for_discriminant_analysis(self, labelled):
        labelled.query(
            "INSERT INTO pix.labels SELECT item_id, 'pairs', (row_number() OVER (ORDER BY item_id) / 2)::text "
            "FROM (SELECT item_id FROM pix.images WHERE pix.split_of(item_id) = 'train' ORDER BY item_id LIMIT 10) s"
        )
        labelled.query("DELETE FROM pix.labels WHERE label_set = 'pairs' AND label IN ('0', '5')")
        train = "SELECT pix.train_classifier('x', 'pairs', algorithm => '{}', folds => 2)"
        error = fails_with(labelled, "PX072", train.format("lda"))
        assert "softmax" in error.diag.message_hint
        labelled.query(train.format("softmax"))

    def test_no_features_at_all(self, labelled):
        labelled.query("INSERT INTO pix.models (model_name, dimensions, source) VALUES ('empty', 3, 'test')")
        assert "No item" in str(fails_with(labelled, "PX074", "SELECT pix.train_classifier('x', 'heel', 'empty')"))

    def test_labels_for_unknown_items(self, labelled):
        labelled.query("INSERT INTO pix.labels VALUES ('stranger', 'heel', 'flat')")
        error = fails_with(labelled, "PX073", "SELECT pix.train_classifier('x', 'heel')")
        assert "1 of 61" in str(error)
        assert "stranger" in str(error)
        labelled.query("DELETE FROM pix.items")  # pictures alone are in the catalogue too
        labelled.query(error.diag.message_hint.split("remove their labels: ")[1])  # the remedy works
        assert labelled.query("SELECT items FROM pix.train_classifier('x', 'heel')") == [(60,)]

    def test_features_of_mixed_models(self, labelled, tmp_path):
        labelled.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        labelled.query(
            "UPDATE pix.features SET model_checksum = (SELECT checksum FROM pix.models LIMIT 1) "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        error = fails_with(labelled, "PX074", "SELECT pix.train_classifier('x', 'heel')")
        assert "59 labelled items" in str(error)
        assert "CALL pix.extract_features('mini_inception')" in error.diag.message_hint

    def test_features_that_are_missing(self, labelled):
        labelled.query("DELETE FROM pix.features WHERE item_id = (SELECT min(item_id) FROM pix.features)")
        error = fails_with(labelled, "PX074", "SELECT pix.train_classifier('x', 'heel')")
        assert "1 labelled pictures" in str(error)

    def test_features_of_other_dimensions(self, labelled):
        labelled.query(
            "UPDATE pix.features SET vector = pix.from_array(ARRAY[1, 2]::real[]) "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        assert "288 dimensions" in str(fails_with(labelled, "PX074", "SELECT pix.train_classifier('x', 'heel')"))

    def test_features_that_are_not_finite(self, labelled):
        labelled.query(
            "UPDATE pix.features SET vector = decode(repeat('0000c07f', 288), 'hex') "
            "WHERE item_id = (SELECT min(item_id) FROM pix.features)"
        )
        assert "not finite" in str(fails_with(labelled, "PX030", "SELECT pix.train_classifier('x', 'heel')"))

    @pytest.mark.parametrize(
        "arguments",
        ["'', 'heel'", "NULL, 'heel'", "repeat('x', 201), 'heel'", "'x', 'heel', algorithm => 'magic'",
         "'x', 'heel', algorithm => NULL", "'x', 'heel', folds => 1", "'x', 'heel', folds => -1",
         "'x', 'heel', folds => NULL"],
    )  # fmt: skip
    def test_arguments_out_of_range(self, labelled, arguments):
        fails_with(labelled, "PX077", f"SELECT pix.train_classifier({arguments})")
        fails_with(labelled, "PX020", "SELECT pix.train_classifier('x', 'heel', 'nope')")


class TestClassifying:
    def test_picture_and_item_agree(self, trained):
        item_id = trained.value("SELECT min(item_id) FROM pix.images")
        of_item = trained.query("SELECT * FROM pix.classify_item(%s, 'heels')", (item_id,), role="rita")
        of_picture = trained.query(
            "SELECT * FROM pix.classify((SELECT content FROM pix.images WHERE item_id = %s), 'heels')",
            (item_id,),
            role="rita",
        )
        assert [row[:2] for row in of_item] == [row[:2] for row in of_picture]
        np.testing.assert_allclose([row[2] for row in of_item], [row[2] for row in of_picture], rtol=1e-4)
        assert [rank for rank, *_ in of_item] == list(range(1, len(of_item) + 1))
        assert sum(score for *_, score in of_item) == pytest.approx(1, abs=1e-5)
        assert [score for *_, score in of_item] == sorted((score for *_, score in of_item), reverse=True)

    def test_top(self, trained):
        for top in (1, 2, 1000):
            number = trained.value(
                "SELECT count(*) FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'heels', top => %s)",
                (top,),
            )
            classes = trained.value("SELECT count(*) FROM pix.classifier_classes WHERE classifier = 'heels'")
            assert number == min(top, classes)

    def test_certainty_beyond_what_real_can_hold(self, trained):
        """Scores that differ by hundreds, as those of discriminant analysis do."""
        weights = np.zeros((3, 288), "<f4").tobytes()
        trained.query(
            "SELECT pix.register_classifier('sure', 'mini_inception', ARRAY['a', 'b', 'c'], %s, ARRAY[200, -200, 0])",
            (weights,),
        )
        rows = trained.query(
            "SELECT label, score FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'sure')"
        )
        assert rows == [("a", 1), ("c", 0), ("b", 0)]
        assert trained.value("SELECT pix.classify_all('sure')") == 60

    def test_vector_that_is_not_finite(self, trained):
        trained.query(
            "UPDATE pix.features SET vector = decode(repeat('0000c07f', 288), 'hex') "
            "WHERE item_id = (SELECT min(item_id) FROM pix.images)"
        )
        fails_with(trained, "PX030", "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'heels')")
        fails_with(trained, "PX030", "SELECT pix.classify_all('heels')")

    def test_labels_that_look_alike_when_joined(self, trained):
        """Two classifiers differ, even if their labels are the same text one after another."""
        register = "SELECT pix.register_classifier(%s, 'mini_inception', %s, %s, ARRAY[0, 1])"
        weights = bytes(2 * 4 * 288)
        trained.query(register, ("one", ["a", "b\nc"], weights))
        trained.query(register, ("two", ["a\nb", "c"], weights))
        cursor = trained.connect().cursor()
        for name, label in (("one", "b\nc"), ("two", "c")):
            cursor.execute("SELECT pix.classify_all(%s)", (name,))
            cursor.execute("SELECT DISTINCT label FROM pix.predictions WHERE classifier = %s", (name,))
            assert cursor.fetchall() == [(label,)]

    def test_a_reader_cannot_put_another_in_its_place(self, trained):
        checksum = trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'")
        for sql in (
            "SELECT pix._keep_classifier(%s, ARRAY['evil'], decode(repeat('00', 1152), 'hex'), ARRAY[1])",
            "SELECT pix._load_classifier('mini_inception', %s)",
        ):
            with pytest.raises(psycopg2.Error) as caught:
                trained.query(sql, (checksum,), role="rita")
            assert caught.value.pgcode in ("42501", "PX070")

    @pytest.mark.parametrize("change", ["pix.drop_classifier('heels')", "pix.train_classifier('heels', 'shaft')"])
    def test_change_while_all_are_classified(self, trained, until, change):
        """Whoever was classifying is told, and leaves nothing of the classifier that was."""
        connection = trained.connect(autocommit=False)
        connection.cursor().execute(f"SELECT {change}")
        with ThreadPoolExecutor(1) as pool:
            classifying = pool.submit(trained.query, "SELECT pix.classify_all('heels')")
            until(trained, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
            connection.commit()
            with pytest.raises(psycopg2.Error, match="meanwhile") as caught:
                classifying.result()
        assert caught.value.pgcode == "PX070"
        assert trained.value("SELECT count(*) FROM pix.predictions") == 0

    def test_stale_predictions_can_be_told(self, trained):
        stale = (
            "SELECT count(*) FROM pix.predictions p JOIN pix.classifiers c USING (classifier) "
            "WHERE p.classifier_checksum <> c.checksum"
        )
        trained.query("SELECT pix.classify_all('heels')")
        assert trained.value(stale) == 0
        trained.query("SELECT pix.train_classifier('heels', 'heel', balanced => true, algorithm => 'lda')")
        assert trained.value(stale) == 60
        trained.query("SELECT pix.classify_all('heels')")
        assert trained.value(stale) == 0

    def test_ensemble_is_the_mean(self, trained):
        trained.query("SELECT pix.train_classifier('other', 'heel', algorithm => 'lda')")
        item_id = trained.value("SELECT min(item_id) FROM pix.images")
        single = [
            dict(trained.query("SELECT label, score FROM pix.classify_item(%s, %s)", (item_id, name)))
            for name in ("heels", "other")
        ]
        both = dict(
            trained.query("SELECT label, score FROM pix.classify_item(%s, ARRAY['heels', 'other'])", (item_id,))
        )
        for label, score in both.items():
            assert score == pytest.approx((single[0][label] + single[1][label]) / 2, abs=1e-6)
        picture = trained.query(
            "SELECT label, score FROM pix.classify((SELECT content FROM pix.images WHERE item_id = %s), "
            "ARRAY['heels', 'other'])", (item_id,),
        )  # fmt: skip
        assert dict(picture) == pytest.approx(both, abs=1e-5)

    def test_ensemble_across_models(self, trained, tmp_path):
        trained.pix("model", "import", "tiny", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        trained.query("CALL pix.extract_features('tiny')")
        trained.query("SELECT pix.train_classifier('by colour', 'heel', 'tiny')")
        content = "(SELECT content FROM pix.images ORDER BY item_id LIMIT 1)"
        both = dict(
            trained.query(f"SELECT label, score FROM pix.classify({content}, ARRAY['heels', 'by colour', 'heels'])")
        )
        heels, colour = (
            dict(trained.query(f"SELECT label, score FROM pix.classify({content}, '{name}')"))
            for name in ("heels", "by colour")
        )
        for label, score in both.items():
            assert score == pytest.approx((2 * heels[label] + colour[label]) / 3, abs=1e-6)

    def test_classifiers_of_different_classes(self, trained):
        trained.query("SELECT pix.train_classifier('shafts', 'shaft')")
        error = fails_with(
            trained,
            "PX076",
            "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), ARRAY['heels', 'shafts'])",
        )
        assert "heels, shafts" in str(error)

    def test_all_items(self, trained):
        assert trained.value("SELECT pix.classify_all('heels')") == 60
        rows = trained.query(
            "SELECT item_id, label, score FROM pix.predictions WHERE classifier = 'heels'", role="rita"
        )
        assert len(rows) == 60
        for item_id, label, score in rows[:10]:
            best = trained.query("SELECT label, score FROM pix.classify_item(%s, 'heels', top => 1)", (item_id,))
            assert best == [(label, pytest.approx(score, rel=1e-5))]

    def test_all_items_again(self, trained):
        """What did not change is not written again; what is gone goes."""
        trained.query("SELECT pix.classify_all('heels')")
        before = dict(trained.query("SELECT item_id, classified_at FROM pix.predictions"))
        gone = trained.value("SELECT min(item_id) FROM pix.features")
        trained.query("DELETE FROM pix.features WHERE item_id = %s", (gone,))
        assert trained.value("SELECT pix.classify_all('heels')") == 59
        after = dict(trained.query("SELECT item_id, classified_at FROM pix.predictions"))
        assert after == {item_id: moment for item_id, moment in before.items() if item_id != gone}
        trained.query("CALL pix.extract_features()")
        trained.query("SELECT pix.train_classifier('heels', 'shaft')")
        trained.query("SELECT pix.classify_all('heels')")
        shafts = labels_of(trained, "shaft")
        assert {label for (label,) in trained.query("SELECT label FROM pix.predictions")} <= shafts

    def test_all_items_in_parallel_workers(self, trained, parallel_workers):
        trained.query(
            "INSERT INTO pix.features (item_id, model_name, model_checksum, vector) "
            "SELECT item_id || n, model_name, model_checksum, vector FROM pix.features, generate_series(1, 20) n"
        )
        assert trained.value("SELECT pix.classify_all('heels')") == 60 * 21
        connection = trained.connect()
        cursor = connection.cursor()
        for name in ("min_parallel_table_scan_size", "parallel_setup_cost", "parallel_tuple_cost"):
            cursor.execute(f"SET {name} = 0")
        cursor.execute(
            "EXPLAIN SELECT coalesce(pix._kept_best_class(vector, 'x'), pix._best_class(vector, 'heels', 'x')) "
            "FROM pix.features"
        )
        assert any("Workers Planned" in line for (line,) in cursor.fetchall())

    def test_at_once(self, trained):
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda _: trained.value("SELECT pix.classify_all('heels')"), range(3))) == [60] * 3
        assert trained.value("SELECT count(*) FROM pix.predictions") == 60

    def test_open_connection_sees_the_new_classifier(self, trained):
        connection = trained.connect("rita")
        cursor = connection.cursor()
        ask = "SELECT label FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'heels')"
        for label_set in ("heel", "shaft"):
            trained.query("SELECT pix.train_classifier('heels', %s)", (label_set,))
            cursor.execute(ask)
            assert {label for (label,) in cursor} == labels_of(trained, label_set)

    def test_classes_that_came_with_the_network(self, loaded):
        assert SHIPPED["mini_inception"].exists()
        rows = loaded.query(
            "SELECT label FROM pix.classify((SELECT content FROM pix.images LIMIT 1), 'mini_inception', top => 10)"
        )
        assert len(rows) == 10
        assert ("shoes",) in rows


class TestUnfitClassifiers:
    ASK = (
        "SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), 'heels')",
        "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'heels')",
        "SELECT pix.classify_all('heels')",
    )

    def test_unknown(self, labelled):
        for sql in self.ASK:
            assert "'heels'" in str(fails_with(labelled, "PX070", sql))
        for names in ("ARRAY[]::text[]", "NULL::text[]", "NULL::text", "ARRAY[NULL]::text[]"):
            fails_with(
                labelled, "PX070", f"SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), {names})"
            )
        fails_with(labelled, "PX070", "SELECT pix.drop_classifier('heels')")

    def test_model_is_gone(self, trained):
        trained.query("SELECT pix.drop_model('mini_inception')")
        for sql in self.ASK:
            assert "gone" in str(fails_with(trained, "PX075", sql))
        assert trained.value("SELECT usable FROM pix.classifier_ranking WHERE classifier = 'heels'") is False

    def test_classes_of_a_network_that_was_imported_again(self, db, tmp_path):
        db.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        error = fails_with(db, "PX075", "SELECT pix.classify_all('mini_inception')")
        assert "--labels" in error.diag.message_hint
        assert "--labels" in db.pix("classifier", "list").stdout

    def test_model_was_imported_again(self, trained, tmp_path):
        trained.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        for sql in self.ASK:
            error = fails_with(trained, "PX075", sql)
            assert "imported again" in str(error)
        for remedy in error.diag.message_hint.rstrip(";").split("; "):
            fails_with(trained, "PX075", self.ASK[1])
            trained.query(remedy)
        for sql in self.ASK:
            trained.query(sql)

    def test_items(self, trained):
        fails_with(trained, "PX040", "SELECT * FROM pix.classify_item('nope', 'heels')")
        trained.query("DELETE FROM pix.features WHERE item_id = (SELECT min(item_id) FROM pix.images)")
        fails_with(trained, "PX041", self.ASK[1])

    def test_pictures_and_top(self, trained):
        fails_with(trained, "PX010", "SELECT * FROM pix.classify(NULL, 'heels')")
        fails_with(trained, "PX010", "SELECT * FROM pix.classify('no picture', 'heels')")
        for top in ("0", "-1", "NULL"):
            fails_with(
                trained,
                "PX077",
                f"SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), 'heels', top => {top})",
            )

    def test_registered_weights_that_do_not_fit(self, db):
        fails_with(
            db, "PX030", "SELECT pix.register_classifier('x', 'mini_inception', ARRAY['a', 'b'], 'abcd', ARRAY[0, 1])"
        )
        fails_with(
            db,
            "PX030",
            "SELECT pix.register_classifier('x', 'mini_inception', ARRAY['a'], "
            "decode(repeat('00', 1152), 'hex'), '{}')",
        )
        fails_with(db, "PX030", "SELECT pix.register_classifier('x', 'mini_inception', NULL, NULL, NULL)")
        fails_with(
            db,
            "PX030",
            "SELECT pix.register_classifier('x', 'mini_inception', ARRAY[NULL], "
            "decode(repeat('00', 1152), 'hex'), ARRAY[0])",
        )
        fails_with(
            db,
            "PX077",
            "SELECT pix.register_classifier('', 'mini_inception', ARRAY['a'], "
            "decode(repeat('00', 1152), 'hex'), ARRAY[0])",
        )
        assert db.value("SELECT count(*) FROM pix.classifiers WHERE classifier = 'x'") == 0


class TestCommands:
    def test_story(self, labelled, boots):
        said = labelled.pix("classifier", "train", "heels", "--label-set", "heel", "--folds", 3).stdout
        for part in ("test", "validation", "fold 3", "heels: trained in"):
            assert part in said
        picture = sorted((boots / "pictures").iterdir())[0]
        lines = labelled.pix("classify", picture, "--classifier", "heels", "--top", 2, role="rita").stdout.splitlines()
        assert len(lines) == 2
        label, score = labelled.query(
            "SELECT label, score FROM pix.classify_item(%s, 'heels', top => 1)", (picture.stem,)
        )[0]
        assert lines[0] == f"{label} (score = {score:.5f})"
        assert (
            labelled.pix("classify", "--item", picture.stem, "--classifier", "heels", "--top", 2).stdout.splitlines()
            == lines
        )
        assert labelled.pix("classify", "--all", "--classifier", "heels").stdout == "60 items classified\n"
        assert "heels" in labelled.pix("classifier", "list", role="rita").stdout
        shown = labelled.pix("classifier", "show", "heels", role="rita").stdout
        for part in ("precision", "called", "AUC"):
            assert part in shown
        assert labelled.pix("classifier", "drop", "heels").stdout == "60 predictions removed\n"
        assert labelled.value("SELECT count(*) FROM pix.predictions") == 0

    def test_the_last_trained_is_asked(self, labelled, boots):
        picture = next((boots / "pictures").iterdir())
        ask = ("classify", picture, "--top", 1)
        assert labelled.pix(*ask).stdout == labelled.pix(*ask, "--classifier", "mini_inception").stdout
        labelled.query("SELECT pix.train_classifier('shafts', 'shaft')")
        labelled.query("SELECT pix.train_classifier('heels', 'heel')")
        assert labelled.pix(*ask).stdout == labelled.pix(*ask, "--classifier", "heels").stdout
        for name in ("shafts", "heels", "mini_inception"):
            labelled.query("SELECT pix.drop_classifier(%s)", (name,))
        assert "no classifier" in labelled.pix(*ask, check=False).stderr

    def test_brackets_are_no_markup(self, labelled):
        labelled.query("UPDATE pix.labels SET label = '[/b] ' || label WHERE label_set = 'heel'")
        labelled.pix("classifier", "train", "[bold]x", "--label-set", "heel")
        assert "[bold]x" in labelled.pix("classifier", "list").stdout
        assert "[/b] " in labelled.pix("classifier", "show", "[bold]x").stdout

    def test_what_cannot_be_asked(self, labelled, boots):
        picture = next((boots / "pictures").iterdir())
        for arguments in ([], [picture, "--item", "x"], [picture, "--all"]):
            refused = labelled.pix("classify", *arguments, "--classifier", "heels", check=False)
            assert refused.returncode == 1
            assert "Hint: " in refused.stderr
        assert (
            "one classifier at a time"
            in labelled.pix("classify", "--all", "--classifier", "a", "--classifier", "b", check=False).stderr
        )
        assert "not known" in labelled.pix("classifier", "show", "nope", check=False).stderr
        for role in ("rita", "adam"):
            refused = labelled.pix("classifier", "train", "x", "--label-set", "heel", role=role, check=False)
            assert "[42501]" in refused.stderr


@pytest.mark.slow
def test_accuracy_on_photographs(db, data):
    """Ten kinds of clothing by features of a network that was trained on other things."""
    folder = data / "models" / "mobilenet_v1_0.25_128"
    db.pix("model", "import", "mobilenet", "--graphdef", folder / "frozen_graph.pb")
    db.pix("load", "images", data / "clothing", "--label-set", "kind")
    db.pix("extract", "--model", "mobilenet")
    db.query("SELECT pix.train_classifier('kinds', 'kind', 'mobilenet', folds => 5)")
    ((accuracy, _, auc, items),) = db.query(METRICS, ("kinds", "test"))
    assert items > 250
    assert accuracy >= 0.72
    assert auc > 0.94
    mean = db.value("SELECT cross_validated_accuracy FROM pix.classifier_ranking WHERE classifier = 'kinds'")
    assert mean > 0.75
