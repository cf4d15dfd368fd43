// The sum of the gradients over all micro-batches of a step, in an order that is fixed.
//
// The gradient of a mean is the mean of the gradients, so who computes a micro-batch's gradient does not matter, only that
// they are all added. But a sum of floats depends on the order: (a + b) + c and a + (b + c) differ in the last bit. MPI has
// a function for it, MPI_Allreduce, whose order is its own affair, and another one in each library. So here messages carry
// bytes, and this file adds them, always in the same order.
//
// Each rank adds its own micro-batches as a process alone does: the backward pass adds to what is there. Then the ranks'
// sums are added in a binary tree, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)). A rank owns a slice of every piece: it gets
// the others' copies of that slice, adds them, and sends the sum to all. So each rank sends 2(N−1)/N of the gradients'
// bytes, whatever their number N, and no rank more than another.
//
// With --same-bits the tree does not begin with ranks but with micro-batches, all of them, so it is the same on 1, 2 and 4
// ranks. That needs memory: partial sums wait until their neighbour is there, as the digits of a binary counter do.

import Dispatch
import Kernels
import Synchronization

/// The sum of a model's gradients over the micro-batches of a step. Unchecked, because another thread exchanges the layers
/// that are complete: the backward pass does not touch those any more.
package final class GradientSum: @unchecked Sendable {
    private let parameters: Parameters
    private let ranks: Ranks
    /// Micro-batches that this rank computes, and of those, how many are added one after another before they go into the
    /// tree.
    private let count: Int
    private let group: Int
    /// Partial sums of groups that wait, each of twice as many micro-batches as the next one: buffers like the gradients'.
    private var partial: [UnsafeMutablePointer<Float>] = []
    private var partialCount = 0
    /// Micro-batches that are done.
    private var done = 0
    /// The gradients' parts: of each layer, and what is not in a layer.
    private let layers: [[Range<Int>]]
    private let rest: [Range<Int>]
    /// Layers whose gradients were complete during the last backward pass.
    private var sent = 0
    /// The others' copies of a slice.
    private let received: [UnsafeMutablePointer<Float>]
    /// Where the layers are exchanged while the backward pass goes on.
    private let beside = DispatchQueue(label: "GradientSum")
    private let isAwaited = Atomic<Bool>(false)

    /// Floats of a piece at most.
    private static let pieceCount = 1 << 22

    /// - Parameters:
    ///   - microBatches: of all ranks.
    ///   - sameBits: whether the sum is to be the same on any number of ranks.
    package init(_ parameters: Parameters, microBatches: Int, sameBits: Bool, _ ranks: Ranks) throws {
        (self.parameters, self.ranks) = (parameters, ranks)
        (count, group) = try GradientSum.share(of: microBatches, ranks: ranks.size, sameBits: sameBits)
        for _ in 0..<(count / group).trailingZeroBitCount {
            partial.append(allocateFloats(parameters.trained.count))
        }
        layers = parameters.layerRanges
        rest = GradientSum.complement(of: layers.flatMap { $0 }, in: parameters.trained.count)
        received = (1..<ranks.size).map { _ in allocateFloats(GradientSum.receivedCount(ranks.size)) }
    }

    deinit {
        for buffer in partial { freeFloats(buffer, count: parameters.trained.count) }
        for buffer in received { freeFloats(buffer, count: GradientSum.receivedCount(ranks.size)) }
    }

    /// How many micro-batches a rank computes, and how many of them are added one after another: the whole share or, for
    /// the same bits on any number of ranks, as few as halving their number again and again leaves.
    package static func share(of microBatches: Int, ranks: Int, sameBits: Bool) throws -> (count: Int, group: Int) {
        guard microBatches % ranks == 0 else {
            throw UserError(
                "a step of \(microBatches) micro-batches cannot be shared by \(ranks) ranks",
                hint: "take a number of micro-batches that is a multiple of \(ranks): the tokens of a step "
                    + "(--total-batch-size, -d) are B · T of all ranks together; finetune has --accumulate", exitCode: 2
            )
        }
        guard sameBits else { return (microBatches / ranks, microBatches / ranks) }
        let group = microBatches >> microBatches.trailingZeroBitCount
        guard ranks & (ranks - 1) == 0, microBatches / ranks % group == 0 else {
            throw UserError(
                "--same-bits adds \(microBatches) micro-batches in a tree that \(ranks) ranks cannot share",
                hint: "take 1, 2, 4, 8 … ranks", exitCode: 2)
        }
        return (microBatches / ranks, group)
    }

    // MARK: - a step

    /// Runs the pass of this rank's next micro-batch, which adds to the gradients. After the last one the gradients are
    /// those of all micro-batches of all ranks.
    package func add(_ pass: () -> Void) {
        let isLast = done + 1 == count
        if isLast, !layers.isEmpty, ranks.mayExchangeBeside {
            sent = 0
            parameters.layerIsDone = { [self] layer in
                sent += 1
                beside.async { [self] in complete(layers[layer]) }
            }
        }
        pass()
        parameters.layerIsDone = nil
        done += 1
        guard isLast else {
            if done % group == 0 { keepPartialSum(groups: done / group) }
            return
        }
        ranks.waiting {
            isAwaited.store(true, ordering: .relaxed)
            // Layers come from the last one down; those that the pass did not tell of are there now.
            beside.sync {
                for layer in layers.dropLast(sent).reversed() { complete(layer) }
                complete(rest)
            }
            isAwaited.store(false, ordering: .relaxed)
        }
        (done, partialCount, sent) = (0, 0, 0)
    }

    /// Adds those partial sums that the one which is just done completes, and puts the result aside.
    /// - Parameter groups: that are done.
    private func keepPartialSum(groups: Int) {
        let gradients = parameters.gradients
        for _ in 0..<groups.trailingZeroBitCount {
            partialCount -= 1
            let left = partial[partialCount]
            inBlocks(of: 0..<parameters.trained.count) { accumulate(out: gradients + $0, inp: left + $0, count: $1) }
        }
        let place = partial[partialCount]
        inBlocks(of: 0..<parameters.trained.count) { move(out: place + $0, inp: gradients + $0, count: $1) }
        partialCount += 1
    }

    /// Adds what belongs to parts of the gradients: this rank's partial sums, then the other ranks' sums.
    private func complete(_ ranges: [Range<Int>]) {
        let gradients = parameters.gradients
        for range in ranges {
            for left in partial[..<partialCount].reversed() {
                inBlocks(of: range) { accumulate(out: gradients + $0, inp: left + $0, count: $1) }
            }
        }
        if ranks.size > 1 {
            for piece in GradientSum.pieces(ranges, atMost: GradientSum.pieceCount) { exchange(piece) }
        }
    }

    // MARK: - between ranks

    /// Replaces parts of the gradients by their sums over all ranks.
    ///
    /// In rounds: in each one a rank sends to one other and receives from one other, so that nobody's link has two senders
    /// while another has none. What it sends goes first: MPICH over TCP takes twice the time the other way round where two
    /// ranks of four exchange with each other.
    private func exchange(_ piece: [Range<Int>]) {
        let (gradients, rank, size) = (parameters.gradients, ranks.rank, ranks.size)
        func slices(of owner: Int) -> [Range<Int>] {
            piece.map { GradientSum.slice($0, owner, of: size) }.filter { !$0.isEmpty }
        }
        func round(_ messages: [MPI.Message]) {
            ranks.exchange(messages) { [self] in isAwaited.load(ordering: .relaxed) }
        }
        func send(_ slices: [Range<Int>], to other: Int) -> [MPI.Message] {
            slices.map { .send(gradients + $0.lowerBound, bytes: 4 * $0.count, to: other) }
        }
        // Everybody's copy of this rank's slices.
        let own = slices(of: rank)
        var copies = received
        copies.insert(gradients, at: rank)  // in its place nothing is received
        for distance in 1..<size {
            let (from, to) = ((rank + size - distance) % size, (rank + distance) % size)
            var place = copies[from]
            let receive = own.map { slice -> MPI.Message in
                defer { place += slice.count }
                return .receive(place, bytes: 4 * slice.count, from: from)
            }
            round(send(slices(of: to), to: to) + receive)
        }
        for slice in own {
            copies[rank] = gradients + slice.lowerBound
            GradientSum.addByTree(copies, count: slice.count)
            if rank > 0 { copies[rank].update(from: copies[0], count: slice.count) }
            for other in 0..<size where other != rank { copies[other] += slice.count }
        }
        // The sums, to everybody.
        for distance in 1..<size {
            let (from, to) = ((rank + size - distance) % size, (rank + distance) % size)
            let receive = slices(of: from).map {
                MPI.Message.receive(gradients + $0.lowerBound, bytes: 4 * $0.count, from: from)
            }
            round(send(own, to: to) + receive)
        }
    }

    /// Adds several vectors into the first one, in a tree that only their number decides: halves as long as that is even,
    /// then one after another.
    package static func addByTree(_ vectors: [UnsafeMutablePointer<Float>], count: Int) {
        func sum(_ range: Range<Int>) {
            if range.count % 2 == 0 {
                let middle = range.lowerBound + range.count / 2
                sum(range.lowerBound..<middle)
                sum(middle..<range.upperBound)
                accumulate(out: vectors[range.lowerBound], inp: vectors[middle], count: count)
            } else {
                for i in range.dropFirst() { accumulate(out: vectors[range.lowerBound], inp: vectors[i], count: count) }
            }
        }
        sum(vectors.indices)
    }

    // MARK: - parts

    /// A rank's part of a range; it may be empty. Parts begin at whole cache lines of it.
    package static func slice(_ range: Range<Int>, _ rank: Int, of size: Int) -> Range<Int> {
        func cut(_ i: Int) -> Int { i == size ? range.count : range.count * i / size / 16 * 16 }
        return range.lowerBound + cut(rank)..<range.lowerBound + cut(rank + 1)
    }

    /// Room for a rank's slices of a piece: of each of its ranges up to 15 floats more than an equal share.
    private static func receivedCount(_ size: Int) -> Int { pieceCount / size + pieceCount / 64 }

    /// Ranges cut and put together to pieces of at most so many floats, and of at most 32 ranges.
    package static func pieces(_ ranges: [Range<Int>], atMost most: Int) -> [[Range<Int>]] {
        var pieces: [[Range<Int>]] = []
        var room = 0
        for range in ranges {
            var start = range.lowerBound
            while start < range.upperBound {
                if room == 0 || pieces[pieces.count - 1].count == 32 {
                    pieces.append([])
                    room = most
                }
                let end = min(range.upperBound, start + room)
                pieces[pieces.count - 1].append(start..<end)
                room -= end - start
                start = end
            }
        }
        return pieces
    }

    /// What ranges leave of 0..<count.
    package static func complement(of ranges: [Range<Int>], in count: Int) -> [Range<Int>] {
        var rest: [Range<Int>] = []
        var end = 0
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if end < range.lowerBound { rest.append(end..<range.lowerBound) }
            end = range.upperBound
        }
        if end < count { rest.append(end..<count) }
        return rest
    }

    /// A loop over a range in blocks, on all threads.
    private func inBlocks(of range: Range<Int>, _ body: (_ offset: Int, _ count: Int) -> Void) {
        let block = 1 << 16
        parallelFor((range.count + block - 1) / block) { i in
            let start = range.lowerBound + i * block
            body(start, min(block, range.upperBound - start))
        }
    }
}
