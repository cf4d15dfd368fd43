// The option --weights, the same for every program that generates.

import Kernels

extension Precision {
    /// The row of the table of options.
    package static let weightsOption = Option(
        "weights", nil, .choice(allCases.map(\.rawValue)), default: "float32",
        "the format in which a step reads the weights: bfloat16 is half the bytes, so one text comes nearly twice as fast;"
            + " the copy takes half as much memory as the model again")

    /// What the command line says.
    package init(weights options: Options) {
        self = Precision(rawValue: options.text("weights") ?? "") ?? .float32
    }
}
