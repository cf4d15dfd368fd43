// The option --weights, the same for every program that generates.

extension WeightFormat {
    /// The row of the table of options.
    package static let option = Option(
        "weights", nil, .choice(allCases.map(\.rawValue)), default: nil,
        "the format in which a step reads the weights, rounded while they are loaded: a step for one text takes as long as the"
            + " bytes it reads, half as many in bfloat16 and a quarter in int8 (default: float32; int8 where the model is)"
    )

    /// What the command line says, or else the model's files.
    package init(_ options: Options, model path: String) throws {
        self = try options.text("weights").flatMap(WeightFormat.init) ?? weightFormat(ofModel: path)
    }
}
