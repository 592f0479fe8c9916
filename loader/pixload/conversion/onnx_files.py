"""ONNX files, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pixelplum.untrusted.onnx_files import check, external
from pixload.conversion.converted import (
    SPEC_KEY,
    ConvertedModel,
    Head,
    Wishes,
    measure_head,
    no_classes,
    not_over_features,
    start_onnx,
    write_spec,
)
from pixload.conversion.scaling import IMAGENET, SYMMETRIC, Affine, describe, preprocessing
from pixload.errors import PixError, refusals

PASSING = {"Reshape", "Squeeze", "Flatten", "Identity", "Dropout", "Unsqueeze"}
LINEAR = {"Gemm", "MatMul", "Add", "Conv"}
POOLING = {"GlobalAveragePool", "AveragePool", "ReduceMean"}
POINTWISE = {"Identity", "Relu", "Clip", "Sigmoid", "HardSwish", "Mul", "Add", "QuantizeLinear", "DequantizeLinear"}
IMAGENET_CLASSES = (1000, 1001)


def read_onnx(path: Path, wishes: Wishes | None = None) -> ConvertedModel:
    """Read an ONNX file; one without a spec of its own gets one.

    Parameters
    ----------
    path : Path
        The file. Weights that it keeps in files of its folder are taken in.
    wishes : Wishes, optional
        What the user says of it. None: what its own spec says.

    Returns
    -------
    ConvertedModel

    Raises
    ------
    PixError
        If it is not an ONNX file, or does not say enough.
    """
    import onnx

    wishes = wishes or Wishes()
    try:
        for tensor, location in external(path.read_bytes()):
            _check_beside(path, tensor, location)
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except PixError:
        raise
    except Exception as error:  # protobuf's and onnx's own classes have no common base
        raise PixError(f"{path} is not an ONNX file: {error}", "Give a file that onnx.checker accepts.") from error
    with refusals():
        check(model.SerializeToString())
    source = f"ONNX {path.name}"
    spec = _own_spec(model, path)
    if spec is not None and wishes == Wishes(labels=wishes.labels):
        return _with_own_spec(model, source, wishes)
    return _with_new_spec(model, path, source, wishes)


def _check_beside(path: Path, tensor: str, location: str) -> None:
    """Refuse weights that are anywhere else than in the folder of the ONNX file."""
    folder = path.parent.resolve()
    if not location or not (folder / location).resolve().is_relative_to(folder):
        raise PixError(
            f"{path} keeps the tensor {tensor} in {location!r}, which is not in its folder.",
            "Put the file with its weights beside it.",
        )


def _own_spec(model, path: Path) -> dict | None:
    """Return what the file says of itself, if it can be used."""
    text = next((entry.value for entry in model.metadata_props if entry.key == SPEC_KEY), None)
    if text is None:
        return None
    try:
        spec = json.loads(text)
        named = [spec["output"], spec.get("classes") or spec["output"]]
        if not spec["preprocessing"] or not spec["input"]:
            raise ValueError("it names no input")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PixError(
            f"{path}: its metadata property {SPEC_KEY!r} is not a spec: {error!r}", "Remove the property from the file."
        ) from error
    missing = [name for name in named if name not in _Graph(model).tensors]
    if missing:
        raise PixError(
            f"{path}: its spec names {missing[0]}, which it does not compute.", "Remove the spec from the file."
        )
    return spec


def _with_own_spec(model, source: str, wishes: Wishes) -> ConvertedModel:
    converted = ConvertedModel(model, source)
    spec = converted.spec
    if wishes.labels and not spec.get("classes"):
        raise no_classes()
    labels = wishes.labels or spec.get("labels")
    if labels and spec.get("classes"):
        converted.head = _measure(model, spec, _Graph(model).behind(spec["classes"]), labels)
    return converted


def _with_new_spec(model, path: Path, source: str, wishes: Wishes) -> ConvertedModel:
    graph, notes = _Graph(model), []
    entry = _choose("--input", wishes.input, graph.inputs(), path)
    if wishes.input is None:
        notes.append(f"input {entry.name}")
    prepared = _preprocessing(graph, entry, wishes, notes)
    scores = graph.find_scores(wishes)
    if wishes.labels is not None and scores is None:
        raise no_classes()
    if wishes.output is not None:
        output = wishes.output
        if output not in graph.tensors:
            raise _unknown_tensor("--output", output, graph)
    else:
        output = graph.before_linear(scores) if scores else _choose("--output", None, graph.outputs(), path).name
        notes.append(f"output {output}")
    spec = {"input": entry.name, "output": output, "preprocessing": prepared}
    head = None
    if scores and wishes.labels is not None:
        head = _measure(model, spec, scores, wishes.labels)
    elif scores and wishes.output is None:
        notes.append("no classes, though the graph gives them: --labels names them")
    model = _ending_at(model, spec, output)
    write_spec(model, entry.name, output, prepared)
    converted = ConvertedModel(model, source, head=head, proposals=notes)
    _average_maps(converted)
    return converted


def _choose(option: str, wanted: str | None, values: list, path: Path):
    names = [value.name for value in values]
    if (wanted is None and len(names) != 1) or (wanted is not None and wanted not in names):
        raise PixError(f"{path} has no single {option[2:]} {wanted or ''}.".replace(" .", "."),
                       f"Choose {option} from: {', '.join(names)}")  # fmt: skip
    return values[0] if wanted is None else values[names.index(wanted)]


def _unknown_tensor(option: str, name: str, graph: _Graph) -> PixError:
    ends = ", ".join(list(graph.tensors)[-5:])
    return PixError(
        f"The graph has no tensor {name}.", f"Choose {option} from what it computes; its last ones are {ends}"
    )


def _preprocessing(graph: _Graph, entry, wishes: Wishes, notes: list[str]) -> dict:
    import onnx

    shape = _shape(entry)
    kind = onnx.TensorProto.DataType.Name(entry.type.tensor_type.elem_type)
    if kind != "FLOAT":
        raise PixError(f"{entry.name} takes numbers of type {kind}, not FLOAT.", "Export the model for float32 images.")
    others = [value.name for value in graph.inputs() if value.name != entry.name]
    if others:
        raise PixError(f"The model needs further inputs: {', '.join(others)}.", "Export it with the image alone.")
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or (shape[0] or 1) != 1:
        raise PixError(
            f"{entry.name} has the shape {shape}, not that of one RGB image.",
            "Name the tensor that takes decoded pixels with --input, or export the model for a batch of one.",
        )
    layout = "NHWC" if shape[3] == 3 else "NCHW"
    height, width = shape[1:3] if layout == "NHWC" else shape[2:]
    height, width = height or wishes.size, width or wishes.size
    if not height or not width:
        raise PixError(f"{entry.name} does not say its height and width.", "Give --size.")
    if wishes.size and (height, width) != (wishes.size, wishes.size):
        raise PixError(f"{entry.name} takes images of {width} x {height} pixels.", "Leave --size out.")
    scaling = graph.scaling_behind(entry.name)
    mean, std = scaling or (SYMMETRIC if layout == "NHWC" else IMAGENET)
    if wishes.mean is None or wishes.std is None:
        certain = "" if scaling else " (a guess: --mean and --std change it)"
        notes.append(f"{layout}, pixels {describe(wishes.mean or mean, wishes.std or std)}{certain}")
    return preprocessing(width, height, wishes.mean or mean, wishes.std or std, layout=layout)


def _shape(value) -> list[int | None]:
    return [axis.dim_value or None for axis in value.type.tensor_type.shape.dim]


class _Graph:
    """Who computes a tensor, and who uses it."""

    def __init__(self, model):
        import onnx

        self._graph = model.graph
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        self.tensors = {name: node for node in model.graph.node for name in node.output}

    def inputs(self) -> list:
        return [value for value in self._graph.input if value.name not in self.constants]

    def outputs(self) -> list:
        return list(self._graph.output)

    def behind(self, name: str) -> str:
        """Walk back from class probabilities to the scores before the softmax."""
        while self.tensors[name].op_type in PASSING and self.tensors[name].input[0] in self.tensors:
            name = self.tensors[name].input[0]
        node = self.tensors[name]
        return node.input[0] if node.op_type == "Softmax" and node.input[0] in self.tensors else name

    def find_scores(self, wishes: Wishes) -> str | None:
        """Return the tensor with the scores of classes, if the graph is a classifier."""
        if wishes.classes is not None:
            if wishes.classes not in self.tensors:
                raise _unknown_tensor("--classes", wishes.classes, self)
            scores = self.behind(wishes.classes)
            if self.tensors[self._before_passing(scores)].op_type not in LINEAR:
                raise PixError(
                    f"{wishes.classes} does not come from a softmax over a linear layer.",
                    "Leave --classes out, or name the class probabilities.",
                )
            return scores
        if len(self._graph.output) != 1 or self._graph.output[0].name not in self.tensors:
            return None
        output = self._graph.output[0]
        scores = self.behind(output.name)
        if self.tensors[self._before_passing(scores)].op_type not in LINEAR:
            return None
        count = _shape(output)[-1] if _shape(output) else None
        has_softmax = scores != output.name
        is_named = wishes.labels is not None or count in IMAGENET_CLASSES
        return scores if has_softmax or is_named else None

    def before_linear(self, name: str) -> str:
        """Walk back from scores to the vector that the linear layers start from."""
        while True:
            node = self.tensors[self._before_passing(name)]
            ahead = [tensor for tensor in node.input if tensor not in self.constants]
            if node.op_type not in LINEAR or len(ahead) != 1 or ahead[0] not in self.tensors:
                return name
            if node.op_type == "Conv" and self.tensors[self._before_passing(ahead[0])].op_type not in POOLING:
                return name  # a convolution over maps is not a linear layer over a vector
            name = ahead[0]

    def _before_passing(self, name: str) -> str:
        """Walk back through what changes nothing but the shape."""
        while self.tensors[name].op_type in PASSING and self.tensors[name].input[0] in self.tensors:
            name = self.tensors[name].input[0]
        return name

    def scaling_behind(self, name: str):
        """Tell how pixels are to be scaled, if the graph begins with arithmetic of its own."""
        chain = Affine()
        while True:
            users = [node for node in self._graph.node if name in node.input]
            if len(users) != 1:
                break
            (node,) = users
            if (
                node.op_type in ("Mul", "Div", "Add", "Sub")
                and node.input[0] == name
                and node.input[1] in self.constants
            ):
                number = self.constants[node.input[1]].astype(float).reshape(-1)
                if number.size not in (1, 3):
                    break
                if node.op_type in ("Mul", "Div"):
                    chain.multiply(number if node.op_type == "Mul" else 1 / number)
                else:
                    chain.add(number if node.op_type == "Add" else -number)
            elif node.op_type not in ("Transpose", "Identity", "Cast"):
                break
            name = node.output[0]
        return chain.expected_input()


def _ending_at(model, spec: dict, output: str):
    """Return the part of a graph that computes one tensor of it."""
    if [value.name for value in model.graph.output] == [output]:
        return model
    return _between(model, spec, spec["input"], output)


def _between(model, spec: dict, start: str, end: str):
    """Cut the part of a graph out that computes one tensor from another."""
    import onnx

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    # The extractor wants to know the shapes of both, which inference does not always find out.
    for name, value in zip((start, end), _run(model, spec, [start, end]), strict=True):
        if name != spec["input"]:
            kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            whole.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    part = onnx.utils.Extractor(whole).extract_model([start], [end])
    part.functions.extend(model.functions)
    return part


def cut(model, output: str, unknown: PixError):
    """End a converted graph at an earlier tensor of it.

    Parameters
    ----------
    model : onnx.ModelProto
        A graph with a spec.
    output : str
        A tensor, as `pix model layers` lists them.
    unknown : PixError
        What to raise if the graph has no such tensor.

    Returns
    -------
    onnx.ModelProto
        With a spec; maps are averaged.
    """
    if output not in _Graph(model).tensors:
        raise unknown
    converted = ConvertedModel(model, "")
    spec = converted.spec
    converted.onnx = _ending_at(model, spec, output)
    write_spec(converted.onnx, spec["input"], output, spec["preprocessing"])
    _average_maps(converted)
    return converted.onnx


def append_head(converted: ConvertedModel) -> None:
    """Write a model's classes into its ONNX graph and spec, so that the file carries them.

    Parameters
    ----------
    converted : ConvertedModel
        With a head; its graph gets a second output, ``classes``.
    """
    import onnx

    spec, head, graph = converted.spec, converted.head, converted.onnx.graph
    graph.initializer.append(onnx.numpy_helper.from_array(head.weights, "classes/weights"))
    graph.initializer.append(onnx.numpy_helper.from_array(head.intercepts, "classes/intercepts"))
    graph.node.append(
        onnx.helper.make_node(
            "Gemm", [spec["output"], "classes/weights", "classes/intercepts"], ["classes/scores"], transB=1
        )
    )
    graph.node.append(onnx.helper.make_node("Softmax", ["classes/scores"], ["classes"], axis=-1))
    graph.output.append(onnx.helper.make_tensor_value_info("classes", onnx.TensorProto.FLOAT, [1, len(head.labels)]))
    write_spec(
        converted.onnx, spec["input"], spec["output"], spec["preprocessing"], classes="classes", labels=head.labels
    )


def _average_maps(converted: ConvertedModel) -> None:
    """Let a graph that ends with maps, of channels in the second axis, end with the mean of each."""
    import onnx

    spec = converted.spec
    (got,) = _run(converted.onnx, spec, [spec["output"]])
    if got.ndim != 4 or got.size == max(got.shape):
        return
    graph = converted.onnx.graph
    is_last = _channels_are_last(converted.onnx, spec["output"])
    axes = [1, 2] if is_last else [2, 3]
    name = f"{spec['output']}/mean"
    opset = next(entry.version for entry in converted.onnx.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 18:
        averaged = onnx.helper.make_node("ReduceMean", [spec["output"]], [name], axes=axes, keepdims=0)
    else:
        graph.initializer.append(onnx.helper.make_tensor(f"{name}/axes", onnx.TensorProto.INT64, [2], axes))
        averaged = onnx.helper.make_node("ReduceMean", [spec["output"], f"{name}/axes"], [name], keepdims=0)
    graph.node.append(averaged)
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, got.shape[3 if is_last else 1]])
    )
    write_spec(converted.onnx, spec["input"], name, spec["preprocessing"])


def _channels_are_last(model, name: str) -> bool:
    """ONNX keeps channels in front; converted graphs bring them behind, and work on them there."""
    tensors = _Graph(model).tensors
    while name in tensors and tensors[name].op_type in POINTWISE:
        name = tensors[name].input[0]
    node = tensors.get(name)
    return node is not None and node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 2, 3, 1]


def _run(model, spec: dict, names: list[str]) -> list[np.ndarray]:
    """Return tensors of a graph for a black image."""
    import onnx

    prepared = spec["preprocessing"]
    size = prepared["height"], prepared["width"]
    image = np.zeros((1, *size, 3) if prepared["layout"] == "NHWC" else (1, 3, *size), np.float32)
    telling = onnx.ModelProto()
    telling.CopyFrom(model)
    outputs = {value.name for value in telling.graph.output}
    telling.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in outputs | {spec["input"]}
    )
    session = start_onnx(telling)
    try:
        computed = iter(session.run([name for name in names if name != spec["input"]], {spec["input"]: image}))
    except Exception as error:  # onnxruntime raises a class of its own per kind of fault
        raise PixError(f"ONNX Runtime cannot run the model: {error}", "Export it for a batch of one image.") from error
    return [image if name == spec["input"] else np.asarray(next(computed)) for name in names]


def _measure(model, spec: dict, scores: str, labels: list[str]) -> Head:
    """Cut the layers between features and scores out of a graph, and measure them."""
    features = spec["output"]
    try:
        session = start_onnx(_between(model, spec, features, scores))
    except PixError:
        raise
    except Exception as error:  # onnx and onnxruntime raise classes of their own
        raise not_over_features(f": {error}") from error
    shape = session.get_inputs()[0].shape
    return measure_head(
        lambda vector: session.run([scores], {features: vector.reshape(shape)})[0], int(np.prod(shape)), labels
    )
