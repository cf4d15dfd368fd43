// A directory of checkpoints, in one of two layouts.
//
//     llm.c's, for a model that is one file            Hugging Face's, for a model that is a directory
//     model_00001000.bin        the parameters         checkpoint-1000/   config.json, model.safetensors, tokenizer.json, …
//     state_00001000_00000.bin  the state              checkpoint-1000/state.bin
//     DONE_00001000             empty: model and state are complete
//     model_best.bin            the best validated     best/
//
// An adapter's checkpoint is a directory, too, with adapter_config.json and adapter_model.safetensors.
//
// The state is AdamW's moments, the random numbers, the place in the data (StateFile.swift).
//
// A checkpoint's files come together and go together: files by a journal (DurableFiles.swift), a directory because it is
// made under a temporary name and renamed when it is whole. So a run that is killed at any moment leaves its last
// complete checkpoint, and no part of another. Model and state have checksums: one that was damaged since is noticed,
// and the one before it taken.

import Foundation

/// A directory of checkpoints, as llm.c's `-o`.
package struct CheckpointDirectory {
    package enum Layout: CaseIterable {
        /// llm.c's.
        case files
        /// Hugging Face's.
        case directories

        /// What makes a checkpoint whole.
        var parts: String {
            switch self {
            case .files: "model, state and DONE, which is empty"
            case .directories: "config.json, model.safetensors and state.bin (an adapter's begin with adapter_)"
            }
        }
    }

    /// Writes a model in its own format at a path, which is a file's or a directory's, as files of a set.
    package typealias ModelWriter = (_ path: String, _ files: DurableFiles) throws -> Void

    package let path: String
    package let layout: Layout
    /// The right to write to it.
    private var lock: FolderLock?

    package init(_ path: String, _ layout: Layout = .files) { (self.path, self.layout) = (path, layout) }

    package func modelPath(_ step: Int) -> String {
        layout == .files ? "\(path)/model_\(padded(step, 8)).bin" : "\(path)/checkpoint-\(step)"
    }
    package func statePath(_ step: Int) -> String {
        layout == .files
            ? "\(path)/state_\(padded(step, 8))_\(padded(0, 5)).bin" : "\(modelPath(step))/state.bin"
    }
    /// Of llm.c's layout.
    package func donePath(_ step: Int) -> String { "\(path)/DONE_\(padded(step, 8))" }
    /// The parameters that did best on the validation data.
    package var bestPath: String { layout == .files ? "\(path)/model_best.bin" : "\(path)/best" }
    package var hasBest: Bool {
        layout == .files
            ? fileExists(bestPath) : isHuggingFaceDirectory(bestPath) || PEFTAdapter.isAdapter(bestPath)
    }

    private func padded(_ number: Int, _ digits: Int) -> String { String(format: "%0\(digits)d", number) }

    /// The steps of all whole checkpoints, ascending.
    package func steps() -> [Int] {
        names(in: path).compactMap { name in
            switch layout {
            case .files:
                guard name.hasPrefix("DONE_"), let step = Int(name.dropFirst("DONE_".count)) else { return nil }
                return fileExists(modelPath(step)) && fileExists(statePath(step)) ? step : nil
            case .directories:
                guard let step = stepNumber(of: name) else { return nil }
                func has(_ parts: String...) -> Bool { parts.allSatisfy { fileExists("\(modelPath(step))/\($0)") } }
                let isWhole =
                    has("config.json", "model.safetensors", "state.bin")
                    || has("adapter_config.json", "adapter_model.safetensors", "state.bin")
                return isWhole ? step : nil
            }
        }.sorted()
    }

    /// The names of all files (or directories) of a run, whole or not, but its log.
    package func files() -> [String] {
        names(in: path).filter { name in
            switch layout {
            case .files: name.wholeMatch(of: /model_(\d{8}|best)\.bin|state_\d{8}_\d{5}\.bin|DONE_\d{8}/) != nil
            case .directories: (stepNumber(of: name) != nil || name == "best") && isDirectory("\(path)/\(name)")
            }
        }
    }

    /// The step in a file's name; nil for the best model, and for other files.
    private func stepNumber(of name: String) -> Int? {
        layout == .files
            ? name.firstMatch(of: /_(\d{8})/).flatMap { Int($0.1) }
            : name.wholeMatch(of: /checkpoint-(0|[1-9]\d{0,9})/).flatMap { Int($0.1) }
    }

    // MARK: - one writer

    /// The directory, made if it is not there, for this process alone to write to, without what a killed run was
    /// writing when it died.
    /// - Throws: if another process is writing to it.
    package func locked() throws -> CheckpointDirectory {
        try createDirectory(path)
        var locked = self
        locked.lock = try FolderLock(path)
        try finishInterruptedWrites(in: path)
        for name in names(in: path)
        where name.hasSuffix(".tmp")
            && ["model_", "state_", "DONE_", "main.log", ".journal"].contains(where: name.hasPrefix)
        {
            _ = FileCalls.remove("\(path)/\(name)")
        }
        guard layout == .directories else { return locked }
        try? removeTemporary()
        guard isDirectory(bestPath) else { return locked }
        try finishInterruptedWrites(in: bestPath)
        for name in names(in: bestPath) where name.hasSuffix(".tmp") { _ = FileCalls.remove("\(bestPath)/\(name)") }
        _ = FileCalls.removeDirectory(bestPath)  // if nothing of it was written
        return locked
    }

    /// Refuses a folder that another kind of model is trained in, or by another program.
    package func refuseOthers() throws {
        for other in Layout.allCases where other != layout {
            guard let step = CheckpointDirectory(path, other).steps().last else { continue }
            throw UserError(
                "\(path) holds a run of another kind of model, up to step \(step)",
                hint: "continue it with the program that began it, or choose another --output")
        }
        // Its checkpoints have the same names.
        for name in files() where fileExists("\(path)/\(name)/trainer_state.json") {
            throw UserError(
                "\(path) holds a run of transformers' Trainer, such as \(name)", hint: "choose another --output")
        }
    }

    /// Writes a whole checkpoint.
    /// - Parameter writeModel: writes the parameters in the model's own format.
    package func write(_ parameters: Parameters, _ state: TrainingState, writeModel: ModelWriter) throws {
        let step = state.step
        let set = DurableFiles()
        switch layout {
        case .files:
            try writeModel(modelPath(step), set)
            try set.write(statePath(step)) { try StateFile.write(state, parameters, to: $0) }
            try set.write(donePath(step)) { _ in }
            try set.commit()
        case .directories:
            let (final, temporary) = (modelPath(step), modelPath(step) + temporarySuffix)
            guard !fileExists(final) || isDirectory(final) else {
                throw UserError(
                    "cannot write \(final): a file is in its place", hint: "move it, or choose another output")
            }
            try? removeTemporary()
            do {
                try removeTree(temporary)
                try createDirectory(temporary)
                try writeModel(temporary, set)
                try set.write("\(temporary)/state.bin") { try StateFile.write(state, parameters, to: $0) }
                try set.commit()
                // What has the name is damaged: a whole one would have been continued from.
                if isDirectory(final) { try renameAway(final, temporarySuffix + temporarySuffix) }
                guard FileCalls.rename(temporary, final) == 0 else { throw cannotWrite(final) }
            } catch {
                _ = FileCalls.removeTree(temporary)
                throw error
            }
            try synchronizeDirectory(path)
            try? removeTemporary()
        }
    }

    /// Writes the best model in place of the last one.
    package func writeBest(_ writeModel: ModelWriter) throws {
        let set = DurableFiles()
        try writeModel(bestPath, set)
        try set.commit()
        if layout == .directories { try synchronizeDirectory(path) }  // where it may be new
    }

    /// Removes checkpoints.
    package func remove(_ steps: [Int]) throws {
        switch layout {
        case .files:
            let set = DurableFiles()
            set.remove(steps.flatMap { [donePath($0), statePath($0), modelPath($0)] })
            try set.commit()
        case .directories:
            // One that nobody may remove must not keep the others there.
            var refused: (any Error)?
            for step in steps {
                do { try renameAway(modelPath(step), temporarySuffix) } catch { refused = refused ?? error }
            }
            try removeTemporary()
            if let refused { throw refused }
        }
    }

    /// Removes an earlier run: all checkpoints, whole or not, and the best model.
    package func removeAll() throws {
        switch layout {
        case .files:
            let set = DurableFiles()
            set.remove(files().map { "\(path)/\($0)" })
            try set.commit()
        case .directories:
            let names = files()
            guard !names.isEmpty else { return }
            // What stands in a rename's way goes first: once the list is written, it must be possible to finish it.
            for name in names { try removeTree("\(path)/\(name)\(temporarySuffix)") }
            try Journal(renames: names.map { ($0, $0 + temporarySuffix) }, removals: []).carryOut(in: path)
            try? removeTemporary()
        }
    }

    // MARK: - directories that are not whole yet, or no longer

    private let temporarySuffix = ".tmp"

    /// Makes a directory one that `removeTemporary` removes.
    private func renameAway(_ path: String, _ suffix: String) throws {
        try removeTree(path + suffix)
        guard FileCalls.rename(path, path + suffix) == 0 || errno == ENOENT else { throw cannotRemove(path) }
        // No part of it may be gone before its name is.
        try synchronizeDirectory(self.path)
    }

    /// Removes what a run was writing or removing when it was killed or the disk failed.
    private func removeTemporary() throws {
        var refused: (any Error)?
        for name in names(in: path) where name.wholeMatch(of: /(checkpoint-\d+|best)(\.tmp)+/) != nil {
            do { try removeTree("\(path)/\(name)") } catch { refused = refused ?? error }
        }
        if let refused { throw refused }
    }

    private func removeTree(_ path: String) throws {
        guard FileCalls.removeTree(path) == 0 || errno == ENOENT else { throw cannotRemove(path) }
    }

    // MARK: - reading

    /// The newest checkpoint whose files are whole; nil if there is none. One that is damaged is left as it is, and a
    /// note says why.
    /// - Parameter readModel: makes the model of a file or directory, with room for moments.
    /// - Throws: if there are checkpoints, and all are damaged: what is wrong with the newest.
    package func newest<Model>(
        _ readModel: (_ path: String) throws -> Model
    ) throws -> (model: Model, state: TrainingState)? where Model: TrainableModel {
        var first: UserError?
        let whole = steps()
        for step in Set(files().compactMap { stepNumber(of: $0) }).sorted() where step > whole.last ?? .max {
            note("warning: the checkpoint of step \(step) can't be used: one of its three files is missing")
        }
        for step in whole.reversed() {
            do {
                let model = try readModel(modelPath(step))
                let state = try readState(step, into: model.parameters)
                if first != nil { note("note: continuing from step \(step), the newest checkpoint that is whole") }
                return (model, state)
            } catch let error as UserError {
                note("warning: the checkpoint of step \(step) can't be used: \(error.message)")
                first = first ?? error
            }
        }
        if let first {
            throw UserError(
                first.message, hint: "\(first.hint); -y 0 starts over, without what is in \(path)")
        }
        return nil
    }

    /// Fills the moments and gives the rest of the state. The parameters' values come from the model's file.
    package func readState(_ step: Int, into parameters: Parameters) throws -> TrainingState {
        try StateFile.read(statePath(step), step: step, into: parameters)
    }
}
