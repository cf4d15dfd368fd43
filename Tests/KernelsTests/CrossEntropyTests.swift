// The loss.

import Foundation
import Kernels
import Naive
import Testing

// MARK: - the kernel

/// The results of the kernel, which is run without gradients and then with them. The first run must not write to the
/// logits, and neither run to their padding.
private func run(
    _ logits: [Float], targets: [Int32], scale: Float, N: Int, V: Int, stride: Int
) -> (losses: [Float], correct: [Float], dlogits: [Float]) {
    var padded = [Float](repeating: .nan, count: N * stride)
    for n in 0..<N {
        for i in 0..<V { padded[n * stride + i] = logits[n * V + i] }
    }
    let memory = Fenced(padded)
    let losses = Fenced(unwritten: N)
    let correct = Fenced(unwritten: N)
    crossEntropy(
        losses: losses.pointer, correct: correct.pointer, logits: memory.pointer, targets: targets,
        gradientScale: nil, N: N, V: V, stride: stride)
    expectIntact(outputs: [losses, correct], inputs: [memory])

    let lossesAgain = Fenced(unwritten: N)
    let correctAgain = Fenced(unwritten: N)
    crossEntropy(
        losses: lossesAgain.pointer, correct: correctAgain.pointer, logits: memory.pointer, targets: targets,
        gradientScale: scale, N: N, V: V, stride: stride)
    expectEqual(lossesAgain.bits, losses.bits)
    expectEqual(correctAgain.bits, correct.bits)
    expectIntact(outputs: [lossesAgain, correctAgain, memory], inputs: [])
    let result = memory.values
    let isPaddingWhole = result.indices.allSatisfy { $0 % stride < V || result[$0].isNaN }
    #expect(isPaddingWhole, "the padding was written to")
    return (losses.values, correct.values, (0..<N * V).map { result[$0 / V * stride + $0 % V] })
}

@Test(
    arguments: [
        (1, 1, 1), (1, 2, 3), (3, 3, 3), (2, 7, 16), (7, 17, 20), (5, 33, 128), (17, 97, 128), (3, 193, 256),
        (100, 47, 128), (2, 1000, 1024), (1, 50_257, 50_304),
    ])
func `crossEntropy`(N: Int, V: Int, stride: Int) {
    let logits = noise(N * V, seed: 1, scale: 6)
    let targets = randomIndices(N, below: V, seed: 2)
    let scale = 1 / Float(N)
    let ours = run(logits, targets: targets, scale: scale, N: N, V: V, stride: stride)
    let reference = naiveCrossEntropy(logits: doubles(logits), targets: targets, scale: Double(scale), N: N, V: V)
    expectClose(ours.losses, reference.losses, tolerance: 1e-6)
    expectClose(ours.dlogits, reference.dlogits)
    for n in 0..<N {
        let row = logits[n * V..<(n + 1) * V]
        let best = row.firstIndex(of: row.max() ?? 0).map { $0 - n * V }
        #expect(ours.correct[n] == (best == Int(targets[n]) ? 1 : 0))
    }
}

@Test func `in a tie the first token is the most probable`() {
    let V = 37
    var logits = [Float](repeating: -1, count: 4 * V)
    for n in 0..<4 { (logits[n * V + 5], logits[n * V + 30]) = (2, 2) }
    let ours = run(logits, targets: [5, 30, 0, 36], scale: 1, N: 4, V: V, stride: V)
    #expect(ours.correct == [1, 0, 0, 0])
}

/// The most probable token is the last one, after the last whole vector.
@Test(arguments: [1, 2, 17, 33, 37])
func `the last token can be the most probable`(V: Int) {
    let logits = (0..<V).map { Float($0) / 100 }
    let ours = run(logits + logits, targets: [Int32(V - 1), 0], scale: 1, N: 2, V: V, stride: V)
    #expect(ours.correct == [1, V == 1 ? 1 : 0])
}

@Test func `a negative target is ignored`() {
    let (N, V, scale) = (9, 37, Float(0.5))
    let logits = noise(N * V, seed: 1, scale: 3)
    let targets = randomIndices(N, below: V, seed: 2)
    let hidden = targets.indices.map { $0 % 2 == 0 ? targets[$0] : -1 }
    let all = run(logits, targets: targets, scale: scale, N: N, V: V, stride: 40)
    let some = run(logits, targets: hidden, scale: scale, N: N, V: V, stride: 40)
    for n in 0..<N {
        let counts = hidden[n] >= 0
        #expect(some.losses[n] == (counts ? all.losses[n] : 0))
        #expect(some.correct[n] == (counts ? all.correct[n] : 0))
        for i in n * V..<(n + 1) * V { #expect(some.dlogits[i] == (counts ? all.dlogits[i] : 0)) }
    }
}

/// Logits whose exponentials would overflow or vanish: the loss is large, but neither infinite nor NaN.
@Test(arguments: [Float(100), 1e3, 1e4, 1e6])
func `huge logits give a finite loss`(size: Float) {
    let (N, V) = (8, 33)
    let logits = noise(N * V, seed: 1, scale: size)
    let targets = randomIndices(N, below: V, seed: 2)
    let ours = run(logits, targets: targets, scale: 1, N: N, V: V, stride: V)
    let reference = naiveCrossEntropy(logits: doubles(logits), targets: targets, scale: 1, N: N, V: V)
    #expect((ours.losses + ours.dlogits).allSatisfy { $0.isFinite })
    expectClose(ours.losses, reference.losses, tolerance: 1e-6)
    expectClose(ours.dlogits, reference.dlogits, tolerance: 1e-5)
}

@Test func `the loss of an impossible target is the difference of the logits`() {
    let ours = run([10_000, -10_000, 0], targets: [1], scale: 1, N: 1, V: 3, stride: 3)
    #expect(ours.losses == [20_000])
    expectClose(ours.dlogits, [1, -1, 0], tolerance: 1e-6)
    // All logits far below zero: a maximum that starts at −10,000 would miss them.
    let low = run([-50_000, -50_001], targets: [0], scale: 1, N: 1, V: 2, stride: 2)
    #expect(low.losses[0].isFinite && low.correct == [1])
}
