"""What of Keras is not here, and what to use instead: for errors, and for the page docs/keras.md.

`ABSENT` has an entry for every public name of Keras's modules that has no counterpart; a test holds it against Keras.
"""

from __future__ import annotations

from difflib import get_close_matches

_IMAGES = "prepare the images beforehand, or write a layer of your own with the functions of dlcore.functional"
_TEXT = "turn texts into numbers beforehand, with scikit-learn for one"
_THREE = "there are no volumes here: only images [N, H, W, C]"
_OTHER_FRAMEWORK = "bring the model over as an ONNX file: dlcore.onnx.load"
_FILES = "read the files with a library made for it (Pillow, pandas), and pass arrays"
_OWN_LOSS = "pass a function (y_true, y_pred) of tensors as the loss"
_OWN_METRIC = "pass a function (y_true, y_pred) of tensors as the metric, or subclass metrics.Mean"
_OWN_ACTIVATION = "pass a function of tensors as the activation"
_NUMPY = "NumPy's function on arrays, or a combination of those that are here (dlcore.ops.__all__)"
_OTHER_NETWORK = "bring trained networks over as ONNX files (dlcore.onnx.load), or build it from layers"
_OPTIMIZER = "optimizers.AdamW or optimizers.SGD, or a subclass of optimizers.Optimizer"

_GROUPS: dict[str, list[tuple[str, str]]] = {
    "layers": [
        (
            "AdaptiveAveragePooling3D AdaptiveMaxPooling3D AveragePooling3D AvgPool3D Conv3D Conv3DTranspose "
            "ConvLSTM3D Convolution3D Convolution3DTranspose Cropping3D GlobalAveragePooling3D GlobalAvgPool3D "
            "GlobalMaxPool3D GlobalMaxPooling3D MaxPool3D MaxPooling3D SpatialDropout3D UpSampling3D ZeroPadding3D",
            _THREE,
        ),
        (
            "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveMaxPooling1D AdaptiveMaxPooling2D",
            "layers.AveragePooling2D and MaxPooling2D with a pool_size that fits, or the global ones",
        ),
        (
            "AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization "
            "MaxNumBoundingBoxes MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter "
            "RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomGaussianBlur RandomGrayscale "
            "RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness RandomShear "
            "Solarization",
            f"layers.RandomFlip, RandomRotation, RandomTranslation and RandomZoom; for others, {_IMAGES}",
        ),
        (
            "CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup TextVectorization",
            _TEXT,
        ),
        ("MelSpectrogram STFTSpectrogram", "compute spectrograms beforehand, with scipy.signal"),
        ("FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper", _OTHER_FRAMEWORK),
        ("ConvLSTM1D ConvLSTM2D", "layers.RNN with a cell of your own, whose call convolves"),
        ("SpectralNormalization", "layers.LayerNormalization, or a kernel_constraint"),
        ("Pipeline", "dl.Sequential"),
        ("ReversibleEmbedding", "layers.Embedding, and functional.matmul with its transposed table"),
    ],
    "optimizers": [
        ("Adafactor Lamb Lion Muon ScheduleFreeAdamW", _OPTIMIZER),
        ("LossScaleOptimizer", "nothing: computations are in float32 or float64 and need no scaling of the loss"),
        ("MultiOptimizer OptimizerMap", "a train_step of your own with several optimizers"),
    ],
    "losses": [
        (
            "BinaryFocalCrossentropy CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy Circle Dice "
            "Tversky binary_focal_crossentropy categorical_focal_crossentropy categorical_generalized_cross_entropy "
            "circle dice tversky",
            _OWN_LOSS,
        ),
        ("CTC ctc", "labels that are aligned with the steps, and sparse_categorical_crossentropy"),
    ],
    "metrics": [
        (
            "BinaryIoU ConcordanceCorrelation IoU MeanIoU OneHotIoU OneHotMeanIoU PearsonCorrelation "
            "concordance_correlation pearson_correlation",
            _OWN_METRIC,
        ),
        (
            "PrecisionAtRecall RecallAtPrecision SensitivityAtSpecificity SpecificityAtSensitivity",
            "sklearn.metrics.precision_recall_curve or roc_curve on what predict gives",
        ),
        (
            "binary_focal_crossentropy categorical_focal_crossentropy",
            _OWN_LOSS,
        ),
    ],
    "callbacks": [
        ("OrbaxCheckpoint", "callbacks.ModelCheckpoint"),
        ("RemoteMonitor TensorBoard", "callbacks.CSVLogger, or callbacks.LambdaCallback that sends what you want"),
        ("SwapEMAWeights", "use_ema of the optimizer: its averages are in the model when fit ends"),
    ],
    "activations": [
        (
            "celu glu hard_shrink soft_shrink sparse_plus sparse_sigmoid sparsemax squareplus tanh_shrink threshold",
            _OWN_ACTIVATION,
        )
    ],
    "initializers": [
        ("IdentityInitializer OrthogonalInitializer", "initializers.Identity and initializers.Orthogonal"),
        ("STFT STFTInitializer stft", "an array, through set_weights"),
    ],
    "regularizers": [
        ("OrthogonalRegularizer orthogonal_regularizer", "a function of the weight as the regularizer, or L2"),
    ],
    "utils": [
        ("FeatureSpace", "sklearn.compose.ColumnTransformer"),
        ("Progbar", "tqdm"),
        ("Config", "a dict"),
        (
            "array_to_img audio_dataset_from_directory image_dataset_from_directory img_to_array load_img "
            "save_img text_dataset_from_directory",
            _FILES,
        ),
        (
            "disable_interactive_logging enable_interactive_logging is_interactive_logging_enabled",
            "the argument verbose of fit, evaluate and predict",
        ),
        ("get_source_inputs", "model.inputs"),
        ("is_keras_tensor", "isinstance(x, dlcore.symbolic.SymbolicTensor)"),
        ("model_to_dot", "dlcore.plots.model, or utils.plot_model, which writes a picture"),
        ("standardize_dtype", "numpy.dtype(dtype).name"),
    ],
    "applications": [
        (
            "ConvNeXtBase ConvNeXtLarge ConvNeXtSmall ConvNeXtTiny ConvNeXtXLarge DenseNet121 DenseNet169 DenseNet201 "
            "EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4 EfficientNetB5 EfficientNetB6 "
            "EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2L "
            "EfficientNetV2M EfficientNetV2S InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 MobileNetV3Large "
            "MobileNetV3Small NASNetLarge NASNetMobile ResNet101V2 ResNet152 ResNet152V2 ResNet50V2 Xception",
            _OTHER_NETWORK,
        )
    ],
    "ops": [
        (
            "associative_scan cond fori_loop map scan switch vectorize vectorized_map while_loop",
            "Python's own if, for and while",
        ),
        ("custom_gradient jvp", "tensor.record, or a function of your own with its gradient"),
        (
            "adaptive_average_pool adaptive_max_pool allclose angle append arccos arccosh arcsin arcsinh arctan "
            "arctan2 arctanh argpartition argsort array_split bartlett bincount bitwise_and bitwise_invert "
            "bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor blackman cbrt cdist ceil celu "
            "cholesky cholesky_inverse conj conjugate conv_transpose copy corrcoef correlate cross ctc_decode "
            "ctc_loss cumprod deg2rad depth_to_space depthwise_conv det diag diagflat diagonal diff digitize "
            "divide_no_nan dot_product_attention dsplit dstack dtype eig eigh einsum empty empty_like erf erfc erfinv "
            "exp2 extract_sequences fabs fft fft2 fliplr flipud floor floor_divide fmax fmin fmod fold gcd geomspace "
            "get_item glu hamming hanning hard_shrink heaviside histogram hsplit hypot i0 ifft2 imag in_top_k inner "
            "inv irfft isclose isin isneginf isposinf isreal istft kaiser kron layer_normalization lcm ldexp "
            "left_shift logaddexp2 logdet logspace lstsq lu_factor matrix_rank median meshgrid mod multi_hot "
            "nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanpercentile "
            "nanprod nanquantile nanstd nansum nanvar nextafter nonzero percentile pinv polar prod psnr ptp qr "
            "quantile rad2deg real rearrange rfft right_shift rms_normalization rot90 round saturate_cast scatter "
            "scatter_update searchsorted segment_max segment_min segment_prod segment_sum select separable_conv "
            "signbit sinc slice_update slogdet soft_shrink solve solve_triangular sort space_to_depth sparse_plus "
            "sparse_sigmoid sparsemax squareplus stft svd tanh_shrink threshold top_k trace trapezoid tri trunc "
            "unfold unique unravel_index vander vdot view view_as_complex view_as_real vsplit",
            _NUMPY,
        ),
    ],
    "config": [
        (
            "disable_flash_attention disable_interactive_logging enable_flash_attention enable_interactive_logging "
            "enable_unsafe_deserialization is_flash_attention_enabled is_interactive_logging_enabled is_nnx_enabled",
            "nothing: there is no such switch",
        ),
        ("max_epochs max_steps_per_epoch set_max_epochs set_max_steps_per_epoch", "epochs and steps_per_epoch of fit"),
        ("set_backend", "dlcore.use_backend(name)"),
        ("set_epsilon", "nothing: it is 1e-7"),
    ],
    "saving": [("KerasFileEditor", "h5py")],
    "random": [
        ("beta binomial categorical gamma randint shuffle truncated_normal", "numpy.random.default_rng"),
    ],
}
ABSENT: dict[str, dict[str, str]] = {
    module: {name: advice for names, advice in groups for name in names.split()} for module, groups in _GROUPS.items()
}


def absent(module: str, name: str, known: list[str]) -> AttributeError:
    """The error for `dlcore.<module>.<name>`: what to use instead, if Keras has it, or a name that is near."""
    advice = ABSENT.get(module, {}).get(name)
    if advice is not None:
        return AttributeError(f"keras.{module}.{name} is not supported; use instead: {advice}")
    close = [] if name.startswith("_") else get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return AttributeError(f"module 'dlcore.{module}' has no attribute {name!r}{hint}")
