/// The spellings of a model's tokens and their ids.
package struct Vocabulary: Sendable {
    private var table = ByteStringTable()
    private var ids: [Int32] = []
    private(set) var longest = 0

    package init() {}

    package var count: Int { ids.count }

    /// False if it is there already.
    package mutating func insert(_ spelling: [UInt8], _ id: Int32) -> Bool {
        guard table.insert(spelling) == ids.count else { return false }
        ids.append(id)
        longest = max(longest, spelling.count)
        return true
    }

    package func id(of spelling: [UInt8]) -> Int32? { table.index(of: spelling).map { ids[$0] } }
    package func id(of spelling: UnsafeBufferPointer<UInt8>) -> Int32? { table.index(of: spelling).map { ids[$0] } }

    /// In order of insertion.
    func spelling(at index: Int) -> (spelling: ArraySlice<UInt8>, id: Int32) { (table[index], ids[index]) }
}
