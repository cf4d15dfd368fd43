// The option --weights, the same for every program that generates.

extension WeightFormat {
    /// The row of the table of options.
    package static let option = Option(
        "weights", nil, .choice(allCases.map(\.rawValue)), default: "float32",
        "the format in which a step reads the weights, rounded when the program starts: a step for one text takes as long as"
            + " the bytes it reads, half as many in bfloat16 and a quarter in int8")

    /// What the command line says.
    package init(_ options: Options) {
        self = WeightFormat(rawValue: options.text("weights") ?? "") ?? .float32
    }
}
