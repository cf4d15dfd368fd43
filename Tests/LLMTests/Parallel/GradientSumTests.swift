// The order in which gradients are added.

import LLM
import Testing

/// The sum of 2ᵃ·m leaves: halves, and m of them one after another.
private func twinTree(_ leaves: ArraySlice<Float>) -> Float {
    guard leaves.count % 2 == 0 else { return leaves.dropFirst().reduce(leaves[leaves.startIndex], +) }
    let middle = leaves.startIndex + leaves.count / 2
    return twinTree(leaves[..<middle]) + twinTree(leaves[middle...])
}

@Test(arguments: [1, 2, 3, 4, 6, 8, 12, 7]) func `vectors are added in a tree`(number: Int) {
    let count = 37
    let vectors = (0..<number).map { _ in allocateFloats(count) }
    defer { for vector in vectors { freeFloats(vector, count: count) } }
    var random = Xorshift(seed: 3)
    for vector in vectors { for i in 0..<count { vector[i] = random.uniform() - 0.5 } }
    let expected = (0..<count).map { i in twinTree(vectors.map { $0[i] }[...]) }
    GradientSum.addByTree(vectors, count: count)
    for i in 0..<count { #expect(vectors[0][i] == expected[i]) }
}

@Test(arguments: [1, 2, 3, 4, 6, 8, 12, 16]) func `micro-batches are added one by one, or in a tree`(number: Int) throws
{
    let model = GPT2(GPT2Configuration(maxT: 8, V: 20, L: 2, NH: 2, C: 8), trains: true)
    let (gradients, count) = (model.parameters.gradients, model.parameters.table.count)
    for sameBits in [false, true] {
        let sum = try GradientSum(model.parameters, microBatches: number, sameBits: sameBits, ranks)
        // Twice, because a second step begins with what the first one has left.
        for step in 0..<2 {
            var random = Xorshift(seed: UInt64(number + step))
            let all = (0..<number).map { _ in (0..<count).map { _ in random.uniform() - 0.5 } }
            model.parameters.zeroGradients()
            for own in all { sum.add { for i in 0..<count { gradients[i] += own[i] } } }
            for i in 0..<count {
                let leaves = all.map { $0[i] }
                // From zero, as the backward passes add.
                let expected = sameBits ? twinTree(leaves[...]) : leaves.reduce(0, +)
                try #require(gradients[i] == expected)
            }
        }
    }
}

@Test func `every rank has the same share, and with the same bits a whole tree`() throws {
    func share(_ microBatches: Int, _ ranks: Int, _ sameBits: Bool) throws -> [Int] {
        let share = try GradientSum.share(of: microBatches, ranks: ranks, sameBits: sameBits)
        return [share.count, share.group]
    }
    #expect(try share(12, 3, false) == [4, 4])
    #expect(try share(12, 1, true) == [12, 3])
    #expect(try share(12, 4, true) == [3, 3])
    #expect(try share(16, 2, true) == [8, 1])
    expectUserError("four for three") { _ = try share(4, 3, false) }
    expectUserError("a tree for three") { _ = try share(12, 3, true) }
    expectUserError("a tree of twelve for eight") { _ = try share(12, 8, true) }
}

@Test func `pieces, slices and layers cover all gradients, once`() {
    let model = GPT2(GPT2Configuration(maxT: 8, V: 20, L: 3, NH: 2, C: 8), trains: true)
    let count = model.parameters.table.count
    let layers = model.parameters.layerRanges
    #expect(layers.count == 3)
    let ranges = layers.flatMap { $0 } + GradientSum.complement(of: layers.flatMap { $0 }, in: count)
    for most in [100, 1000, 1 << 22] {
        let pieces = GradientSum.pieces(ranges, atMost: most)
        #expect(pieces.allSatisfy { $0.reduce(0) { $0 + $1.count } <= most && $0.count <= 32 })
        for size in [1, 2, 3, 7] {
            var seen = [Int](repeating: 0, count: count)
            for range in pieces.flatMap({ $0 }) {
                for rank in 0..<size { for i in GradientSum.slice(range, rank, of: size) { seen[i] += 1 } }
            }
            #expect(seen.allSatisfy { $0 == 1 })
        }
    }
    // A model whose layers are frozen has none.
    model.parameters.train([model.tensors.wte])
    #expect(model.parameters.layerRanges.isEmpty)
}
