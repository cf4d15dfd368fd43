// test_gpt2 checks the model against PyTorch: the same weights, the same batch, and what PyTorch computed. First the
// logits, the loss and every gradient; then ten steps of AdamW, and the loss before each. It exits with 1 if anything
// differs.
// The files are llm.c's (its test_gpt2.c writes no others); dev/reference/gpt2_fixtures.py makes small ones.

import Foundation
import LLM

/// The losses of ten steps from OpenAI's 124M weights on llm.c's published debug state.
let losses124M = [
    5.270007, 4.059707, 3.375123, 2.800783, 2.315382, 1.849029, 1.394656, 0.999147, 0.624080, 0.376511,
]

@main
enum Main {
    static func main() {
        runReportingErrors {
            // The two files stand without a name, as in llm.c.
            var arguments = try commandLineArguments()
            let paths = Array(arguments.prefix { !$0.hasPrefix("-") })
            arguments.removeFirst(paths.count)
            let options = try Options(
                program: "test_gpt2 [CHECKPOINT STATE]",
                about: "compares forward pass, gradients and ten AdamW steps with a PyTorch reference",
                table: [
                    Option(
                        "expected-losses", nil, .text, "FILE",
                        "ten losses, one a line (default: the known ones of OpenAI's 124M, or CHECKPOINT's _losses.txt)"
                    ),
                    Option("threads", nil, .integer(1...1024), "N", "how many threads to use (default: all cores)"),
                ], arguments: arguments)
            if options.isGiven("threads") { useThreads(options.int("threads")) }

            var failures = 0
            switch paths.count {
            case 2:
                failures = try test(checkpoint: paths[0], state: paths[1], lossesFile: options.text("expected-losses"))
            case 0 where fileExists("gpt2_124M.bin") && fileExists("gpt2_124M_debug_state.bin"):
                failures = try test(
                    checkpoint: "gpt2_124M.bin", state: "gpt2_124M_debug_state.bin",
                    lossesFile: options.text("expected-losses"))
            case 0:
                let fixtures = LLM.paths(matching: "Tests/LLMTests/Fixtures/gpt2_*_debug_state.bin")
                guard !fixtures.isEmpty else {
                    throw UserError(
                        "no gpt2_124M.bin here and no fixtures in Tests/LLMTests/Fixtures",
                        hint: "run it in the project's folder, or: test_gpt2 CHECKPOINT STATE --expected-losses FILE")
                }
                for state in fixtures {
                    failures += try test(
                        checkpoint: state.replacingOccurrences(of: "_debug_state.bin", with: ".bin"), state: state,
                        lossesFile: nil)
                }
            default:
                throw UserError(
                    "a checkpoint and its debug state are needed, not \(paths.count) files",
                    hint: "test_gpt2 CHECKPOINT STATE [--expected-losses FILE]",
                    exitCode: 2)
            }
            print(failures == 0 ? "overall okay: 1" : "overall okay: 0 (\(failures) comparisons failed)")
            if failures > 0 { exit(1) }
        }
    }

    /// Prints every comparison; returns how many failed.
    static func test(checkpoint: String, state statePath: String, lossesFile: String?) throws -> Int {
        let model = try readGPT2(checkpoint, trains: true)
        let state = try DebugState(statePath, config: model.config)
        let c = model.config
        print(
            "\(checkpoint): V \(c.V) (padded \(c.Vp)), maxT \(c.maxT), L \(c.L), NH \(c.NH), C \(c.C); "
                + "B \(state.B), T \(state.T)")
        let expected = try expectedLosses(lossesFile, checkpoint: checkpoint, config: c)
        return ReferenceCheck.run(model, state, losses: expected)
    }

    static func expectedLosses(_ file: String?, checkpoint: String, config: GPT2Configuration) throws -> [Double] {
        let beside = (checkpoint.hasSuffix(".bin") ? String(checkpoint.dropLast(4)) : checkpoint) + "_losses.txt"
        guard let path = file ?? (fileExists(beside) ? beside : nil) else {
            if config == GPT2Configuration(maxT: 1024, V: 50257, L: 12, NH: 12, C: 768) { return losses124M }
            throw UserError(
                "which ten losses to expect of \(checkpoint) is not known",
                hint: "write them into a file, one a line, and give it by --expected-losses FILE")
        }
        let input = try InputFile(path, hint: "give ten losses, one a line")
        let text = String(decoding: try input.read(min(input.size, 1 << 16), of: UInt8.self, at: 0), as: UTF8.self)
        let losses = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard losses.count == 10 else {
            throw UserError("\(path) holds \(losses.count) numbers, not ten losses", hint: "write ten, one a line")
        }
        return losses
    }
}
