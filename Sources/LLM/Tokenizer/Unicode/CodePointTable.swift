/// A table with a byte for every code point, in two levels: a page number per 256 code points, and the pages. Most of
/// the 4,352 pages are equal (all letters, all other), so about 180 remain, 45 KB; text of one script uses two or
/// three. It is never freed and uses pointers, because bounds checks would cost a tenth of the scanner's speed.
struct CodePointTable: Sendable {
    private nonisolated(unsafe) let pageStarts: UnsafePointer<UInt16>
    private nonisolated(unsafe) let pages: UnsafePointer<UInt8>

    /// - Parameter flat: the 0x110000 values.
    init(_ flat: [UInt8]) {
        var starts: [UInt16] = []
        var distinct: [ArraySlice<UInt8>: UInt16] = [:]
        var bytes: [UInt8] = []
        for first in stride(from: 0, to: flat.count, by: 256) {
            let page = flat[first..<first + 256]
            // Most pages equal the one before: no lookup needed.
            if first > 0, page.elementsEqual(flat[first - 256..<first]) {
                starts.append(starts[starts.count - 1])
                continue
            }
            let start = distinct[page] ?? UInt16(distinct.count)
            if distinct.updateValue(start, forKey: page) == nil { bytes += page }
            starts.append(start)
        }
        pageStarts = CodePointTable.immortal(starts)
        pages = CodePointTable.immortal(bytes)
    }

    private static func immortal<Value>(_ values: [Value]) -> UnsafePointer<Value> {
        let memory = UnsafeMutablePointer<Value>.allocate(capacity: values.count)
        memory.initialize(from: values, count: values.count)
        return UnsafePointer(memory)
    }

    /// - Parameter scalar: below 0x110000.
    @inline(__always)
    subscript(scalar: UInt32) -> UInt8 {
        pages[Int(pageStarts[Int(scalar >> 8)]) << 8 | Int(scalar & 255)]
    }
}
