/// A long list in segments, so that growing it never moves it: a plain array holds twice its memory while it grows.
struct SegmentedArray {
    private static let bits = 18
    private static let mask = 1 << bits - 1
    private final class Segment: @unchecked Sendable {
        let values = UnsafeMutablePointer<UInt32>.allocate(capacity: 1 << SegmentedArray.bits)
        deinit { values.deallocate() }
    }
    private var owners: [Segment] = []
    private var segments: [UnsafeMutablePointer<UInt32>] = []
    private(set) var count = 0

    mutating func grow(to newCount: Int) {
        precondition(newCount <= Int(UInt32.max), "more pairs than fit")
        while owners.count << SegmentedArray.bits < newCount {
            let segment = Segment()
            owners.append(segment)
            segments.append(segment.values)
        }
        count = newCount
    }

    mutating func append(_ value: UInt32) {
        grow(to: count + 1)
        self[count - 1] = value
    }

    @inline(__always)
    subscript(index: Int) -> UInt32 {
        get { segments[index >> SegmentedArray.bits][index & SegmentedArray.mask] }
        nonmutating set { segments[index >> SegmentedArray.bits][index & SegmentedArray.mask] = newValue }
    }
}
