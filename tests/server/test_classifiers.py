"""Classifying in SQL: images, items, all of them, by one classifier or several; and classifiers that are not good."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest

from pixload.models import SHIPPED
from tests.helpers import SOMEBODY_WAITS, fails_with, labels_of
from tests.unit.graphs import tiny_onnx


class TestClassifying:
    def test_image_and_item_agree(self, trained):
        item_id = trained.value("SELECT min(item_id) FROM pix.images")
        of_item = trained.ask("SELECT * FROM pix.classify_item(%s, '{heels}')", (item_id,), role="rita")
        of_image = trained.ask(
            "SELECT * FROM pix.classify((SELECT content FROM pix.images WHERE item_id = %s), '{heels}')",
            (item_id,),
            role="rita",
        )
        assert [row[:2] for row in of_item] == [row[:2] for row in of_image]
        np.testing.assert_allclose([row[2] for row in of_item], [row[2] for row in of_image], rtol=1e-4)
        assert [rank for rank, *_ in of_item] == list(range(1, len(of_item) + 1))
        assert sum(score for *_, score in of_item) == pytest.approx(1, abs=1e-5)
        assert [score for *_, score in of_item] == sorted((score for *_, score in of_item), reverse=True)

    def test_k(self, trained):
        for k in (1, 2, 1000):
            number = trained.value(
                "SELECT count(*) FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{heels}', k => %s)",
                (k,),
            )
            classes = trained.value("SELECT count(*) FROM pix.classifier_classes WHERE classifier = 'heels'")
            assert number == min(k, classes)

    def test_certainty_beyond_what_real_can_hold(self, trained):
        """Scores that differ by hundreds, as those of discriminant analysis do."""
        weights = np.zeros((3, 288), "<f4").tobytes()
        trained.ask(
            "SELECT pix.register_classifier('sure', 'mini_inception', ARRAY['a', 'b', 'c'], %s, ARRAY[200, -200, 0])",
            (weights,),
        )
        rows = trained.ask(
            "SELECT label, score FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{sure}')"
        )
        assert rows == [("a", 1), ("c", 0), ("b", 0)]
        assert trained.value("SELECT pix.classify_all('sure')") == 60

    def test_vector_that_is_not_finite(self, trained):
        trained.ask(
            "UPDATE pix.features SET vector = decode(repeat('0000c07f', 288), 'hex') "
            "WHERE item_id = (SELECT min(item_id) FROM pix.images)"
        )
        fails_with(
            trained, "PX030", "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{heels}')"
        )
        fails_with(trained, "PX030", "SELECT pix.classify_all('heels')")

    def test_labels_that_look_alike_when_joined(self, trained):
        """Two classifiers differ, even if their labels are the same text one after another."""
        register = "SELECT pix.register_classifier(%s, 'mini_inception', %s, %s, ARRAY[0, 1])"
        weights = bytes(2 * 4 * 288)
        trained.ask(register, ("one", ["a", "b\nc"], weights))
        trained.ask(register, ("two", ["a\nb", "c"], weights))
        cursor = trained.connect().cursor()
        for name, label in (("one", "b\nc"), ("two", "c")):
            cursor.execute("SELECT pix.classify_all(%s)", (name,))
            cursor.execute("SELECT DISTINCT label FROM pix.predictions WHERE classifier = %s", (name,))
            assert cursor.fetchall() == [(label,)]

    def test_a_reader_cannot_put_another_in_its_place(self, trained):
        checksum = trained.value("SELECT checksum FROM pix.classifiers WHERE classifier = 'heels'")
        for sql in (
            "SELECT pix_internal.keep_classifier(%s, ARRAY['evil'], decode(repeat('00', 1152), 'hex'), ARRAY[1])",
            "SELECT pix_internal.load_classifier('mini_inception', %s)",
        ):
            with pytest.raises(psycopg2.Error) as caught:
                trained.ask(sql, (checksum,), role="rita")
            assert caught.value.pgcode in ("42501", "PX070")

    @pytest.mark.parametrize("change", ["pix.drop_classifier('heels')", "pix.train_classifier('heels', 'shaft')"])
    def test_change_while_all_are_classified(self, trained, until, change):
        """Whoever was classifying is told, and leaves nothing of the classifier that was."""
        connection = trained.connect(autocommit=False)
        connection.cursor().execute(f"SELECT {change}")
        with ThreadPoolExecutor(1) as pool:
            classifying = pool.submit(trained.query, "SELECT pix.classify_all('heels')")
            until(trained, SOMEBODY_WAITS)
            connection.commit()
            with pytest.raises(psycopg2.Error, match="during this call") as caught:
                classifying.result()
        assert caught.value.pgcode == "PX070"
        assert trained.value("SELECT count(*) FROM pix.predictions") == 0

    def test_stale_predictions_can_be_told(self, trained):
        stale = (
            "SELECT count(*) FROM pix.predictions p JOIN pix.classifiers c USING (classifier) "
            "WHERE p.classifier_checksum <> c.checksum"
        )
        trained.ask("SELECT pix.classify_all('heels')")
        assert trained.value(stale) == 0
        trained.ask("SELECT pix.train_classifier('heels', 'heel', balanced => true, algorithm => 'lda')")
        assert trained.value(stale) == 60
        trained.ask("SELECT pix.classify_all('heels')")
        assert trained.value(stale) == 0

    def test_ensemble_is_the_mean(self, trained):
        trained.ask("SELECT pix.train_classifier('other', 'heel', algorithm => 'lda')")
        item_id = trained.value("SELECT min(item_id) FROM pix.images")
        single = [
            dict(trained.ask("SELECT label, score FROM pix.classify_item(%s, %s)", (item_id, [name])))
            for name in ("heels", "other")
        ]
        both = dict(trained.ask("SELECT label, score FROM pix.classify_item(%s, ARRAY['heels', 'other'])", (item_id,)))
        for label, score in both.items():
            assert score == pytest.approx((single[0][label] + single[1][label]) / 2, abs=1e-6)
        image = trained.ask(
            "SELECT label, score FROM pix.classify((SELECT content FROM pix.images WHERE item_id = %s), "
            "ARRAY['heels', 'other'])", (item_id,),
        )  # fmt: skip
        assert dict(image) == pytest.approx(both, abs=1e-5)

    def test_ensemble_across_models(self, trained, tmp_path):
        trained.pix("model", "import", "tiny", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
        trained.ask("CALL pix.extract_features('tiny')")
        trained.ask("SELECT pix.train_classifier('by color', 'heel', 'tiny')")
        content = "(SELECT content FROM pix.images ORDER BY item_id LIMIT 1)"
        both = dict(
            trained.ask(f"SELECT label, score FROM pix.classify({content}, ARRAY['heels', 'by color', 'heels'])")
        )
        heels, color = (
            dict(trained.ask(f"SELECT label, score FROM pix.classify({content}, ARRAY['{name}'])"))
            for name in ("heels", "by color")
        )
        for label, score in both.items():
            assert score == pytest.approx((2 * heels[label] + color[label]) / 3, abs=1e-6)

    def test_classifiers_of_different_classes(self, trained):
        trained.ask("SELECT pix.train_classifier('shafts', 'shaft')")
        error = fails_with(
            trained,
            "PX076",
            "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), ARRAY['heels', 'shafts'])",
        )
        assert "heels, shafts" in str(error)

    def test_all_items(self, trained):
        assert trained.value("SELECT pix.classify_all('heels')") == 60
        rows = trained.ask("SELECT item_id, label, score FROM pix.predictions WHERE classifier = 'heels'", role="rita")
        assert len(rows) == 60
        for item_id, label, score in rows[:10]:
            best = trained.ask("SELECT label, score FROM pix.classify_item(%s, '{heels}', k => 1)", (item_id,))
            assert best == [(label, pytest.approx(score, rel=1e-5))]

    def test_all_items_again(self, trained):
        """What did not change is not written again; deleted items go."""
        trained.ask("SELECT pix.classify_all('heels')")
        before = dict(trained.ask("SELECT item_id, classified_at FROM pix.predictions"))
        gone = trained.value("SELECT min(item_id) FROM pix.features")
        trained.ask("DELETE FROM pix.features WHERE item_id = %s", (gone,))
        assert trained.value("SELECT pix.classify_all('heels')") == 59
        after = dict(trained.ask("SELECT item_id, classified_at FROM pix.predictions"))
        assert after == {item_id: moment for item_id, moment in before.items() if item_id != gone}
        trained.ask("CALL pix.extract_features()")
        trained.ask("SELECT pix.train_classifier('heels', 'shaft')")
        trained.ask("SELECT pix.classify_all('heels')")
        shafts = labels_of(trained, "shaft")
        assert {label for (label,) in trained.ask("SELECT label FROM pix.predictions")} <= shafts

    def test_all_items_in_parallel_workers(self, trained, parallel_workers):
        trained.ask(
            "INSERT INTO pix.features (item_id, model_name, model_checksum, vector) "
            "SELECT item_id || n, model_name, model_checksum, vector FROM pix.features, generate_series(1, 20) n"
        )
        assert trained.value("SELECT pix.classify_all('heels')") == 60 * 21
        connection = trained.connect()
        cursor = connection.cursor()
        for name in ("min_parallel_table_scan_size", "parallel_setup_cost", "parallel_tuple_cost"):
            cursor.execute(f"SET {name} = 0")
        cursor.execute(
            "EXPLAIN SELECT coalesce(pix_internal.kept_best_class(vector, 'x'), "
            "pix_internal.best_class(vector, 'heels', 'x')) "
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
        ask = "SELECT label FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{heels}')"
        for label_set in ("heel", "shaft"):
            trained.ask("SELECT pix.train_classifier('heels', %s)", (label_set,))
            cursor.execute(ask)
            assert {label for (label,) in cursor} == labels_of(trained, label_set)

    def test_classes_that_came_with_the_network(self, loaded):
        assert SHIPPED["mini_inception"].exists()
        rows = loaded.ask(
            "SELECT label FROM pix.classify((SELECT content FROM pix.images LIMIT 1), '{mini_inception}', k => 10)"
        )
        assert len(rows) == 10
        assert ("shoes",) in rows


class TestUnfitClassifiers:
    ASK = (
        "SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), '{heels}')",
        "SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{heels}')",
        "SELECT pix.classify_all('heels')",
    )

    def test_unknown(self, labeled):
        for sql in self.ASK:
            assert "'heels'" in str(fails_with(labeled, "PX070", sql))
        for names in ("ARRAY[]::text[]", "NULL::text[]", "ARRAY[NULL]::text[]"):
            fails_with(
                labeled, "PX070", f"SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), {names})"
            )
        fails_with(labeled, "PX070", "SELECT pix.drop_classifier('heels')")

    def test_model_was_deleted(self, trained):
        trained.ask("SELECT pix.drop_model('mini_inception')")
        for sql in self.ASK:
            assert "has been deleted" in str(fails_with(trained, "PX075", sql))
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
            trained.ask(remedy)
        for sql in self.ASK:
            trained.ask(sql)

    def test_items(self, trained):
        fails_with(trained, "PX040", "SELECT * FROM pix.classify_item('nope', '{heels}')")
        trained.ask("DELETE FROM pix.features WHERE item_id = (SELECT min(item_id) FROM pix.images)")
        fails_with(trained, "PX041", self.ASK[1])

    def test_images_and_top(self, trained):
        fails_with(trained, "PX010", "SELECT * FROM pix.classify(NULL, '{heels}')")
        fails_with(trained, "PX010", "SELECT * FROM pix.classify('no image', '{heels}')")
        for top in ("0", "-1", "NULL"):
            fails_with(
                trained,
                "PX003",
                f"SELECT * FROM pix.classify_item((SELECT min(item_id) FROM pix.images), '{{heels}}', k => {top})",
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
            "PX003",
            "SELECT pix.register_classifier('', 'mini_inception', ARRAY['a'], "
            "decode(repeat('00', 1152), 'hex'), ARRAY[0])",
        )
        assert db.value("SELECT count(*) FROM pix.classifiers WHERE classifier = 'x'") == 0


class TestCommands:
    def test_story(self, labeled, boots):
        output = labeled.pix("classifier", "train", "heels", "--label-set", "heel", "--folds", 3).stdout
        for part in ("test", "validation", "fold 3", "heels: trained in"):
            assert part in output
        image = sorted((boots / "images").iterdir())[0]
        lines = labeled.pix("classify", image, "--classifier", "heels", "-k", 2, role="rita").stdout.splitlines()
        assert len(lines) == 2
        label, score = labeled.ask("SELECT label, score FROM pix.classify_item(%s, '{heels}', k => 1)", (image.stem,))[
            0
        ]
        assert lines[0] == f"{label} (score = {score:.5f})"
        assert (
            labeled.pix("classify", "--item", image.stem, "--classifier", "heels", "-k", 2).stdout.splitlines() == lines
        )
        assert labeled.pix("classify", "--all", "--classifier", "heels").stdout == "60 items classified\n"
        assert "heels" in labeled.pix("classifier", "list", role="rita").stdout
        shown = labeled.pix("classifier", "show", "heels", role="rita").stdout
        for part in ("precision", "called", "AUC"):
            assert part in shown
        assert labeled.pix("classifier", "drop", "heels").stdout == "heels removed\n"
        assert labeled.value("SELECT count(*) FROM pix.predictions") == 0

    def test_the_last_trained_is_asked(self, labeled, boots):
        image = next((boots / "images").iterdir())
        ask = ("classify", image, "-k", 1)
        assert labeled.pix(*ask).stdout == labeled.pix(*ask, "--classifier", "mini_inception").stdout
        labeled.ask("SELECT pix.train_classifier('shafts', 'shaft')")
        labeled.ask("SELECT pix.train_classifier('heels', 'heel')")
        assert labeled.pix(*ask).stdout == labeled.pix(*ask, "--classifier", "heels").stdout
        for name in ("shafts", "heels", "mini_inception"):
            labeled.ask("SELECT pix.drop_classifier(%s)", (name,))
        assert "no classifier" in labeled.pix(*ask, check=False).stderr

    def test_brackets_are_no_markup(self, labeled):
        labeled.ask("UPDATE pix.labels SET label = '[/b] ' || label WHERE label_set = 'heel'")
        labeled.pix("classifier", "train", "[bold]x", "--label-set", "heel")
        assert "[bold]x" in labeled.pix("classifier", "list").stdout
        assert "[/b] " in labeled.pix("classifier", "show", "[bold]x").stdout

    def test_what_cannot_be_asked(self, labeled, boots):
        image = next((boots / "images").iterdir())
        for arguments in ([], [image, "--item", "x"], [image, "--all"]):
            refused = labeled.pix("classify", *arguments, "--classifier", "heels", check=False)
            assert refused.returncode == 1
            assert "Hint: " in refused.stderr
        assert (
            "one classifier at a time"
            in labeled.pix("classify", "--all", "--classifier", "a", "--classifier", "b", check=False).stderr
        )
        assert "not known" in labeled.pix("classifier", "show", "nope", check=False).stderr
        for role in ("rita", "adam"):
            refused = labeled.pix("classifier", "train", "x", "--label-set", "heel", role=role, check=False)
            assert "[42501]" in refused.stderr
