"""This module lists the operators that a SavedModel of an image network may hold.

TensorFlow's registry has operators that read and write files, open sockets, call Python, sleep, or end the process.
Each version of TensorFlow may add some. The list therefore names what is allowed, not what is forbidden. The operators
are those of networks that classify images: their layers in inference and in training, the preparation and augmentation
of pixels, gradients that a module defines for its own functions, quantization-aware training, and control flow.
"""

from __future__ import annotations


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_FLOW = _names(
    "Const Placeholder PlaceholderV2 PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient",
    "PartitionedCall StatelessIf StatelessWhile StatelessCase SymbolicGradient FakeParam",
    "Switch Merge Enter Exit NextIteration LoopCond ControlTrigger EnsureShape Snapshot",
)
_LAYERS = _names(
    "Conv Conv2D Conv3D DepthwiseConv2dNative Dilation2D FusedPadConv2D FusedResizeAndPadConv2D MatMul BatchMatMul",
    "BatchMatMulV2 BatchMatMulV3 Einsum BiasAdd BiasAddV1 LRN L2Loss Dilation2DBackpropInput Dilation2DBackpropFilter",
    "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 BatchNormWithGlobalNormalization",
    "AvgPool AvgPool3D MaxPool MaxPoolV2 MaxPool3D MaxPoolWithArgmax FractionalAvgPool FractionalMaxPool",
    "Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Softmax LogSoftmax",
    "SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits Conv2DBackpropInput Conv2DBackpropInputV2",
    "Conv2DBackpropFilter Conv2DBackpropFilterV2 Conv3DBackpropInputV2 Conv3DBackpropFilterV2",
    "DepthwiseConv2dNativeBackpropInput DepthwiseConv2dNativeBackpropFilter",
)
_GRADIENTS = _names(
    "FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 BatchNormWithGlobalNormalizationGrad BiasAddGrad LRNGrad",
    "AvgPoolGrad AvgPool3DGrad MaxPoolGrad MaxPoolGradV2 MaxPool3DGrad MaxPoolGradWithArgmax FractionalAvgPoolGrad",
    "FractionalMaxPoolGrad ReluGrad Relu6Grad LeakyReluGrad EluGrad SeluGrad SoftplusGrad SoftsignGrad SigmoidGrad TanhGrad",
    "SqrtGrad RsqrtGrad InvGrad ReciprocalGrad StridedSliceGrad MirrorPadGrad TileGrad ResizeBilinearGrad ResizeBicubicGrad",
    "ResizeNearestNeighborGrad ScaleAndTranslateGrad CropAndResizeGradImage CropAndResizeGradBoxes BroadcastGradientArgs",
)
_ARITHMETIC = _names(
    "Abs Add AddN AccumulateNV2 AddV2 Sub Mul MulNoNan Div DivNoNan RealDiv FloorDiv TruncateDiv Mod FloorMod TruncateMod Neg Sign",
    "Square SquaredDifference Sqrt Rsqrt Inv Reciprocal Pow Exp Expm1 Log Log1p Xlogy Xlog1py Xdivy Maximum Minimum",
    "ClipByValue Ceil Floor Round Rint Sin Cos Tan Asin Acos Atan Atan2 Sinh Cosh Asinh Acosh Atanh Erf Erfc Erfinv Ndtri",
    "Lgamma Digamma IsNan IsInf IsFinite Equal NotEqual ApproximateEqual Less LessEqual Greater GreaterEqual LogicalAnd",
    "LogicalOr LogicalNot BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift RightShift Select SelectV2 Cast Bitcast ToBool",
    "NextAfter Cross",
)
_ARRAYS = _names(
    "Sum Mean Prod Max Min All Any EuclideanNorm ArgMax ArgMin TopK TopKV2 InTopK InTopKV2 Cumsum Cumprod",
    "CumulativeLogsumexp SegmentSum SegmentMean SegmentProd SegmentMax SegmentMin UnsortedSegmentSum UnsortedSegmentMax",
    "UnsortedSegmentMin UnsortedSegmentProd Bincount DenseBincount Reshape Shape ShapeN Size Rank ExpandDims Squeeze",
    "Transpose ConjugateTranspose InvertPermutation Concat ConcatV2 ConcatOffset Pack Unpack Split SplitV Slice StridedSlice Tile",
    "Pad PadV2 MirrorPad Fill Range LinSpace ZerosLike OnesLike OneHot BroadcastTo BroadcastArgs Gather GatherV2 GatherNd",
    "ScatterNd ScatterNdNonAliasingAdd TensorScatterUpdate TensorScatterAdd TensorScatterSub TensorScatterMax TensorScatterMin",
    "TensorStridedSliceUpdate DynamicStitch ParallelDynamicStitch DynamicPartition Where Unique UniqueV2 UniqueWithCounts",
    "UniqueWithCountsV2 ListDiff Reverse ReverseV2 ReverseSequence Roll SpaceToBatch SpaceToBatchND BatchToSpace",
    "BatchToSpaceND SpaceToDepth DepthToSpace ExtractImagePatches Diag DiagPart MatrixDiag MatrixDiagV2 MatrixDiagV3",
    "MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixBandPart",
    "MatrixInverse MatrixDeterminant MatrixSolve Cholesky Qr Svd UnravelIndex LowerBound UpperBound Bucketize",
    "HistogramFixedWidth NthElement DataFormatDimMap DataFormatVecPermute",
    "EmptyTensorList TensorListReserve TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack",
    "TensorListPushBack TensorListPopBack TensorListLength TensorListElementShape TensorListResize TensorListGather",
    "TensorListScatterV2 TensorListConcatV2",
)
_IMAGES = _names(
    "ResizeBilinear ResizeBicubic ResizeArea ResizeNearestNeighbor ScaleAndTranslate CropAndResize AdjustContrast",
    "AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3",
    "ExtractGlimpse ExtractGlimpseV2 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4",
    "NonMaxSuppressionV5 CombinedNonMaxSuppression",
)
_QUANTIZATION = _names(
    "FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient QuantizeAndDequantize",
    "QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeAndDequantizeV4Grad QuantizeV2 Dequantize",
)
_RANDOM = _names(
    "StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomUniformInt StatelessRandomUniformIntV2",
    "StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomNormal StatelessRandomNormalV2",
    "StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessMultinomial StatelessRandomGetKeyCounter",
    "StatelessRandomGetKeyCounterAlg StatelessShuffle StatelessSampleDistortedBoundingBox",
)

STATEFUL = _names(
    # These are variables, and calls and branches of functions that hold variables.
    "VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp VarIsInitializedOp VariableShape",
    "DisableCopyOnRead ResourceGather ResourceGatherNd ResourceScatterUpdate ResourceScatterAdd ResourceStridedSliceAssign",
    "StatefulPartitionedCall If While Case",
    # These print a sentence in an error, or only look at numbers.
    "Assert CheckNumerics CheckNumericsV2 Empty GuaranteeConst",
    # These draw random numbers from a state of their own.
    "RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal RandomShuffle",
    "Multinomial StatefulUniform StatefulUniformInt StatefulUniformFullInt StatefulStandardNormalV2 StatefulTruncatedNormal",
    "RngReadAndSkip RngSkip NonDeterministicInts StatelessRandomGetAlg SampleDistortedBoundingBox SampleDistortedBoundingBoxV2",
    # These are lists in memory, which loops of TensorFlow 1 fill.
    "TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3",
    "TensorArrayConcatV3 TensorArraySplitV3 TensorArrayCloseV3 TensorArrayGradV3 StackV2 StackPushV2 StackPopV2 StackCloseV2",
)
"""TensorFlow calls these allowed operators stateful. A new one is examined before it is added."""

IMAGE_NETWORK = frozenset().union(
    _FLOW, _LAYERS, _GRADIENTS, _ARITHMETIC, _ARRAYS, _IMAGES, _QUANTIZATION, _RANDOM, STATEFUL
)
"""These operators are allowed everywhere in a SavedModel."""

SAVER = _names("SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StringJoin StaticRegexFullMatch")
"""A SavedModel may use these only to write and read its own variables: see :mod:`tledge.saved_models.check`."""
