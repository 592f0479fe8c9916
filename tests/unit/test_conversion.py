"""From the formats that people have to ONNX: what is proposed, what is computed, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixload.conversion import frozen_graphs, keras_models
from pixload.conversion.converted import Head, Wishes, measure_head
from pixload.conversion.scaling import Affine, describe
from pixload.conversion.tensorflow_graphs import convert
from pixload.errors import PixError
from tests.unit.graphs import (
    LABELS,
    inception_2015,
    jpeg,
    keras_headless,
    network_of,
    run_graph,
)


@pytest.fixture(scope="module")
def graph_of_2015(tmp_path_factory) -> Path:
    return inception_2015(tmp_path_factory.mktemp("graphs") / "classify_image_graph_def.pb")


@pytest.fixture(scope="module")
def retrained_graph(tmp_path_factory) -> Path:
    return inception_2015(tmp_path_factory.mktemp("graphs") / "retrained_graph.pb", retrained=True)


class TestFrozenGraphs:
    @pytest.mark.parametrize("values", [None, "DecodeJpeg/contents:0", "Mul:0", "Mul"])
    def test_graph_of_2015(self, graph_of_2015, tmp_path, values):
        """It is entered behind its decoder and its scaling, both of which are read off the graph."""
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(input=values))
        preprocessing = converted.spec["preprocessing"]
        assert (preprocessing["width"], preprocessing["height"]) == (48, 32)
        assert preprocessing["mean"] == pytest.approx([128] * 3)
        assert preprocessing["std"] == pytest.approx([128] * 3)
        assert "output pool_3:0" in converted.proposals
        image = jpeg()
        expected, _ = run_graph(graph_of_2015, image, "pool_3:0", "softmax:0")
        got = network_of(converted, tmp_path).embed(image)
        assert got.shape == (6,)
        assert expected.std() > 0.05
        np.testing.assert_allclose(got, expected.reshape(-1), atol=1e-4)

    def test_retrained_graph_gives_features_and_classes(self, retrained_graph, tmp_path):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes(labels=LABELS))
        assert converted.head.labels == LABELS
        assert converted.head.weights.shape == (4, 6)
        image = jpeg()
        features, classes = run_graph(retrained_graph, image, "pool_3:0", "final_result:0")
        got = network_of(converted, tmp_path).embed(image)
        np.testing.assert_allclose(got, features.reshape(-1), atol=1e-4)
        np.testing.assert_allclose(converted.head.probabilities(got), classes[0], atol=1e-4)

    def test_the_first_softmax_of_a_retrained_graph_can_be_chosen(self, retrained_graph):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes(classes="softmax:0", labels=LABELS))
        other = convert(frozen_graphs.read_graph(retrained_graph), Wishes(classes="final_result", labels=LABELS))
        assert not np.allclose(converted.head.weights, other.head.weights)

    def test_classes_without_names_are_told(self, retrained_graph):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes())
        assert converted.head is None
        assert any("final_result:0" in line and "--labels" in line for line in converted.proposals)

    def test_wrong_number_of_labels(self, retrained_graph):
        with pytest.raises(PixError, match="3 labels for 4 classes"):
            convert(frozen_graphs.read_graph(retrained_graph), Wishes(labels=LABELS[:3]))

    def test_earlier_layer_is_averaged(self, graph_of_2015, tmp_path):
        """The mean of each map of `conv` is what pool_3 computes."""
        early = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="conv"))
        last = convert(frozen_graphs.read_graph(graph_of_2015), Wishes())
        image = jpeg()
        (tmp_path / "last").mkdir()
        np.testing.assert_allclose(
            network_of(early, tmp_path).embed(image), network_of(last, tmp_path / "last").embed(image), atol=1e-5
        )

    def test_classes_do_not_follow_from_an_early_layer(self, graph_of_2015):
        with pytest.raises(PixError, match="not one softmax layer"):
            convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="conv/CheckNumerics:0", labels=LABELS))

    def test_layer_of_the_converted_graph(self, graph_of_2015, tmp_path):
        """Names that only the ONNX graph has, as pix model layers lists them, can be given too."""
        whole = convert(frozen_graphs.read_graph(graph_of_2015), Wishes())
        names = {name for node in whole.onnx.graph.node for name in node.output if node.op_type == "Relu"}
        (name,) = names - {"conv:0"} or names
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output=name))
        assert network_of(converted, tmp_path).embed(jpeg()).shape == (6,)

    @pytest.mark.parametrize(
        ("wishes", "message"),
        [
            (Wishes(input="nope:0"), "no tensor nope:0"),
            (Wishes(output="nope:0"), "no tensor nope:0"),
            (Wishes(classes="nope:0", labels=LABELS), "no tensor nope:0"),
            (Wishes(classes="conv:0", labels=LABELS), "softmax"),
            (Wishes(input="conv/kernel:0"), "shape"),
            (Wishes(size=64), "48 x 32"),
        ],
    )
    def test_what_the_graph_does_not_have(self, graph_of_2015, wishes, message):
        with pytest.raises(PixError, match=message) as caught:
            convert(frozen_graphs.read_graph(graph_of_2015), wishes)
        assert caught.value.hint

    def test_scaling_that_is_given_wins(self, graph_of_2015):
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(mean=(1, 2, 3), std=(4, 5, 6)))
        assert converted.spec["preprocessing"]["mean"] == [1, 2, 3]
        assert converted.spec["preprocessing"]["std"] == [4, 5, 6]

    def test_real_retrained_graph(self, data, tmp_path):
        folder = data / "models" / "mobilenet_v1_0.25_128"
        labels = (folder / "retrained_labels.txt").read_text().splitlines()
        converted = convert(frozen_graphs.read_graph(folder / "retrained_graph.pb"), Wishes(labels=labels))
        assert converted.agreement <= 1e-4
        assert network_of(converted, tmp_path).dimensions == 256
        assert converted.head.weights.shape == (6, 256)
        assert converted.head.labels[0].startswith("61326 ")  # the number belongs to the label

    def test_real_imagenet_classes(self, data):
        folder = data / "models" / "mobilenet_v1_0.25_128"
        labels = (folder / "labels.txt").read_text().splitlines()
        converted = convert(frozen_graphs.read_graph(folder / "frozen_graph.pb"), Wishes(labels=labels))
        assert converted.head.weights.shape == (1001, 256)
        assert converted.agreement <= 1e-4

    def test_graph_of_variables_or_further_inputs(self, tmp_path):
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), "image")
            keep = tf.compat.v1.placeholder(tf.float32, (), "keep")
            tf.multiply(tf.reduce_mean(image, [1, 2]), keep, name="scaled")
            weight = tf.compat.v1.get_variable("weight", (3,), use_resource=False)
            tf.multiply(tf.reduce_mean(image, [1, 2]), weight, name="weighed")
        (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
        for output, message in (("scaled", "further inputs: keep"), ("weighed", "variables, such as weight")):
            with pytest.raises(PixError, match=message):
                convert(frozen_graphs.read_graph(tmp_path / "graph.pb"), Wishes(output=output))

    def test_labels_for_what_has_no_classes(self, graph_of_2015, data):
        with pytest.raises(PixError, match="softmax over features"):
            convert(keras_models.freeze_keras(keras_headless(), "test"), Wishes(labels=LABELS))
        with pytest.raises(PixError, match="not one softmax layer"):
            convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="softmax", labels=LABELS))


class TestHead:
    def test_layer_that_is_not_affine(self):
        with pytest.raises(PixError, match="not one softmax layer"):
            measure_head(lambda x: np.array([(x**2).sum(), x.sum()]), 3, ["a", "b"])

    def test_affine_layer_is_found(self):
        weights, intercepts = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([0.5, -1])
        head = measure_head(lambda x: weights @ x + intercepts, 3, ["a", "b"])
        np.testing.assert_allclose(head.weights, weights, rtol=1e-6)
        np.testing.assert_allclose(head.intercepts, intercepts)

    def test_probabilities(self):
        head = Head(["a", "b"], np.float32([[0], [1]]), np.float32([0, 0]))
        np.testing.assert_allclose(head.probabilities(np.array([np.log(3)])), [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "mean", "std"),
    [
        ([("multiply", 1 / 255)], 0, 1),  # from 0…255 to [0, 1]
        ([("multiply", 1 / 127.5), ("add", -1)], 0, 1),
        ([("multiply", 2), ("add", -1)], 0, 255),  # it wants [0, 1]
        ([("add", -np.array([103.9, 116.8, 123.7]))], 0, 1),
    ],
)
def test_scaling_that_a_graph_does_tells_what_it_wants(steps, mean, std):
    chain = Affine()
    for step, number in steps:
        getattr(chain, step)(number)
    assert chain.expected_input() == ((mean,) * 3, (std,) * 3)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((127.5,) * 3, (127.5,) * 3, "(x - 127.5) / 127.5"),
        ((1, 1, 2), (3, 4, 4), "(x - 1,1,2) / 3,4,4"),
        ((0.0,) * 3, (1.0,) * 3, "as they are, 0 to 255"),
    ],
)
def test_scaling_in_words(mean, std, message):
    assert describe(mean, std) == message


def test_chain_without_arithmetic_tells_nothing():
    assert Affine().expected_input() is None
