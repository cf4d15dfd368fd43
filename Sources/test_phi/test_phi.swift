// test_phi checks the Phi against transformers' PhiForCausalLM: the same weights, the same batch, and what PyTorch
// computed. First the logits, the loss and every gradient; then ten steps of AdamW, and the loss before each. It exits
// with 1 if anything differs. dev/reference/phi_fixtures.py writes such references.

import Foundation
import LLM

@main
enum Main {
    static func main() {
        runReportingErrors {
            // The two paths stand without a name, as for test_gpt2.
            var arguments = try commandLineArguments()
            var paths = Array(arguments.prefix { !$0.hasPrefix("-") })
            arguments.removeFirst(paths.count)
            let options = try Options(
                program: "test_phi [DIR REFERENCE.safetensors]",
                about: "compares a Phi's forward pass, gradients and ten AdamW steps with a PyTorch reference",
                table: [
                    Option("threads", nil, .integer(1...1024), "N", "how many threads to use (default: all cores)")
                ], arguments: arguments)
            if options.isGiven("threads") { useThreads(options.int("threads")) }
            paths = try ReferenceCheck.paths(paths, of: "phi")

            var failures = 0
            for i in stride(from: 0, to: paths.count, by: 2) { failures += try test(paths[i], reference: paths[i + 1]) }
            print(failures == 0 ? "overall okay: 1" : "overall okay: 0 (\(failures) comparisons failed)")
            if failures > 0 { exit(1) }
        }
    }

    /// Prints every comparison; returns how many failed.
    static func test(_ path: String, reference: String) throws -> Int {
        let model = try readPhi(path, trains: true)
        let state = try DebugState(safetensors: reference, config: model.config)
        let c = model.config
        print(
            "\(path): V \(c.V), L \(c.L), NH \(c.NH), C \(c.C), FC \(c.FC), \(c.R) of \(c.C / c.NH) turn; "
                + "B \(state.B), T \(state.T)")
        return ReferenceCheck.run(model, state, losses: state.losses)
    }
}
