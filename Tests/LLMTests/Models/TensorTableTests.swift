// The table of tensors: where each lies, and what becomes of sizes that cannot be.

import LLM
import Testing

@Test func `tensors lie one after the other, each layer's part behind the one before`() {
    var table = TensorTable()
    let one = table.add("one", 3, 5, usedRows: 2)
    let two = table.add("two", layers: 4, 2, 7)
    let three = table.add("three", 11)
    #expect([one, two, three].map(\.offset) == [0, 15, 71] && table.count == 82)
    #expect([one, two, three].map(\.count) == [15, 56, 11])
    #expect([one, two, three].map(\.layers) == [1, 4, 1])
    #expect([one, two, three].map(\.layerShape) == [[3, 5], [2, 7], [11]])
    #expect([one, two, three].map(\.layerCount) == [15, 14, 11])
    #expect([one, two, three].map(\.usedRows) == [2, 2, 11])
    #expect([one, two, three].map(\.usedCount) == [10, 14, 11])
    let buffer = allocateFloats(table.count)
    defer { freeFloats(buffer, count: table.count) }
    #expect(buffer + two == buffer + 15)
    #expect((0..<4).map { buffer.at(two, $0) } == (0..<4).map { buffer + 15 + 14 * $0 })
    #expect(buffer.at(three, 0) == buffer + 71)
}

/// Without a backward pass a tensor has room for one layer, which all of them use.
@Test func `a tensor with room for one layer is every layer's`() {
    var table = TensorTable()
    _ = table.add("first", 3)
    let shared = table.add("shared", layers: 1, 5)
    let single = table.add("single", 5)
    let buffer = allocateFloats(table.count)
    defer { freeFloats(buffer, count: table.count) }
    for l in 0..<3 { #expect(buffer.at(shared, l) == buffer + 3 && buffer.at(single, l) == buffer + 8) }
}

@Test(arguments: [1, 2, 16])
func `every tensor begins at a multiple of the alignment`(alignment: Int) {
    var table = TensorTable(alignment: alignment)
    var end = 0
    for count in [1, 16, 17, 0, 31, 32, 5] {
        let tensor = table.add("t", count)
        #expect(tensor.offset % alignment == 0 && tensor.offset - end < alignment && tensor.offset >= end)
        #expect(tensor.count == count)
        end = tensor.offset + count
    }
    #expect(table.count % alignment == 0 && table.count - end < alignment && table.count >= end)
}

@Test(arguments: [1, 16])
func `sizes that overflow are as large as can be`(alignment: Int) {
    let huge = 1 << 24
    var table = TensorTable(alignment: alignment)
    _ = table.add("small", 3)
    let tensor = table.add("huge", layers: huge, huge, huge)
    #expect(tensor.count == .max && table.count == .max)
    let after = table.add("after", huge)
    #expect(after.offset == .max && after.count == huge && table.count == .max)
    #expect(saturatingProduct(.max, 2) == .max && saturatingProduct(.max, 0) == 0 && saturatingProduct(3, 4) == 12)
    #expect(saturatingSum(.max, 1) == .max && saturatingSum(.max, 0) == .max && saturatingSum(3, 4) == 7)
}

@Test func `a name in Hugging Face's model has its layer's number`() throws {
    let tensors = GPT2Tensors(tiny)
    #expect(tensors.qkvw.huggingFace?(layer: 11) == ["h.11.attn.c_attn.weight"])
    #expect(tensors.wte.huggingFace?(layer: 0) == ["wte.weight"])
    let transposed = tensors.table.tensors.filter { $0.huggingFace?.isTransposed == true }.map(\.name)
    #expect(transposed == ["qkvw", "attprojw", "fcw", "fcprojw"])
    #expect(tensors.table.tensors.allSatisfy { $0.huggingFace != nil })
}

// MARK: - memory

@Test func `a model too large for any machine takes a finite number of bytes`() {
    let huge = 1 << 24
    let config = GPT2Configuration(maxT: huge, V: huge, L: huge, NH: 1, C: huge)
    #expect(GPT2Tensors(config).table.count == .max)
    for bytes in [
        config.bytes(rows: 1, trains: false), config.bytes(rows: huge, trains: true),
        config.bytes(sequences: huge, capacity: huge),
    ] {
        #expect(bytes.isFinite && bytes > 1e19)
        #expect(throws: UserError.self) { try checkMemory(bytes) }
    }
}

/// Counted again by hand: what a row of a pass keeps of each layer, and what it has once.
@Test(arguments: [1, 7, 100, 1024, 3000])
func `a model's memory is the sum of its buffers`(N: Int) {
    let config = GPT2Configuration(maxT: 50, V: 130, L: 5, NH: 4, C: 32)
    let (C, L, NH) = (config.C, config.L, config.NH)
    // Logits, a row's input and its gradient, loss and whether it is right.
    let classifier = min(N, 1024) * (144 + 2 * 32 + 2)
    let parameters = GPT2Tensors(config).table.count
    // residual, qkv, atty, residual2 and fch; two means and rstds; lse.
    let layer = (1 + 3 + 1 + 1 + 4) * C + 4 + NH
    // The last residual, ln, gelu and lnf; its mean and rstd, losses and correct; then dlnf to dfch.
    let once = (1 + 1 + 4 + 1) * C + 4 + (1 + 1 + 1 + 1 + 4) * C
    let training = 4 * (4 * parameters + classifier + N * (L * layer + once))
    // ln, residual and fch; the means and rstds of one layer and the last; lse, losses and correct. No logits.
    let plain = 4 * (parameters + N * (6 * C + 6 + NH + 2))
    for (bytes, floats) in [
        (config.bytes(rows: N, trains: true), training), (config.bytes(rows: N, trains: false), plain),
    ] {
        // At most 15 floats after each of the 23 tensors complete a cache line.
        #expect(bytes >= Double(floats) && bytes < Double(floats + 4 * 23 * 16))
    }
}

@Test func `a generator's memory is the model's, the cache's, and that of the packed weights`() {
    let config = GPT2Configuration(maxT: 50, V: 130, L: 5, NH: 4, C: 32)
    let model = config.bytes(rows: 50, trains: false)
    let cache = KVCache.bytes(L: 5, C: 32, NH: 4, sequences: 1, capacity: 50)
    #expect(cache >= Double(2 * 4 * 5 * 2 * 32 * 50))
    #expect(config.bytes(sequences: 1, capacity: 1000) == model + cache + Double(4 * 130))
    let packed = PackedWeights.bytes(GPT2Tensors(config).table)
    let matrices = GPT2Tensors(config).table.tensors.filter { $0.isLinearWeight || $0.name == "wte" }
    #expect(packed >= Double(4 * matrices.reduce(0) { $0 + $1.count }))
    #expect(
        config.bytes(sequences: 3, capacity: 20)
            == config.bytes(rows: 60, trains: false) + packed + Double(3 * 4 * 130)
            + KVCache.bytes(L: 5, C: 32, NH: 4, sequences: 3, capacity: 20))
}
