/// A growing array of numbers in segments of fixed size, so that growing never moves elements. (A plain array holds
/// more than twice its memory while it grows.) Copies share the elements.
package struct SegmentedArray {
    /// Elements in a segment.
    package static let segmentSize = 1 << bits
    private static let bits = 18
    private static let mask = segmentSize - 1

    private final class Segment: @unchecked Sendable {
        let values = UnsafeMutablePointer<UInt32>.allocate(capacity: SegmentedArray.segmentSize)
        deinit { values.deallocate() }
    }

    private var owners: [Segment] = []
    private var segments: [UnsafeMutablePointer<UInt32>] = []
    package private(set) var count = 0

    package init() {}

    /// Makes room up to `newCount`. The new elements are not initialized.
    package mutating func grow(to newCount: Int) {
        precondition(newCount <= Int(UInt32.max), "more pairs than fit")
        while owners.count << SegmentedArray.bits < newCount {
            let segment = Segment()
            owners.append(segment)
            segments.append(segment.values)
        }
        count = newCount
    }

    package mutating func append(_ value: UInt32) {
        grow(to: count + 1)
        self[count - 1] = value
    }

    @inline(__always)
    package subscript(index: Int) -> UInt32 {
        get { segments[index >> SegmentedArray.bits][index & SegmentedArray.mask] }
        nonmutating set { segments[index >> SegmentedArray.bits][index & SegmentedArray.mask] = newValue }
    }
}
