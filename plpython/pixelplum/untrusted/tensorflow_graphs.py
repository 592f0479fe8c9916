"""TensorFlow graphs: nothing but computations, checked before TensorFlow sees them.

TensorFlow runs whatever a graph says, and there are operations that read and write files, open connections, call
Python, or never end. A network needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pixelplum.errors import ModelUnsafe

_COMPUTATIONS = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation All Angle Any
    ApproximateEqual ArgMax ArgMin Asin Asinh Assert Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2
    BatchMatMulV3 BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND BesselI0e BesselI1e BiasAdd BiasAddV1
    Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastGradientArgs BroadcastTo Cast Ceil
    CheckNumerics CheckNumericsV2 ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat ConcatOffset ConcatV2
    Conj Const Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross Cumprod Cumsum
    CumulativeLogsumexp DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DenseBincount DepthToSpace
    DepthwiseConv2dNative Dequantize Digamma Dilation2D Div DivNoNan DrawBoundingBoxes DrawBoundingBoxesV2
    DynamicPartition DynamicStitch Einsum Elu EnsureShape Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expm1
    ExtractImagePatches FFT FFT2D FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    Floor FloorDiv FloorMod FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    FusedPadConv2D FusedResizeAndPadConv2D Gather GatherNd GatherV2 Greater GreaterEqual HSVToRGB IFFT IFFT2D IRFFT
    IRFFT2D Identity IdentityN If Igamma Igammac Imag ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK
    InTopKV2 Inv Invert InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual Lgamma
    LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixInverse MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 Max MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Maximum Mean Merge Min Minimum MirrorPad Mod Mul
    MulNoNan Ndtri Neg NextAfter NoOp NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NotEqual OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch PartitionedCall
    Placeholder PlaceholderV2 PlaceholderWithDefault Pow PreventGradient Prod QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeDownAndShrinkRange QuantizeV2
    QuantizedAdd QuantizedAvgPool QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConcat
    QuantizedConv2D QuantizedMatMul QuantizedMaxPool QuantizedMul QuantizedRelu QuantizedRelu6 QuantizedReshape
    QuantizedResizeBilinear RFFT RFFT2D RGBToHSV RandomStandardNormal RandomUniform RandomUniformInt Range Rank Real
    RealDiv Reciprocal RefSwitch Relu Relu6 RequantizationRange Requantize Reshape ResizeArea ResizeBicubic
    ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt
    ScaleAndTranslate ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select SelectV2 Selu Shape
    ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
    SpaceToBatch SpaceToBatchND SpaceToDepth SparseSoftmaxCrossEntropyWithLogits Split SplitV Sqrt Square
    SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformV2 StopGradient
    StridedSlice Sub Sum Switch Tan Tanh TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
    TensorScatterUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod TruncatedNormal Unique UniqueV2 Unpack
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Where Xdivy Xlog1py Xlogy ZerosLike
"""
COMPUTATIONS = frozenset(_COMPUTATIONS.split())
"""What a graph may hold. There are no loops, which need not end; neither are there any in the networks that see."""

_VARIABLES = """
    Assign AssignVariableOp DestroyResourceOp DisableCopyOnRead IsVariableInitialized ReadVariableOp VarHandleOp
    VarIsInitializedOp Variable VariableV2
"""
VARIABLES = frozenset(_VARIABLES.split())
"""What a network that is not frozen holds besides: memory."""

SAVING = frozenset(
    ("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin")
)
"""What saves a SavedModel and restores it."""


def check(definition, also: frozenset[str] = frozenset()) -> None:
    """Refuse a graph that holds anything but computations, in the functions of its library too.

    Parameters
    ----------
    definition : tensorflow.GraphDef
        The graph.
    also : frozenset of str
        Further operations that it may hold.

    Raises
    ------
    ModelUnsafe
        If it does, or if functions call one another in a circle.
    """
    functions = _functions(definition)
    for nodes in [definition.node, *functions.values()]:
        for node in nodes:
            if node.op not in COMPUTATIONS and node.op not in also and node.op not in functions:
                raise _unsafe(node, "which is not a computation")
            if missing := next((name for name in _named(node) if name not in functions), None):
                raise _unsafe(node, f"which calls {missing}, a function that is not in the graph")
    _refuse_circles(functions)


def check_saved(meta_graph) -> None:
    """Refuse a SavedModel that does anything but restore its variables when it is loaded, and compute when it is run.

    What saves and restores belongs to TensorFlow: nothing that is run may use it, but for the operation that restores a
    model of TensorFlow 1, from the place that it is told.

    Parameters
    ----------
    meta_graph : tensorflow.MetaGraphDef
        The graph, with its functions, its objects, and what is said of them.

    Raises
    ------
    ModelUnsafe
        If it does.
    """
    definition, objects, saver = meta_graph.graph_def, meta_graph.object_graph_def, meta_graph.saver_def
    check(definition, VARIABLES | SAVING)
    resources = any(node.HasField("resource") or node.HasField("asset") for node in objects.nodes)
    if resources or meta_graph.asset_file_def or any(node.saveable_objects for node in objects.nodes):
        raise ModelUnsafe("The SavedModel has files or tables of its own, which are opened when it is loaded")
    outputs = [output.name for part in meta_graph.signature_def.values() for output in part.outputs.values()]
    begun = [name for part in meta_graph.collection_def.values() for name in part.node_list.value]
    functions = [name for name in objects.concrete_functions if name in _functions(definition)]
    for node in _reached(definition, [*outputs, *begun], functions):
        if node.op in SAVING:
            raise _unsafe(node, "which reads or writes files when the network is loaded or run")
    if not objects.nodes and saver.restore_op_name:  # of TensorFlow 1
        for node in _reached(definition, [saver.restore_op_name], []):
            if node.op in SAVING and (
                node.op != "RestoreV2" or _place(node.input[0]) != _place(saver.filename_tensor_name)
            ):
                raise _unsafe(node, "which reads or writes other files when the network is loaded")


def _functions(definition) -> dict[str, Iterable]:
    return {function.signature.name: function.node_def for function in definition.library.function}


def _named(node) -> Iterator[str]:
    """Yield the functions that a node names as arguments."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _called(nodes: Iterable, functions: dict[str, Iterable]) -> set[str]:
    return {name for node in nodes for name in (node.op, *_named(node)) if name in functions}


def _refuse_circles(functions: dict[str, Iterable]) -> None:
    calls = {name: _called(nodes, functions) for name, nodes in functions.items()}
    while ended := [name for name, called in calls.items() if not called & calls.keys()]:
        for name in ended:
            del calls[name]
    if calls:
        raise ModelUnsafe(f"The TensorFlow graph holds the function {next(iter(calls))}, which calls itself")


def _reached(definition, names: list[str], functions: list[str]) -> Iterator:
    """Yield the nodes that tensors or operations of a graph, and functions of its library, depend on."""
    nodes, library = {node.name: node for node in definition.node}, _functions(definition)
    ahead, seen, begun = [_place(name) for name in names], set(), set()
    within = list(functions)
    while ahead or within:
        if ahead:
            name = ahead.pop()
            if name in seen or name not in nodes:
                continue
            seen.add(name)
            pending = [nodes[name]]
            ahead += map(_place, nodes[name].input)
        else:
            name = within.pop()
            if name in begun:
                continue
            begun.add(name)
            pending = list(library[name])
        yield from pending
        within += _called(pending, library)


def _place(tensor: str) -> str:
    """Return the name of the node behind a tensor, or a condition on one (``^name``)."""
    return tensor.removeprefix("^").split(":")[0]


def _unsafe(node, why: str) -> ModelUnsafe:
    return ModelUnsafe(f"The TensorFlow graph holds the operation {node.op} ({node.name}), {why}")
