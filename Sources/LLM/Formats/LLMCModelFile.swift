// llm.c's file for a model: 20240326, version 3 with float32 parameters, version 5 with bfloat16. Files are
// interchangeable with llm.c's. Little-endian; a header of 256 Int32, then the parameters in the table's order.
// The header is, by index: [0] magic, [1] version, [2] maxT, [3] V, [4] L, [5] NH, [6] C, [7] Vp. Our addition, where
// llm.c does not look and writes zeros: [8] the tokens of the tokenizer and u64 at [9] their hash, 0 if it is not known;
// u64 at [12] the checksum of the whole file, computed with this field zero, 0 if there is none.
//
// A model that computes something else than llm.c's (GPT2Configuration.variant) has 100 more as its version, 103 or 105,
// so that nobody takes it for a GPT-2, and from [16] on its variant's name: up to 64 bytes of ASCII, then zeros.

import Foundation

/// The reader and writer of llm.c's model file.
package enum LLMCModelFile {
    private static let headerBytes = 1024
    private static let magic: Int32 = 20_240_326
    private static let checksumIndex = 12
    /// What llm.c computes.
    private static let standardVariant = "gelu_new"
    private static let otherVariants: Int32 = 100
    /// Where another variant's name is.
    private static let variantBytes = 64..<128

    /// What is in a file's header.
    struct Header {
        fileprivate var numbers: [Int32]
        let config: GPT2Configuration
        let format: WeightFormat
        let tokenizer: TokenizerFingerprint?
    }

    /// A model from a file.
    /// - Parameters:
    ///   - trains: whether to make room for gradients and moments.
    ///   - format: what the linear layers' weights are kept in.
    static func read(_ file: InputFile, trains: Bool, weights format: WeightFormat) throws -> GPT2 {
        let header = try readHeader(file)
        try checkMemory(
            header.config.bytes(rows: 1, trains: trains, weights: format), hint: "take a smaller model")
        let model = GPT2(header.config, trains: trains)
        model.tokenizer = header.tokenizer
        if format != .float32 { model.parameters.pack(as: format) }
        var numbers = header.numbers
        let expected = numbers[u64: checksumIndex]
        numbers[u64: checksumIndex] = 0
        var checksum = Checksum()
        numbers.withUnsafeBytes { checksum.update($0) }
        for tensor in model.parameters.table.tensors {
            for l in 0..<tensor.layers {
                let place = tensor.offset + l * tensor.layerCount
                let values = model.parameters.values + place
                if header.format == .float32 {
                    try file.read(
                        into: UnsafeMutableRawBufferPointer(start: values, count: 4 * tensor.layerCount),
                        at: headerBytes + 4 * place, updating: &checksum)
                } else {
                    try read(tensor.layerCount, from: file, at: headerBytes + 2 * place, to: values, &checksum)
                }
                model.parameters.finishReading(tensor, layer: l)
            }
        }
        guard expected == 0 || expected == checksum.value else {
            throw UserError(
                "\(file.path) is damaged: its checksum does not fit its contents",
                hint: "copy it again, or take another checkpoint")
        }
        return model
    }

    /// Reads parameters in bfloat16.
    private static func read(
        _ count: Int, from file: InputFile, at offset: Int, to values: UnsafeMutablePointer<Float>,
        _ checksum: inout Checksum
    ) throws {
        for start in stride(from: 0, to: count, by: chunk) {
            let bits = try file.read(min(chunk, count - start), of: UInt16.self, at: offset + 2 * start)
            bits.withUnsafeBytes { checksum.update($0) }
            for (i, value) in bits.enumerated() { values[start + i] = Float(bfloat16: value) }
        }
    }

    /// Parameters converted at a time.
    private static let chunk = 1 << 16

    /// Writes a model. The file must be empty.
    /// - Parameter variant: what the model computes.
    package static func write(
        _ model: GPT2, to file: OutputFile, format: WeightFormat = .float32,
        variant: String = GPT2Configuration.variant
    ) throws {
        let config = model.config
        var header = [Int32](repeating: 0, count: headerBytes / 4)
        precondition(format != .int8)
        let version = format == .float32 ? 3 : 5
        let values = [Int(magic), version, config.maxT, config.V, config.L, config.NH, config.C, config.Vp]
        for (i, value) in values.enumerated() { header[i] = Int32(value) }
        if let tokenizer = model.tokenizer {
            header[8] = Int32(tokenizer.count)
            header[u64: 9] = tokenizer.hash
        }
        if variant != standardVariant {
            precondition(variantBytes.count >= variant.utf8.count && variant.utf8.allSatisfy(isPrintable))
            header[1] += otherVariants
            header.withUnsafeMutableBytes { header in
                for (place, byte) in zip(variantBytes, variant.utf8) { header[place] = byte }
            }
        }
        try file.write(header)
        let parameters = UnsafeBufferPointer(start: model.parameters.values, count: model.parameters.table.count)
        if format == .float32 {
            try file.write(UnsafeRawBufferPointer(parameters))
        } else {
            for start in stride(from: 0, to: parameters.count, by: chunk) {
                try file.write(parameters[start..<min(start + chunk, parameters.count)].map(\.bfloat16))
            }
        }
        header[u64: checksumIndex] = file.checksum
        try header.withUnsafeBytes { try file.overwrite($0, at: 0) }
    }

    /// A file's header, checked against the file's length before memory is taken.
    static func readHeader(_ file: InputFile) throws -> Header {
        func wrong(_ what: String, _ hint: String) -> UserError { UserError("\(file.path): \(what)", hint: hint) }
        guard file.size >= headerBytes else {
            throw wrong("too short for a checkpoint", "give a checkpoint written by train_gpt2 or llm.c")
        }
        let header = try file.read(headerBytes / 4, of: Int32.self, at: 0)
        guard header[0] == magic else {
            throw wrong(
                "not a GPT-2 checkpoint (it begins with \(header[0]), not \(magic))",
                "give a checkpoint written by train_gpt2 or llm.c, or a Hugging Face directory")
        }
        let isStandard = header[1] < otherVariants
        let version = isStandard ? header[1] : header[1] - otherVariants
        guard version == 3 || version == 5 else {
            throw wrong(
                "version \(header[1]) is neither 3 (float32) nor 5 (bfloat16)", "write it again with a newer llm.c")
        }
        try checkVariant(isStandard ? nil : header, file)
        let (maxT, V, L, NH, C, Vp) = (header[2], header[3], header[4], header[5], header[6], header[7])
        let limit = sizeLimit
        guard [maxT, V, L, NH, C].allSatisfy({ limit.contains(Int($0)) }), C % NH == 0 else {
            throw wrong(
                "the sizes in its header are not those of a model", "the file is damaged; copy or write it again")
        }
        let config = GPT2Configuration(maxT: Int(maxT), V: Int(V), L: Int(L), NH: Int(NH), C: Int(C))
        guard Int(Vp) == config.Vp else {
            throw wrong(
                "a vocabulary of \(V) is padded to \(Vp), not to \(config.Vp)",
                "write it again with a vocabulary padded to a multiple of 128")
        }
        let format: WeightFormat = version == 3 ? .float32 : .bfloat16
        let size = saturatingSum(
            headerBytes, saturatingProduct(format == .float32 ? 4 : 2, GPT2Tensors(config).table.count))
        guard file.size == size else {
            throw wrong(
                "\(file.size) bytes, where its header asks for \(size == .max ? "more than there can be" : "\(size)")",
                "the file was cut off or is damaged; copy or write it again")
        }
        guard (0...V).contains(header[8]) else {
            throw wrong(
                "a tokenizer of \(header[8]) tokens, where the vocabulary is \(V)",
                "the file is damaged; copy or write it again")
        }
        let tokenizer = TokenizerFingerprint(count: Int(header[8]), hash: header[u64: 9])
        return Header(
            numbers: header, config: config, format: format, tokenizer: tokenizer.count == 0 ? nil : tokenizer)
    }

    /// Refuses a model of another variant than is computed here.
    /// - Parameter header: with the variant's name in it; nil is llm.c's.
    private static func checkVariant(_ header: [Int32]?, _ file: InputFile) throws {
        let name = header?.withUnsafeBytes { Array($0[variantBytes].prefix { $0 != 0 }) } ?? Array(standardVariant.utf8)
        guard !name.isEmpty, name.allSatisfy(isPrintable) else {
            throw UserError(
                "\(file.path): the name of its variant is not a text",
                hint: "the file is damaged; copy or write it again")
        }
        let variant = String(decoding: name, as: UTF8.self)
        guard variant == GPT2Configuration.variant else {
            throw UserError(
                "\(file.path) is of the variant \(variant), and this program computes \(GPT2Configuration.variant)",
                hint: "read it with programs that were built for it (GPT2.swift, variant), or take another checkpoint")
        }
    }

    private static func isPrintable(_ byte: UInt8) -> Bool { (0x20...0x7e).contains(byte) }
}

extension [Int32] {
    /// 64 bits at an index of a header, the low half first.
    subscript(u64 index: Int) -> UInt64 {
        get { UInt64(UInt32(bitPattern: self[index])) | UInt64(UInt32(bitPattern: self[index + 1])) << 32 }
        set {
            self[index] = Int32(truncatingIfNeeded: newValue)
            self[index + 1] = Int32(truncatingIfNeeded: newValue >> 32)
        }
    }
}
