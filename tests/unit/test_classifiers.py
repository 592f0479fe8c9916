"""Classifiers: training against scikit-learn's own way, metrics by hand, and what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_score, recall_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pixelplum.core.classifiers import training
from pixelplum.core.classifiers.final_layers import SoftmaxLayer
from pixelplum.errors import VectorError


@pytest.fixture
def blobs():
    """Vectors around three centers, of different scales, one dimension constant."""
    random = np.random.default_rng(1)
    classes = random.integers(3, size=300)
    vectors = random.normal(0, 1, (300, 8)) * 10.0 ** np.arange(-2, 6) + np.eye(8)[classes] * 10.0 ** np.arange(-2, 6)
    vectors[:, 7] = 5
    return vectors.astype(np.float32), classes


class TestSoftmaxLayer:
    @pytest.fixture
    def layer(self):
        weights = np.float32([[1, 0], [0, 1], [1, 1]])
        return SoftmaxLayer(["a", "b", "c"], weights.tobytes(), [0.0, 0.5, -1.0])

    def test_probabilities(self, layer):
        scores = np.array([2.0, 3.5, 4.0])
        expected = np.exp(scores) / np.exp(scores).sum()
        vector = np.float32([2, 3]).tobytes()
        np.testing.assert_allclose(layer.probabilities(vector), expected, rtol=1e-6)
        assert layer.best(vector) == ("c", pytest.approx(expected[2], rel=1e-6))

    def test_large_scores_do_not_overflow(self, layer):
        vector = np.float32([1e30, 0]).tobytes()
        assert layer.probabilities(vector).sum() == pytest.approx(1)
        assert layer.best(vector)[1] == pytest.approx(0.5)

    def test_vector_of_other_dimensions(self, layer):
        with pytest.raises(VectorError, match="3 dimensions, the classifier 2"):
            layer.best(np.zeros(3, "f4").tobytes())

    @pytest.mark.parametrize(
        ("labels", "weights", "intercepts"),
        [([], b"", []), (["a"], bytes(8), []), (["a", "b", "c"], bytes(8), [0, 0, 0])],
    )
    def test_what_does_not_fit_together(self, labels, weights, intercepts):
        with pytest.raises(VectorError, match="do not fit together"):
            SoftmaxLayer(labels, weights, intercepts)


class TestTraining:
    @pytest.mark.parametrize("balanced", [False, True])
    def test_softmax_is_logistic_regression_on_scaled_features(self, blobs, balanced):
        vectors, classes = blobs
        layer = training.fit(vectors, classes, "softmax", balanced, penalty=0.01)
        oracle = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=1 / (0.01 * len(vectors)), class_weight="balanced" if balanced else None),
        ).fit(vectors, classes)
        np.testing.assert_allclose(layer.probabilities(vectors), oracle.predict_proba(vectors), atol=2e-3)
        assert layer.weights.dtype == np.float32

    @pytest.mark.parametrize("balanced", [False, True])
    def test_lda_is_discriminant_analysis(self, blobs, balanced):
        vectors, classes = blobs
        layer = training.fit(vectors, classes, "lda", balanced)
        oracle = make_pipeline(
            StandardScaler(),
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(3, 1 / 3) if balanced else None),
        ).fit(vectors, classes)
        np.testing.assert_allclose(layer.probabilities(vectors), oracle.predict_proba(vectors), atol=1e-3)

    @pytest.mark.parametrize("algorithm", training.ALGORITHMS)
    def test_two_classes(self, blobs, algorithm):
        vectors, classes = blobs
        layer = training.fit(vectors[classes < 2], classes[classes < 2], algorithm, balanced=False)
        assert layer.weights.shape == (2, 8)
        probabilities = layer.probabilities(vectors[classes < 2])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert (probabilities.argmax(axis=1) == classes[classes < 2]).mean() > 0.7

    def test_balance_matters_where_classes_are_not(self):
        random = np.random.default_rng(2)
        classes = np.repeat([0, 1], [380, 20])
        vectors = (random.normal(0, 1, (400, 2)) + classes[:, np.newaxis]).astype(np.float32)
        recall = {
            balanced: (training.fit(vectors, classes, "softmax", balanced).probabilities(vectors).argmax(1) == 1)[
                -20:
            ].mean()
            for balanced in (False, True)
        }
        assert recall[True] > recall[False] + 0.3

    def test_penalty_with_the_least_loss_on_held_out_items(self, blobs):
        vectors, classes = blobs
        penalty, layer = training.choose_penalty(vectors[:200], classes[:200], vectors[200:], classes[200:], False)
        losses = {
            tried: training.log_loss(
                training.fit(vectors[:200], classes[:200], "softmax", False, tried).probabilities(vectors[200:]),
                classes[200:],
            )
            for tried in training.PENALTIES
        }
        assert penalty == min(losses, key=losses.get)
        assert training.log_loss(layer.probabilities(vectors[200:]), classes[200:]) == pytest.approx(
            min(losses.values())
        )

    def test_without_held_out_items_the_usual_penalty(self, blobs):
        vectors, classes = blobs
        assert training.choose_penalty(vectors, classes, vectors[:0], classes[:0], False)[0] == training.USUAL_PENALTY

    def test_folds_measure_every_item_once(self, blobs):
        vectors, classes = blobs
        folds = training.cross_validate(vectors, classes, ["a", "b", "c"], "lda", False, 0.1, 4)
        assert sum(fold["items"] for fold in folds) == 300
        again = training.cross_validate(vectors, classes, ["a", "b", "c"], "lda", False, 0.1, 4)
        assert folds == again


class TestMetrics:
    def test_against_scikit_learn(self):
        random = np.random.default_rng(3)
        classes = random.integers(4, size=200)
        probabilities = random.dirichlet(np.ones(4), 200)
        probabilities[np.arange(200), classes] += 0.3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        measured = training.evaluate(probabilities, classes, list("abcd"))
        predicted = probabilities.argmax(axis=1)
        assert measured["items"] == 200
        assert measured["accuracy"] == accuracy_score(classes, predicted)
        assert measured["log_loss"] == pytest.approx(log_loss(classes, probabilities))
        assert measured["auc"] == pytest.approx(roc_auc_score(classes, probabilities, multi_class="ovr"))
        by_class = measured["classes"]
        assert [row["precision"] for row in by_class] == pytest.approx(
            precision_score(classes, predicted, average=None)
        )
        assert [row["recall"] for row in by_class] == pytest.approx(recall_score(classes, predicted, average=None))
        matrix = np.zeros((4, 4), int)
        for cell in measured["confusion"]:
            matrix["abcd".index(cell["actual"]), "abcd".index(cell["predicted"])] = cell["items"]
        np.testing.assert_array_equal(matrix, confusion_matrix(classes, predicted))

    def test_what_is_not_defined_is_none(self):
        measured = training.evaluate(np.array([[0.9, 0.1, 0.0]]), np.array([0]), ["a", "b", "c"])
        assert measured["auc"] is None
        assert measured["classes"][0] == {"label": "a", "items": 1, "precision": 1, "recall": 1, "auc": None}
        assert measured["classes"][1] == {"label": "b", "items": 0, "precision": None, "recall": None, "auc": None}

    def test_impossible_events_cost_much_but_not_infinity(self):
        assert 700 < training.log_loss(np.array([[0.0, 1.0]]), np.array([0])) < 710
