// llm.c's main.log: what a run's curves are drawn from.

import Foundation

/// llm.c's main.log: `s:20 tel:4.1234` for validation, `s:20 eval:0.2345` for its accuracy, and
/// `s:20 trl:4.2345 lr:0.000300 norm:1.23` for a step.
package struct RunLog {
    private let file: FileHandle

    /// - Parameter step: nil starts an empty log. Otherwise the lines of an earlier run up to that step are kept; what
    ///   it wrote after its last checkpoint will be written again.
    package init(path: String, resumingAt step: Int?) throws {
        var kept = ""
        if let step, fileExists(path) {
            let input = try InputFile(path, hint: "check the folder's rights")
            let text = String(decoding: try input.read(input.size, of: UInt8.self, at: 0), as: UTF8.self)
            for line in text.split(separator: "\n") where line.hasPrefix("s:") {
                if let at = Int(line.dropFirst(2).prefix { $0.isNumber }), at < step { kept += line + "\n" }
            }
        }
        try writeDurably(path) { try $0.write(kept) }
        guard let file = FileHandle(forWritingAtPath: path) else {
            throw UserError("cannot write \(path)", hint: "choose another --output")
        }
        try file.seekToEnd()
        self.file = file
    }

    package func validation(step: Int, loss: Double, accuracy: Double) throws {
        try write(String(format: "s:%ld tel:%.4f\ns:%ld eval:%.4f\n", step, loss, step, accuracy))
    }

    package func training(step: Int, loss: Double, learningRate: Double, norm: Double) throws {
        try write(String(format: "s:%ld trl:%.4f lr:%.6f norm:%.2f\n", step, loss, learningRate, norm))
    }

    private func write(_ text: String) throws { try file.write(contentsOf: Data(text.utf8)) }
}
