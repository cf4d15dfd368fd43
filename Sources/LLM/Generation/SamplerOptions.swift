// The sampler's settings on a command line, the same for every program that generates.

/// What a sampler is told on the command line.
extension Sampler {
    package static let options = [
        Option("greedy", "g", .flag, "[0|1]", "take the likeliest token each time, instead of drawing one"),
        Option(
            "temperature", "t", .number(0...1e6), "X", default: "1.0",
            "divides the logits: below 1 likely tokens become likelier, above 1 the others"),
        Option(
            "top-k", nil, .integer(0...Int.max), "N", default: "0", "draw from the N likeliest tokens only; 0 from all"),
        Option(
            "top-p", nil, .number(0...1), "X", default: "1.0",
            "draw from the likeliest tokens only, as few as have this probability together"),
        Option(
            "min-p", nil, .number(0...1), "X", default: "0.0",
            "draw only tokens at least this probable, times the largest probability"),
        Option(
            "repetition-penalty", nil, .number(0...1e6), "X", default: "1.0",
            "above 1, tokens that have occurred, in the prompt too, become less likely"),
    ]

    package init(_ options: Options) throws {
        guard options.double("temperature") > 0 else {
            throw UserError(
                "--temperature 0 would divide by zero", hint: "for the likeliest token each time write --greedy",
                exitCode: 2)
        }
        guard options.double("repetition-penalty") > 0 else {
            throw UserError(
                "--repetition-penalty 0 would divide by zero", hint: "1 is no penalty, 1.2 a mild and 2 a strong one",
                exitCode: 2)
        }
        if options.flag("greedy"),
            let option = ["temperature", "top-k", "top-p", "min-p"].first(where: { options.isGiven($0) })
        {
            note("note: with --greedy nothing is drawn, and --\(option) changes nothing")
        }
        /// A number too small for a float counts as the smallest one.
        func positive(_ name: String) -> Float { max(Float(options.double(name)), .leastNonzeroMagnitude) }
        self.init()
        isGreedy = options.flag("greedy")
        repetitionPenalty = positive("repetition-penalty")
        temperature = positive("temperature")
        topK = options.int("top-k")
        topP = Float(options.double("top-p"))
        minP = Float(options.double("min-p"))
    }
}
