// What the tests of adapters share: those that peft wrote (dev/reference/peft_fixtures.py), and the models they are for.

import Foundation
import LLM
import Testing

/// An adapter that peft wrote.
struct AdapterFixture: CustomTestStringConvertible {
    /// The kind of model, and what is special about it.
    let kind, tag: String
    var testDescription: String { "\(kind)/\(tag)" }

    init(_ kind: String, _ tag: String) { (self.kind, self.tag) = (kind, tag) }

    static let all =
        [
            "default", "all_linear", "names", "regex", "patterns", "layers", "excluded", "saved", "bias_lora",
            "bias_all", "tokens", "grown", "grown_tokens", "grown_rows", "float16",
        ].map { AdapterFixture("gpt2", $0) }
        + [
            "default", "all_linear", "names", "regex", "saved", "head", "bias_lora", "bias_all", "tokens", "grown",
            "grown_rows",
        ].map { AdapterFixture("phi", $0) }

    /// Those with A, B and rows of tokens only, which is what is written here.
    static let writable = all.filter {
        !["saved", "bias_lora", "bias_all", "grown", "grown_tokens", "head"].contains($0.tag)
    }

    func path() throws -> String { try fixture("peft/\(kind)/\(tag)") }
    func base() throws -> String { try fixture(kind == "gpt2" ? "huggingface/float32" : "phi/full") }
    func open() throws -> PEFTAdapter { try PEFTAdapter(path()) }

    /// The model with room for the adapter, and the adapter.
    func read() throws -> (model: any LanguageModel, adapter: Adapter) {
        let (model, adapters) = try readModel(base(), adapters: [open()])
        return (model, try #require(adapters.first))
    }

    private func stored(_ name: String) throws -> [Float] {
        try SafetensorsFile(fixture("peft/logits.safetensors")).floats(name)
    }

    /// The logits of two texts of four tokens.
    func logits(_ model: any LanguageModel) throws -> [Float] {
        let inputs = try stored("inputs.\(kind)" + (tag.hasPrefix("grown") ? ".grown" : "")).map { Int32($0) }
        model.forward(inputs, B: 2, T: 4)
        return model.logits(B: 2, T: 4)
    }

    /// What peft computes.
    func expected() throws -> [Float] { try stored("\(kind).\(tag)") }
}

/// A copy of an adapter, for a test to change.
func withCopy(of adapter: AdapterFixture, _ body: (String) throws -> Void) throws {
    try withCopy(of: "peft/\(adapter.kind)/\(adapter.tag)", body)
}

/// Changes adapter_config.json; nil removes a setting.
func set(_ name: String, to value: Any?, in directory: String) throws {
    let url = URL(fileURLWithPath: "\(directory)/adapter_config.json")
    var settings = try #require(
        try JSONSerialization.jsonObject(with: try Data(contentsOf: url)) as? [String: Any])
    settings[name] = value
    try write(Array(try JSONSerialization.data(withJSONObject: settings)), to: url.path)
}

/// Changes adapter_model.safetensors.
func changeTensors(
    of directory: String, _ change: (inout [String: (shape: [Int], values: [Float])]) throws -> Void
) throws {
    let path = "\(directory)/adapter_model.safetensors"
    var tensors: [String: (shape: [Int], values: [Float])] = [:]
    do {
        let file = try SafetensorsFile(path)
        for (name, entry) in file.entries { tensors[name] = (entry.shape, try file.floats(name)) }
    }
    try change(&tensors)
    var entries: [String] = []
    var data: [UInt8] = []
    for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
        let end = data.count + 4 * tensor.values.count
        entries.append(
            "\"\(name)\":{\"dtype\":\"F32\",\"shape\":\(tensor.shape),\"data_offsets\":[\(data.count),\(end)]}")
        data += littleEndian(tensor.values)
    }
    try write(safetensors("{\(entries.joined(separator: ","))}", data), to: path)
}

/// Writes an adapter that is on a model.
/// - Parameter fingerprint: of the model's parameters as they are if nil.
func write(
    _ adapter: Adapter, on model: any LanguageModel, to directory: String, base: String = "base",
    fingerprint: UInt64? = nil
) throws {
    let set = DurableFiles()
    try PEFTAdapter.write(
        adapter, on: model, basePath: base, fingerprint: fingerprint ?? model.parameters.fingerprint, to: directory,
        in: set)
    try set.commit()
}
