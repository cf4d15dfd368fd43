// PLACEHOLDER until merge
import Foundation
package final class TokenShard {
    package let path: String
    package let count: Int
    private let file: InputFile
    package init(_ path: String) throws {
        file = try InputFile(path, hint: "x")
        self.path = path
        count = (file.size - 1024) / 2
    }
    package func read(_ count: Int, at offset: Int) throws -> [Int32] {
        try file.read(count, of: UInt16.self, at: 1024 + 2 * offset).map { Int32($0) }
    }
}
