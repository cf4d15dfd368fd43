// Where a model may be written: what must not be overwritten, or would be read in its place.

import Foundation

/// A path without symbolic links, to compare.
package func realPath(_ path: String) -> String { URL(fileURLWithPath: path).resolvingSymlinksInPath().path }

/// Refuses to write over a part of a run.
package func refusePartOfRun(_ to: String) throws {
    let path = realPath(to)
    for layout in CheckpointDirectory.Layout.allCases {
        let run = CheckpointDirectory(folder(of: path), layout)
        guard run.files().contains(fileName(of: path)), let step = run.steps().last else { continue }
        throw UserError("\(to) is part of a run, up to step \(step)", hint: "choose another folder or name to write to")
    }
}

/// Refuses a folder with a different tokenizer, or with files of another model that programs would read instead.
package func checkModelFolder(_ directory: String, _ tokenizer: Tokenizer, isFile: Bool) throws {
    func refuse(_ what: String) -> UserError {
        UserError("\(directory): \(what)", hint: "remove it, or write the model into another folder")
    }
    if let path = Tokenizer.file(in: directory) {
        guard try Tokenizer(path: path).fingerprint() == tokenizer.fingerprint() else {
            throw refuse("\(path) is another tokenizer than the model's")
        }
    }
    guard !isFile else { return }
    for layout in CheckpointDirectory.Layout.allCases {
        if let step = CheckpointDirectory(directory, layout).steps().last {
            throw refuse("the checkpoints of a run are there, up to step \(step)")
        }
    }
    for name in ["model.safetensors.index.json", "pytorch_model.bin", "vocab.json", "merges.txt"]
    where fileExists("\(directory)/\(name)") {
        throw refuse("\(name) of another model is there, which some programs would read first")
    }
}

/// The chat template in the first of these directories that has one. One that cannot be read here is left out.
package func savedTemplate(in places: [String?]) -> ChatTemplate? {
    for case let place? in places where isDirectory(place) {
        do {
            if let template = try ChatTemplate.saved(in: place) { return template }
        } catch {
            note("note: the chat template is left out: \((error as? UserError)?.message ?? "")")
        }
    }
    return nil
}
