// llm.c's directory of checkpoints.
//
//     model_00001000.bin          the parameters (LLMCModelFile.swift)
//     state_00001000_00000.bin    AdamW's moments, the random numbers, the place in the data (StateFile.swift)
//     DONE_00001000               empty; says that both are whole
//
// DONE is written last and removed first, so a run that is killed at any moment leaves its last complete checkpoint.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A directory of checkpoints, as llm.c's `-o`.
package struct CheckpointDirectory {
    package let path: String

    package init(_ path: String) { self.path = path }

    package func modelPath(_ step: Int) -> String { "\(path)/model_\(padded(step, 8)).bin" }
    package func statePath(_ step: Int) -> String { "\(path)/state_\(padded(step, 8))_\(padded(0, 5)).bin" }
    package func donePath(_ step: Int) -> String { "\(path)/DONE_\(padded(step, 8))" }
    /// The parameters that did best on the validation data.
    package var bestPath: String { "\(path)/model_best.bin" }

    private func padded(_ number: Int, _ digits: Int) -> String { String(format: "%0\(digits)d", number) }

    /// The steps of all whole checkpoints, ascending.
    package func steps() -> [Int] {
        names(in: path).compactMap { name in
            guard name.hasPrefix("DONE_"), let step = Int(name.dropFirst("DONE_".count)) else { return nil }
            return fileExists(modelPath(step)) && fileExists(statePath(step)) ? step : nil
        }.sorted()
    }

    /// Writes a whole checkpoint.
    /// - Parameter writeModel: writes the parameters in the model's own file format.
    package func write(
        _ parameters: Parameters, _ state: TrainingState, writeModel: (OutputFile) throws -> Void
    ) throws {
        let step = state.step
        if fileExists(donePath(step)) {
            // Another run's checkpoint of the same step: it stops being whole before it is touched.
            unlink(donePath(step))
            synchronizeDirectory(path)
        }
        try writeDurably([modelPath(step), statePath(step)]) { files in
            try writeModel(files[0])
            try StateFile.write(state, parameters, to: files[1])
        }
        try writeDurably(donePath(step)) { _ in }
    }

    package func remove(_ step: Int) {
        unlink(donePath(step))
        synchronizeDirectory(path)
        unlink(statePath(step))
        unlink(modelPath(step))
    }

    /// Removes what a killed run was writing when it died.
    package func removeLeftovers() {
        for name in names(in: path)
        where name.hasSuffix(".tmp") && ["model_", "state_", "DONE_", "main.log"].contains(where: name.hasPrefix) {
            unlink("\(path)/\(name)")
        }
    }

    /// Removes an earlier run: all checkpoints, whole or not, and the best model.
    package func removeAll() {
        for step in steps() { remove(step) }
        let ours = /model_(\d{8}|best)\.bin|state_\d{8}_\d{5}\.bin|DONE_\d{8}/
        for name in names(in: path) where name.wholeMatch(of: ours) != nil { unlink("\(path)/\(name)") }
    }

    /// Fills the moments and gives the rest of the state. The parameters' values come from `readModel`.
    package func readState(_ step: Int, into parameters: Parameters) throws -> TrainingState {
        try StateFile.read(statePath(step), step: step, into: parameters)
    }
}
