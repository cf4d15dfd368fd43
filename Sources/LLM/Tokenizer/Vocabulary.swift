/// The tokens of a model: spellings and their ids.
package struct Vocabulary: Sendable {
    private var table = ByteStringTable()
    private var ids: [Int32] = []
    /// The length of the longest spelling, in bytes.
    private(set) var longest = 0

    package init() {}

    package var count: Int { ids.count }

    /// Adds a token. Returns false, and changes nothing, if the spelling is already present.
    package mutating func insert(_ spelling: [UInt8], _ id: Int32) -> Bool {
        guard table.insert(spelling) == ids.count else { return false }
        ids.append(id)
        longest = max(longest, spelling.count)
        return true
    }

    package func id(of spelling: [UInt8]) -> Int32? { table.index(of: spelling).map { ids[$0] } }
    package func id(of spelling: UnsafeBufferPointer<UInt8>) -> Int32? { table.index(of: spelling).map { ids[$0] } }

    /// The token that was inserted as number `index`.
    func spelling(at index: Int) -> (spelling: ArraySlice<UInt8>, id: Int32) { (table[index], ids[index]) }
}
