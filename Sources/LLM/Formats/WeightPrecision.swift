// The precision of weights in files. In memory they are float32.

/// The type of the weights in a file, by its name in Hugging Face's config.json.
package enum WeightPrecision: String, CaseIterable {
    case float32, bfloat16

    var dtype: SafetensorsDType { self == .float32 ? .float32 : .bfloat16 }
}
