// llm.c's main.log, and loss.svg, its picture.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// llm.c's main.log: `s:20 tel:4.1234` for validation, `s:20 eval:0.2345` for its accuracy, and
/// `s:20 trl:4.2345 lr:0.000300 norm:1.23` for a step. Beside it, loss.svg.
package final class RunLog {
    private let path: String
    private let descriptor: Int32
    /// The file's length with whole lines only.
    private var size = 0
    /// Lines that could not be written yet: the disk was full, for one.
    private var waiting: [UInt8] = []
    private var chart = LossChart()
    private let chartPath: String

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
        descriptor = FileCalls.open(path, O_WRONLY | O_APPEND)
        guard descriptor >= 0 else { throw cannotWrite(path) }
        self.path = path
        size = kept.utf8.count
        chartPath = "\(folder(of: path))/loss.svg"
        for line in kept.split(separator: "\n") { plot(line) }
        if step == nil { unlink(chartPath) }
    }

    deinit { close(descriptor) }

    /// - Returns: what is wrong, when lines could not be written for the first time in a row; they are kept.
    package func validation(step: Int, loss: Double, accuracy: Double) -> UserError? {
        add(String(format: "s:%ld tel:%.4f\ns:%ld eval:%.4f\n", step, loss, step, accuracy))
    }

    package func training(step: Int, loss: Double, learningRate: Double, norm: Double) -> UserError? {
        add(String(format: "s:%ld trl:%.4f lr:%.6f norm:%.2f\n", step, loss, learningRate, norm))
    }

    /// Takes what a line says of a loss into the picture, as exactly as the line says it.
    private func plot(_ line: Substring) {
        let fields = line.split(separator: " ").map { $0.split(separator: ":") }
        guard fields.count > 1, fields[0].count == 2, fields[1].count == 2, let step = Int(fields[0][1]),
            let loss = Double(fields[1][1])
        else { return }
        switch fields[1][0] {
        case "tel": chart.validation.append((step, loss))
        case "trl": chart.training.append((step, loss))
        default: break
        }
    }

    /// Draws loss.svg. Only a picture: where it cannot be written, the log can be drawn again.
    package func draw() {
        guard let svg = chart.svg else { return }
        try? Data(svg.utf8).write(to: URL(fileURLWithPath: chartPath))
    }

    private func add(_ lines: String) -> UserError? {
        let wasWaiting = !waiting.isEmpty
        for line in lines.split(separator: "\n") { plot(line) }
        waiting += Array(lines.utf8)
        do {
            try writeWaiting()
            return nil
        } catch {
            return wasWaiting ? nil : error
        }
    }

    private func writeWaiting() throws(UserError) {
        var done = 0
        while done < waiting.count {
            let count = waiting.withUnsafeBytes {
                FileCalls.write(descriptor, UnsafeRawBufferPointer(rebasing: $0[done...]), path: path)
            }
            guard count > 0 else {
                let error = cannotWrite(path)
                // The next try begins with a whole line.
                _ = FileCalls.truncate(descriptor, to: size, path: path)
                throw error
            }
            done += count
        }
        size += waiting.count
        waiting = []
    }

    /// Waits until all lines are on the disk, as a checkpoint that follows them will be.
    package func synchronize() throws {
        try writeWaiting()
        guard FileCalls.synchronize(descriptor, path: path) == 0 else { throw cannotWrite(path) }
    }
}
