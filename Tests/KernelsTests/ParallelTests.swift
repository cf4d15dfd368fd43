// Parallel loops: each task runs once, and no result depends on the number of threads.

import Foundation
import Kernels
import Naive
import Synchronization
import Testing

/// Serialized, because `threadCount` is a global variable. Other tests run at the same time, with a number of threads
/// that changes while they run; that must not change their results either.
@Suite(.serialized) struct Parallel {
    /// A check that `body` gives the same bits with 1 to 7 threads.
    private func expectSameBits(
        _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () -> [UInt32]
    ) {
        let before = threadCount
        defer { threadCount = before }
        threadCount = 1
        let expected = body()
        #expect(expected.contains { $0 != 0 }, sourceLocation: sourceLocation)
        for threads in 2...7 {
            threadCount = threads
            expectEqual(body(), expected, "in \(what) with \(threads) threads", sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: [0, 1, 2, 3, 7, 100, 5000])
    func `parallelFor visits every index once`(count: Int) {
        let before = threadCount
        defer { threadCount = before }
        for threads in 1...7 {
            threadCount = threads
            let visits = Mutex([Int](repeating: 0, count: count))
            parallelFor(count) { i in visits.withLock { $0[i] += 1 } }
            let isOnce = visits.withLock { $0.allSatisfy { $0 == 1 } }
            #expect(isOnce)
        }
    }

    /// (N, C, OC): several tasks of rows (at least 128 each) and of columns, sums in several parts (at most 1536
    /// each), and tasks of dweight with the most rows allowed (48) and with fewer.
    @Test(arguments: [(300, 97, 193), (97, 1700, 193), (49, 900, 500), (1700, 49, 97)], Precision.allCases)
    func `the matrix products`(size: (N: Int, C: Int, OC: Int), precision: Precision) {
        let (N, C, OC) = size
        let inp = Fenced(noise(N * C, seed: 1))
        let weight = Fenced(noise(OC * C, seed: 2))
        let bias = Fenced(noise(OC, seed: 3))
        let dout = Fenced(noise(N * OC, seed: 4))
        expectSameBits("matmulForward") {
            let out = Fenced(unwritten: N * OC)
            matmulForward(
                out: out.pointer, inp: inp.pointer, weight: weight.pointer, bias: bias.pointer, residual: dout.pointer,
                N: N, C: C, OC: OC, precision: precision)
            return out.bits
        }
        expectSameBits("matmulBackwardInput") {
            let dinp = Fenced(inp.values)
            matmulBackwardInput(
                dinp: dinp.pointer, dout: dout.pointer, weight: weight.pointer, N: N, C: C, OC: OC, accumulate: true,
                precision: precision)
            return dinp.bits
        }
        expectSameBits("matmulBackwardWeight") {
            let dweight = Fenced(weight.values)
            let dbias = Fenced(bias.values)
            matmulBackwardWeight(
                dweight: dweight.pointer, dbias: dbias.pointer, dout: dout.pointer, inp: inp.pointer, N: N, C: C,
                OC: OC, precision: precision)
            return dweight.bits + dbias.bits
        }
        expectIntact(outputs: [], inputs: [inp, weight, bias, dout])
    }

    @Test func `layer norm`() {
        let (N, C) = (100, 193)
        let inp = Fenced(noise(N * C, seed: 1))
        let weight = Fenced(noise(C, seed: 2))
        let dout = Fenced(noise(N * C, seed: 3))
        expectSameBits("layer norm") {
            let out = Fenced(unwritten: N * C)
            let mean = Fenced(unwritten: N)
            let rstd = Fenced(unwritten: N)
            let dinp = Fenced(dout.values)
            let dweight = Fenced(weight.values)
            let dbias = Fenced(weight.values)
            layerNormForward(
                out: out.pointer, mean: mean.pointer, rstd: rstd.pointer, inp: inp.pointer, weight: weight.pointer,
                bias: weight.pointer, N: N, C: C)
            layerNormBackward(
                dinp: dinp.pointer, dweight: dweight.pointer, dbias: dbias.pointer, dout: dout.pointer,
                inp: inp.pointer, weight: weight.pointer, mean: mean.pointer, rstd: rstd.pointer, N: N, C: C)
            return out.bits + mean.bits + rstd.bits + dinp.bits + dweight.bits + dbias.bits
        }
        expectIntact(outputs: [], inputs: [inp, weight, dout])
    }

    @Test func `dropout`() {
        let count = 100_001
        let inp = Fenced(noise(count, seed: 1))
        let key = DropoutKey(seed: 1, microBatch: 2)
        expectSameBits("dropout") {
            let (out, dinp) = (Fenced(unwritten: count), Fenced(inp.values))
            dropoutForward(
                out: out.pointer, inp: inp.pointer, residual: inp.pointer, count: count, rate: 0.1, key: key)
            dropoutBackward(
                dinp: dinp.pointer, dout: inp.pointer, count: count, rate: 0.1, key: key, accumulate: true)
            return out.bits + dinp.bits
        }
        expectIntact(outputs: [], inputs: [inp])
    }

    @Test(arguments: [nil, 0.1] as [Float?], Precision.allCases)
    func `attention`(rate: Float?, precision: Precision) {
        let dropout = rate.map { (rate: $0, key: DropoutKey(seed: 1, microBatch: 2)) }
        let (lengths, C, NH) = ([97, 1, 15, 65, 16, 97], 66, 3)
        let N = lengths.reduce(0, +)
        let qkv = Fenced(noise(N * 3 * C, seed: 1))
        let dout = Fenced(noise(N * C, seed: 2))
        expectSameBits("attention") {
            let out = Fenced(unwritten: N * C)
            let lse = Fenced(unwritten: N * NH)
            let dqkv = Fenced(unwritten: N * 3 * C)
            attentionForward(
                out: out.pointer, lse: lse.pointer, qkv: qkv.pointer, lengths: lengths, C: C, NH: NH,
                dropout: dropout, precision: precision)
            attentionBackward(
                dqkv: dqkv.pointer, dout: dout.pointer, qkv: qkv.pointer, out: out.pointer, lse: lse.pointer,
                lengths: lengths, C: C, NH: NH, dropout: dropout, precision: precision)
            return out.bits + lse.bits + dqkv.bits
        }
        expectIntact(outputs: [], inputs: [qkv, dout])
    }

    @Test func `products with few rows, with threads asleep between them and awake`() {
        let (N, C, OC) = (5, 300, 700)
        let inp = Fenced(noise(N * C, seed: 1))
        let weight = Fenced(noise(OC * C, seed: 2))
        func product() -> [UInt32] {
            let (out, row) = (Fenced(unwritten: N * OC), Fenced(unwritten: OC))
            let blocks = Fenced(unwritten: OC * C + vectorWidth)
            packBlocks(blocks.pointer, weight: weight.pointer, C: C, OC: OC)
            matmulBlocks(out: out.pointer, inp: inp.pointer, blocks: blocks.pointer, bias: nil, N: N, C: C, OC: OC)
            matmulRow(out: row.pointer, inp: inp.pointer, weight: weight.pointer, bias: nil, C: C, OC: OC)
            return out.bits + row.bits
        }
        let expected = product()
        expectSameBits("asleep") { product() }
        expectSameBits("awake") {
            var bits: [UInt32] = []
            withThreadsAwake { bits = product() }
            expectEqual(bits, expected)
            return bits
        }
        expectIntact(outputs: [], inputs: [inp, weight])
    }

    /// Many short loops one after another, from several callers at the same time. Only one of them can be the leader.
    @Test func `withThreadsAwake runs each task once`() {
        let before = threadCount
        defer { threadCount = before }
        for threads in [2, 3, 5] {
            threadCount = threads
            let callers = 3
            let wrong = Atomic<Int>(0)
            DispatchQueue.concurrentPerform(iterations: callers) { _ in
                withThreadsAwake {
                    for region in 0..<300 {
                        let count = region % 7
                        let runs = UnsafeMutablePointer<Int>.allocate(capacity: 8)
                        defer { runs.deallocate() }
                        runs.initialize(repeating: 0, count: 8)
                        nonisolated(unsafe) let counts = runs
                        parallelFor(count) { counts[$0] += 1 }
                        for i in 0..<8 where runs[i] != (i < count ? 1 : 0) { wrong.wrappingAdd(1, ordering: .relaxed) }
                    }
                }
            }
            #expect(wrong.load(ordering: .relaxed) == 0, "\(threads) threads")
        }
    }

    /// Loops of two tasks that run at the same time, of which the helper's takes longer than the leader's.
    @Test func `withThreadsAwake waits for the last task of each loop`() {
        let before = threadCount
        defer { threadCount = before }
        threadCount = 2
        func now() -> UInt64 { DispatchTime.now().uptimeNanoseconds }
        let finished = Atomic<Int>(0)
        var unfinished = 0
        withThreadsAwake {
            let leader = pthread_self()
            for loop in 1...20 {
                let started = Atomic<Int>(0)
                parallelFor(2) { _ in
                    started.wrappingAdd(1, ordering: .sequentiallyConsistent)
                    // If no helper comes within 20 ms, the leader runs both tasks.
                    let deadline = now() + 20_000_000
                    while started.load(ordering: .sequentiallyConsistent) < 2, now() < deadline { sched_yield() }
                    if pthread_self() != leader { usleep(5000) }
                    finished.wrappingAdd(1, ordering: .sequentiallyConsistent)
                }
                if finished.load(ordering: .sequentiallyConsistent) != 2 * loop { unfinished += 1 }
            }
        }
        #expect(unfinished == 0)
    }

    @Test func `embedding`() {
        let (B, T, C, V) = (3, 70, 193, 11)
        let inp = randomIndices(B * T, below: V, seed: 1)
        let positions = (0..<B * T).map { Int32($0 % T) }
        let wte = Fenced(noise(V * C, seed: 2))
        let wpe = Fenced(noise(T * C, seed: 3))
        expectSameBits("embedding") {
            let out = Fenced(unwritten: B * T * C)
            let dwte = Fenced(wte.values)
            let dwpe = Fenced(wpe.values)
            embeddingForward(
                out: out.pointer, inp: inp, positions: positions, wte: wte.pointer, wpe: wpe.pointer, N: B * T, C: C)
            embeddingBackward(
                dwte: TrainedRows(rows: 0..<wte.values.count / C, gradient: dwte.pointer), dwpe: dwpe.pointer,
                dout: out.pointer, inp: inp, positions: positions, N: B * T, C: C)
            return out.bits + dwte.bits + dwpe.bits
        }
        expectIntact(outputs: [], inputs: [wte, wpe])
    }

    @Test func `cross entropy`() {
        let (N, V) = (100, 193)
        let logits = noise(N * V, seed: 1, scale: 5)
        let targets = randomIndices(N, below: V, seed: 2)
        expectSameBits("cross entropy") {
            let memory = Fenced(logits)
            let losses = Fenced(unwritten: N)
            let correct = Fenced(unwritten: N)
            crossEntropy(
                losses: losses.pointer, correct: correct.pointer, logits: memory.pointer, targets: targets,
                gradientScale: 0.01, N: N, V: V, stride: V)
            return memory.bits + losses.bits + correct.bits
        }
    }

    @Test func `GELU, AdamW and the norm`() {
        let count = 200_001
        let x = Fenced(noise(count, seed: 1, scale: 3))
        expectSameBits("elementwise kernels") {
            let out = Fenced(unwritten: count)
            let dinp = Fenced(x.values)
            let m = Fenced(x.values)
            let v = Fenced(x.values.map { $0 * $0 })
            geluForward(out: out.pointer, inp: x.pointer, count: count)
            geluBackward(dinp: dinp.pointer, dout: dinp.pointer, inp: x.pointer, count: count)
            let sum = sumOfSquares(dinp.pointer, count: count).bitPattern
            adamW(
                parameters: out.pointer, gradients: dinp.pointer, m: m.pointer, v: v.pointer, count: count,
                learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1, gradientScale: 0.5, step: 3)
            return out.bits + m.bits + v.bits + [UInt32(truncatingIfNeeded: sum), UInt32(sum >> 32)]
        }
        expectIntact(outputs: [], inputs: [x])
    }
}
