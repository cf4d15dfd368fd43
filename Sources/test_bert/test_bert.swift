// test_bert checks a BERT or DistilBERT against transformers: the same weights, the same batch with texts of different
// lengths, and what PyTorch computed. First the hidden states, the pooler's vectors, the logits, the loss and every
// gradient; then steps of AdamW, and the masked loss before each. It exits with 1 if anything differs.
// dev/reference/bert_fixtures.py writes such references, and dev/reference/bert_training.py one of fifty steps.

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
                program: "test_bert [DIR REFERENCE.safetensors]",
                about: "compares a BERT's forward pass, gradients and AdamW steps with a PyTorch reference",
                table: [
                    Option(
                        "loss-tolerance", nil, .number(1e-9...1), "X",
                        "the difference allowed for losses (default: 1e-4)"
                    ),
                    Option("threads", nil, .integer(1...1024), "N", "how many threads to use (default: all cores)"),
                ], arguments: arguments)
            if options.isGiven("threads") { useThreads(options.int("threads")) }
            paths = try ReferenceCheck.paths(paths, of: "bert")
            let tolerance =
                options.isGiven("loss-tolerance") ? options.double("loss-tolerance") : ReferenceCheck.tolerance

            var failures = 0
            for i in stride(from: 0, to: paths.count, by: 2) {
                failures += try test(paths[i], reference: paths[i + 1], lossTolerance: tolerance)
            }
            print(failures == 0 ? "overall okay: 1" : "overall okay: 0 (\(failures) comparisons failed)")
            if failures > 0 { exit(1) }
        }
    }

    /// Prints every comparison; returns how many failed.
    static func test(_ path: String, reference: String, lossTolerance: Double) throws -> Int {
        let config = try readBERTConfiguration(path)
        let model = try readBERT(path, trains: config.hasHead)
        let expected = try MaskedReference(reference, config: config)
        let parts = (config.hasHead ? ", head" : "") + (config.hasPooler ? ", pooler" : "")
        print(
            "\(path): \(config.isDistilBERT ? "DistilBERT" : "BERT")\(parts); V \(config.V), L \(config.L), "
                + "NH \(config.NH), C \(config.C), FC \(config.FC); lengths \(expected.batches[0].lengths)")
        return ReferenceCheck.run(model, expected, lossTolerance: lossTolerance)
    }
}
