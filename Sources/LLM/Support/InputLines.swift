// Standard input line by line, where it is no terminal with an editor.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The lines of a descriptor, as they come.
package struct InputLines {
    package enum Line: Equatable {
        /// Without its end.
        case bytes([UInt8])
        /// A signal came while it waited. What was typed of the line is gone.
        case interrupted
    }

    private let descriptor: Int32
    private var buffer: ArraySlice<UInt8> = []

    package init(_ descriptor: Int32 = STDIN_FILENO) { self.descriptor = descriptor }

    /// - Returns: nil at the end.
    package mutating func next() -> Line? {
        var line: [UInt8] = []
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                line += buffer[..<end]
                buffer = buffer[(end + 1)...]
                break
            }
            line += buffer
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(descriptor, &bytes, bytes.count)
            buffer = bytes[..<max(0, count)]
            if count < 0, errno == EINTR { return .interrupted }
            guard count > 0 else {
                if line.isEmpty { return nil }
                break
            }
        }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return .bytes(line)
    }
}
