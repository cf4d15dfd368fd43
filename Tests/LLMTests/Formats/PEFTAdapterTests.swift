// Adapters that peft wrote give the logits that peft computes; what is written here is read back; and whatever is not
// computed, or does not fit the model, is refused.

import Foundation
import LLM
import Testing

// MARK: - what peft wrote

@Test(arguments: AdapterFixture.all) func `an adapter of peft's gives peft's logits`(fixture: AdapterFixture) throws {
    let (model, adapter) = try fixture.read()
    let before = try fixture.logits(model).map(\.bitPattern)
    model.parameters.put(adapter)
    let expected = try fixture.expected()
    #expect(relativeError(try fixture.logits(model), expected) < 1e-5)
    model.parameters.put(nil)
    #expect(try fixture.logits(model).map(\.bitPattern) == before, "taken off")
    adapter.merge(into: model.parameters)
    #expect(relativeError(try fixture.logits(model), expected) < 1e-5, "merged")
}

@Test(arguments: ["gpt2", "phi"]) func `adapters are put on in turn`(kind: String) throws {
    let fixtures = AdapterFixture.all.filter { $0.kind == kind && !$0.tag.hasPrefix("grown") }
    let (model, adapters) = try readModel(fixtures[0].base(), adapters: fixtures.map { try $0.open() })
    let before = try fixtures[0].logits(model)
    for (fixture, adapter) in [Array(zip(fixtures, adapters)), zip(fixtures, adapters).reversed()].joined() {
        model.parameters.put(adapter)
        #expect(relativeError(try fixture.logits(model), try fixture.expected()) < 1e-5, "\(fixture.testDescription)")
    }
    model.parameters.put(nil)
    #expect(try fixtures[0].logits(model) == before)
}

@Test func `the vocabulary grows with an adapter's new words only`() throws {
    for (kind, V, grown) in [("gpt2", 61, 63), ("phi", 40, 42)] {
        for fixture in AdapterFixture.all where fixture.kind == kind {
            let expected = fixture.tag.hasPrefix("grown") ? grown : V
            #expect(try fixture.open().vocabulary(of: V) == expected, "\(fixture.testDescription)")
        }
        // A model that has more of them already needs none.
        #expect(try AdapterFixture(kind, "grown_rows").open().vocabulary(of: V + 1) == grown)
        #expect(try AdapterFixture(kind, "grown_rows").open().vocabulary(of: 100) == 100)
    }
}

// MARK: - what we write

@Test(arguments: AdapterFixture.writable)
func `an adapter that is written is read back as the same bytes`(fixture: AdapterFixture) throws {
    try withTemporaryDirectory { folder in
        // dev/reference/peft_check.py loads what lies there.
        let kept = ProcessInfo.processInfo.environment["LLM_TEST_PEFT_DIR"] ?? folder
        let (first, second) = ("\(kept)/\(fixture.kind)/\(fixture.tag)", "\(folder)/again")
        let fingerprint = try readModel(fixture.base()).parameters.fingerprint
        let (model, adapter) = try fixture.read()
        model.parameters.put(adapter)
        try write(adapter, on: model, to: first, base: try fixture.base(), fingerprint: fingerprint)
        let (again, adapters) = try readModel(fixture.base(), adapters: [PEFTAdapter(first)])
        again.parameters.put(adapters[0])
        #expect(relativeError(try fixture.logits(again), try fixture.expected()) < 1e-5)
        try write(adapters[0], on: again, to: second, base: try fixture.base(), fingerprint: fingerprint)
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            #expect(try bytes("\(first)/\(name)") == bytes("\(second)/\(name)"), "\(name)")
        }
    }
}

@Test func `settings that only we have are written so that peft can read them`() throws {
    try withTemporaryDirectory { folder in
        let fixture = AdapterFixture("gpt2", "default")
        let model = try readModel(fixture.base())
        var configuration = LoRAConfiguration()
        (configuration.layers, configuration.dropout) = ([1], 0.05)
        let adapter = try Adapter(configuration, on: model.config)
        try write(adapter, on: model, to: folder)
        let text = try String(contentsOfFile: "\(folder)/adapter_config.json", encoding: .utf8)
        #expect(text.contains("\"transformer.h.1.mlp.c_fc\"") && text.contains("0.05") && !text.contains("all-linear"))
        let read = try PEFTAdapter(folder)
        #expect(read.basePath == "base" && read.configuration.dropout == 0.05)
        #expect(try read.read(on: model).products.map(\.module.name) == adapter.products.map(\.module.name))
    }
}

@Test func `an adapter of another model is taken, and a damaged one is not`() throws {
    try withTemporaryDirectory { folder in
        let fixture = AdapterFixture("gpt2", "default")
        let (model, adapter) = try fixture.read()
        try write(adapter, on: model, to: folder)
        // A note, which tests cannot see, says so; Programs/AdapterTests.swift does.
        _ = try PEFTAdapter(folder).read(on: model, fingerprint: model.parameters.fingerprint ^ 1)
        let path = "\(folder)/adapter_model.safetensors"
        let whole = try bytes(path)
        var damaged = whole
        damaged[whole.count - 5] ^= 1
        try write(damaged, to: path)
        expectMessage(["adapter_model.safetensors is damaged"]) { _ = try PEFTAdapter(folder).read(on: model) }
        for count in [0, 7, 100, whole.count - 1] {
            try write(Array(whole[..<count]), to: path)
            expectMessage(["adapter_model.safetensors"]) { _ = try PEFTAdapter(folder).read(on: model) }
        }
    }
}

// MARK: - settings that are refused

/// Expects that an adapter, once changed, is refused with these words.
private func expectRefusal(
    of fixture: AdapterFixture = AdapterFixture("gpt2", "default"), _ words: String...,
    sourceLocation: SourceLocation = #_sourceLocation, change: (String) throws -> Void
) throws {
    try withCopy(of: fixture) { directory in
        try change(directory)
        expectMessage([directory] + words, sourceLocation: sourceLocation) {
            _ = try readModel(fixture.base(), adapters: [PEFTAdapter(directory)])
        }
    }
}

@Test(arguments: [
    ("use_dora", "true"), ("lora_bias", "true"), ("layer_replication", "[[0, 1]]"),
    ("alora_invocation_tokens", "[1, 2]"), ("target_parameters", "[\"x\"]"), ("use_qalora", "true"),
    ("use_bdlora", "{\"nblocks\": 2}"), ("arrow_config", "{\"top_k\": 3}"), ("corda_config", "{\"rho\": 2}"),
    ("kasa_config", "{\"beta\": 1}"), ("lora_ga_config", "{\"scale\": 1}"), ("monteclora_config", "{\"x\": 1}"),
    ("velora_config", "{\"x\": 1}"), ("megatron_config", "{\"x\": 1}"), ("loftq_config", "{\"loftq_bits\": 4}"),
    ("a_setting_of_the_future", "1"), ("init_lora_weights", "\"pissa\""), ("init_lora_weights", "\"olora\""),
    ("init_lora_weights", "\"pissa_niter_16\""), ("init_lora_weights", "\"loftq\""), ("init_lora_weights", "1"),
    ("peft_type", "\"IA3\""), ("peft_type", "\"ADALORA\""), ("peft_type", "null"), ("peft_type", "7"),
    ("task_type", "\"SEQ_CLS\""), ("bias", "\"some\""), ("bias", "true"), ("use_rslora", "\"yes\""),
    ("r", "0"), ("r", "-1"), ("r", "2.5"), ("r", "\"2\""), ("r", "1e300"), ("lora_alpha", "\"x\""),
    ("lora_alpha", "-1"), ("lora_alpha", "1e30"), ("lora_dropout", "1"), ("lora_dropout", "-0.1"),
    ("target_modules", "7"), ("target_modules", "[7]"), ("target_modules", "\"(c_attn\""),
    ("target_modules", "\"c_attn(?<=x)\""), ("exclude_modules", "\"*\""), ("exclude_modules", "{}"),
    ("modules_to_save", "[1]"), ("modules_to_save", "[\"(\"]"), ("layers_to_transform", "\"1\""),
    ("layers_to_transform", "[1, \"2\"]"), ("layers_pattern", "[\"[\"]"), ("rank_pattern", "[1]"),
    ("rank_pattern", "{\"c_attn\": 0}"), ("rank_pattern", "{\"c_attn\": \"1\"}"), ("rank_pattern", "{\"c_(\": 1}"),
    ("alpha_pattern", "{\"c_attn\": \"1\"}"), ("alpha_pattern", "{\"c_attn\": -1}"),
    ("trainable_token_indices", "{\"wte\": [1, 1]}"), ("trainable_token_indices", "[-1]"),
    ("trainable_token_indices", "\"wte\""), ("trainable_token_indices", "{\"wte\": 3}"),
    ("trainable_token_indices", "[1.5]"), ("trainable_token_indices", "[99999999999]"),
])
func `a setting that is not computed is named`(name: String, value: String) throws {
    try expectRefusal("adapter_config.json", name) { directory in
        let json = try JSONSerialization.jsonObject(with: Data(value.utf8), options: .fragmentsAllowed)
        try set(name, to: json, in: directory)
    }
}

@Test func `settings that say nothing are passed over, and defaults are peft's`() throws {
    let fixture = AdapterFixture("gpt2", "default")
    try withCopy(of: fixture) { directory in
        for name in ["use_dora", "loftq_config", "target_modules", "bias", "task_type", "init_lora_weights"] {
            try set(name, to: nil, in: directory)
        }
        for (name, value) in [
            ("a_setting_of_the_future", false), ("another", [String: Int]()), ("layers_to_transform", [Int]()),
            ("init_lora_weights", "gaussian"), ("revision", "main"), ("lora_alpha", 3.0),
        ] as [(String, Any)] {
            try set(name, to: value, in: directory)
        }
        let (model, adapters) = try readModel(fixture.base(), adapters: [PEFTAdapter(directory)])
        model.parameters.put(adapters[0])
        #expect(relativeError(try fixture.logits(model), try fixture.expected()) < 1e-5)
    }
}

@Test func `peft has no layers_to_transform beside an expression`() throws {
    try expectRefusal(of: AdapterFixture("gpt2", "regex"), "layers_to_transform") {
        try set("layers_to_transform", to: [1], in: $0)
    }
    try expectRefusal(of: AdapterFixture("gpt2", "regex"), "layers_pattern") {
        try set("layers_pattern", to: ["h"], in: $0)
    }
}

@Test func `files that are not there`() throws {
    try expectRefusal("adapter_config.json") {
        try FileManager.default.removeItem(atPath: "\($0)/adapter_config.json")
    }
    try expectRefusal("adapter_model.safetensors") {
        try FileManager.default.removeItem(atPath: "\($0)/adapter_model.safetensors")
    }
    try expectRefusal("adapter_model.bin", "pickle") {
        try FileManager.default.moveItem(
            atPath: "\($0)/adapter_model.safetensors", toPath: "\($0)/adapter_model.bin")
    }
    try expectRefusal("adapter_config.json") { try write(Array("[]".utf8), to: "\($0)/adapter_config.json") }
    try expectRefusal("adapter_config.json") { try write(Array("{".utf8), to: "\($0)/adapter_config.json") }
}

// MARK: - tensors that do not fit

private let attention = "base_model.model.transformer.h.1.attn.c_attn"

@Test func `a tensor that is missing, left over, of another shape or no number is named`() throws {
    for end in [".lora_A.weight", ".lora_B.weight"] {
        try expectRefusal(attention + end, "missing") { try changeTensors(of: $0) { $0[attention + end] = nil } }
        try expectRefusal(attention + end, "NaN") {
            try changeTensors(of: $0) { $0[attention + end]?.values[3] = .nan }
        }
        try expectRefusal(attention + end, "infinite") {
            try changeTensors(of: $0) { $0[attention + end]?.values[3] = -.infinity }
        }
    }
    for name in [
        "base_model.model.transformer.h.2.attn.c_attn.lora_A.weight", "transformer.h.1.attn.c_attn.lora_A.weight",
        "base_model.model.transformer.h.1.ln_3.weight", attention + ".lora_B.bias",
    ] {
        try expectRefusal(name, "no part") { try changeTensors(of: $0) { $0[name] = ([1], [0]) } }
    }
    try expectRefusal("lora_magnitude_vector", "DoRA") {
        try changeTensors(of: $0) { $0[attention + ".lora_magnitude_vector"] = ([72], Array(repeating: 1, count: 72)) }
    }
    try expectRefusal("lora_embedding_A", "embeddings") {
        try changeTensors(of: $0) { $0["base_model.model.transformer.wte.lora_embedding_A"] = ([1], [0]) }
    }
    // The rank in the settings is not the tensors'.
    try expectRefusal("lora_A.weight", "[2, 24]", "[3, 24]") { try set("r", to: 3, in: $0) }
    try expectRefusal("lora_A.weight", "[2, 24]", "[1, 24]") {
        try set("rank_pattern", to: ["h.1.attn.c_attn": 1], in: $0)
    }
    try expectRefusal("rank 25", "72 · 24") { try set("r", to: 25, in: $0) }
    try expectRefusal("no linear layer is a target") { try set("target_modules", to: ["c_nothing"], in: $0) }
}

@Test func `an adapter of another kind or size of model is refused, and names its model`() throws {
    func expect(_ fixture: AdapterFixture, on model: any LanguageModel, _ words: String...) throws {
        let adapter = try fixture.open()
        expectMessage(words, fixture.testDescription) { _ = try adapter.read(on: model) }
        do { _ = try adapter.read(on: model) } catch let error as UserError {
            #expect(error.hint.contains(adapter.basePath ?? "-"))
        }
    }
    func gpt2(L: Int, C: Int = 24) -> GPT2 {
        GPT2(GPT2Configuration(maxT: 16, V: 61, L: L, NH: 3, C: C), trains: false)
    }
    for tag in ["default", "all_linear"] {
        try expect(AdapterFixture("gpt2", tag), on: gpt2(L: 1), "transformer.h.1", "no part")
        try expect(AdapterFixture("gpt2", tag), on: gpt2(L: 2, C: 48), "c_attn.lora_A.weight is [2, 24]", "[2, 48]")
    }
    // Where layers are named in full, as peft writes out all-linear, these are all there.
    try expect(AdapterFixture("gpt2", "default"), on: gpt2(L: 3), "transformer.h.2", "missing")
    _ = try AdapterFixture("gpt2", "all_linear").open().read(on: gpt2(L: 3))
    let (phi, _) = try AdapterFixture("phi", "default").read()
    try expect(AdapterFixture("gpt2", "default"), on: phi, "no linear layer is a target")
    try expect(AdapterFixture("gpt2", "saved"), on: phi, "no linear layer is a target")
    try expect(AdapterFixture("phi", "default"), on: gpt2(L: 2), "no linear layer is a target")
    // Both are all linear layers; the names are not the same.
    let all = AdapterFixture("gpt2", "all_linear")
    try withCopy(of: all) { directory in
        try set("target_modules", to: "all-linear", in: directory)
        expectMessage(["model.layers.0.self_attn.q_proj.lora_A.weight is missing"]) {
            _ = try PEFTAdapter(directory).read(on: phi)
        }
    }
}

@Test func `whole tensors that the settings promise must be there`() throws {
    let saved = AdapterFixture("gpt2", "saved")
    for name in ["ln_f.bias", "h.0.ln_1.weight", "h.1.mlp.c_fc.weight"].map({ "base_model.model.transformer.\($0)" }) {
        try expectRefusal(of: saved, name, "missing") { try changeTensors(of: $0) { $0[name] = nil } }
    }
    try expectRefusal(of: saved, "modules_to_save names score") {
        try set("modules_to_save", to: ["ln_f", "h.0.ln_1", "h.1.mlp", "score"], in: $0)
    }
    for (tag, name) in [("bias_lora", "attn.c_attn.base_layer.bias"), ("bias_all", "ln_2.bias")] {
        let name = "base_model.model.transformer.h.1.\(name)"
        try expectRefusal(of: AdapterFixture("gpt2", tag), "transformer.h.1", "bias", "missing") {
            try changeTensors(of: $0) { try #require($0.removeValue(forKey: name) != nil) }
        }
    }
}

// MARK: - words

private let rows = "base_model.model.transformer.wte.token_adapter.trainable_tokens_delta"

@Test func `rows of words that cannot be there`() throws {
    let grown = AdapterFixture("gpt2", "grown_rows")
    try expectRefusal(of: grown, rows, "missing") { try changeTensors(of: $0) { $0[rows] = nil } }
    try expectRefusal(of: grown, "token 62", "61") {
        try set("trainable_token_indices", to: ["wte": [62, 60]], in: $0)
    }
    try expectRefusal(of: grown, "token 16000000") {
        try set("trainable_token_indices", to: ["wte": [61, 16_000_000]], in: $0)
    }
    try expectRefusal(of: grown, rows, "[2, 24]", "[1, 24]") {
        try set("trainable_token_indices", to: ["wte": [61]], in: $0)
    }
    try expectRefusal(of: grown, "trainable_token_indices names wpe") {
        try set("trainable_token_indices", to: ["wte": [62, 61], "wpe": [1]], in: $0)
    }
    // Embeddings of fewer words than the model has.
    try expectRefusal(of: AdapterFixture("gpt2", "grown"), "transformer.wte.weight is [60, 24]", "[61, 24]") {
        try changeTensors(of: $0) { tensors in
            for name in ["transformer.wte", "lm_head"] {
                let values = Array(repeating: Float(0), count: 60 * 24)
                tensors["base_model.model.\(name).weight"] = ([60, 24], values)
            }
        }
    }
    _ = try readModel(grown.base(), adapters: [grown.open()])
}

@Test func `a GPT-2 with a classifier of its own is refused`() throws {
    let (wte, head) = ("base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight")
    for (wte, head) in [(wte, head), (head, wte)] {
        try expectRefusal(of: AdapterFixture("gpt2", "grown"), "wte", "lm_head", "one matrix") {
            try changeTensors(of: $0) { $0[head] = nil }
        }
        try expectRefusal(of: AdapterFixture("gpt2", "grown"), "wte", "lm_head", "one matrix") {
            try changeTensors(of: $0) { $0[wte]?.values[7] += 1 }
        }
    }
    // modules_to_save = ["wte"] has a copy of the embeddings alone.
    try expectRefusal("wte", "lm_head", "one matrix") {
        try set("modules_to_save", to: ["wte"], in: $0)
        try changeTensors(of: $0) { $0[wte] = ([61, 24], Array(repeating: 0, count: 61 * 24)) }
    }
    let tokens = AdapterFixture("gpt2", "tokens")
    let headRows = "base_model.model.lm_head.token_adapter.trainable_tokens_delta"
    try expectRefusal(of: tokens, "wte", "lm_head", "one matrix") {
        try changeTensors(of: $0) { $0[headRows] = ([2, 24], Array(repeating: 0, count: 48)) }
    }
    try expectRefusal(of: tokens, "wte", "lm_head", "one matrix") {
        try set("trainable_token_indices", to: ["wte": [60, 3], "lm_head": [60, 4]], in: $0)
    }
    // The same rows for both are what it is.
    try withCopy(of: tokens) { directory in
        try set("trainable_token_indices", to: ["wte": [60, 3], "lm_head": [60, 3]], in: directory)
        _ = try readModel(tokens.base(), adapters: [PEFTAdapter(directory)])
    }
}
