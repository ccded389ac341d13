"""What of Keras is not here, and what to use instead: for errors, and for the page docs/keras.md.

`ABSENT` has an entry for every public name of Keras's modules that has no counterpart; a test holds it against Keras.
"""

from __future__ import annotations

from difflib import get_close_matches

_IMAGES = "prepare the images beforehand, or write a layer of your own with the functions of dlcore.functional"
_TEXT = "turn texts into numbers beforehand, with scikit-learn for one"
_THREE = "there are no volumes here: only images [N, H, W, C]"
_OTHER_FRAMEWORK = "bring the model over as an ONNX file: dlcore.onnx.load"
_MATMUL = "write it with functional.matmul and functional.softmax in a layer of your own"
_FILES = "read the files with a library made for it (Pillow, pandas), and pass arrays"
_OWN_LOSS = "pass a function (y_true, y_pred) of tensors as the loss"
_OWN_METRIC = "pass a function (y_true, y_pred) of tensors as the metric, or subclass metrics.Mean"
_OWN_ACTIVATION = "pass a function of tensors as the activation"
_OTHER_NETWORK = "bring trained networks over as ONNX files (dlcore.onnx.load), or build it from layers"
_OPTIMIZER = "optimizers.AdamW or optimizers.SGD, or a subclass of optimizers.Optimizer"
_SERIALIZATION = "pass custom_objects to load_model, or use utils.custom_object_scope"

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
        ("AdditiveAttention Attention Dot EinsumDense GroupQueryAttention MultiHeadAttention dot", _MATMUL),
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
        ("ActivityRegularization", "the activity_regularizer of a layer"),
        ("AlphaDropout GaussianDropout", "layers.Dropout or layers.GaussianNoise"),
        ("ConvLSTM1D ConvLSTM2D", "layers.RNN with a cell of your own, whose call convolves"),
        (
            "GroupNormalization RMSNormalization SpectralNormalization UnitNormalization",
            "layers.LayerNormalization or BatchNormalization",
        ),
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
            "binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy "
            "categorical_hinge hinge huber kl_divergence log_cosh mean_absolute_error mean_absolute_percentage_error "
            "mean_squared_error mean_squared_logarithmic_error poisson sparse_categorical_crossentropy squared_hinge",
            "the function of that name in dlcore.losses, or the name as a string in compile(metrics=[...])",
        ),
    ],
    "callbacks": [
        ("OrbaxCheckpoint", "callbacks.ModelCheckpoint"),
        ("RemoteMonitor TensorBoard", "callbacks.CSVLogger, or callbacks.LambdaCallback that sends what you want"),
        ("SwapEMAWeights", "use_ema of an optimizer, where it has it, or a callback that averages get_weights()"),
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
        ("PyDataset Sequence", "any object with __len__ and __getitem__ that gives batches: it needs no base class"),
        ("Config", "a dict"),
        (
            "array_to_img audio_dataset_from_directory get_file image_dataset_from_directory img_to_array load_img "
            "save_img text_dataset_from_directory",
            _FILES,
        ),
        ("clear_session", "nothing: there is no global state to clear"),
        (
            "deserialize_keras_object get_custom_objects get_registered_name get_registered_object "
            "register_keras_serializable serialize_keras_object",
            _SERIALIZATION,
        ),
        (
            "disable_interactive_logging enable_interactive_logging is_interactive_logging_enabled",
            "the argument verbose of fit, evaluate and predict",
        ),
        ("get_source_inputs", "model.inputs"),
        ("is_keras_tensor", "isinstance(x, dlcore.symbolic.SymbolicTensor)"),
        ("model_to_dot plot_model", "dlcore.plots.model"),
        ("normalize", "x / numpy.linalg.norm(x, axis=-1, keepdims=True)"),
        ("pack_x_y_sample_weight", "a tuple (x, y, sample_weight)"),
        ("pad_sequences", "numpy.pad, to the length of the longest sequence"),
        ("split_dataset", "sklearn.model_selection.train_test_split, or validation_split of fit"),
        ("standardize_dtype", "numpy.dtype(dtype).name"),
        ("timeseries_dataset_from_array", "numpy.lib.stride_tricks.sliding_window_view"),
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
    "models": [("save_model", "model.save(path)")],
    "random": [
        ("beta binomial categorical gamma randint shuffle truncated_normal", "numpy.random.default_rng"),
        ("dropout", "functional.dropout"),
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
