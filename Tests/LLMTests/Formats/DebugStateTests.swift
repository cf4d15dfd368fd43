// The debug state that test_gpt2 reads.

import Foundation
import LLM
import Testing

@Test func `a debug state that is not this model's, or damaged`() throws {
    try withTemporaryDirectory { directory in
        let config = try readGPT2Configuration(try fixture("gpt2_small.bin"))
        let good = try bytes(try fixture("gpt2_small_debug_state.bin"))
        let path = directory + "/state.bin"
        func expectBad(_ what: String, _ change: (inout [UInt8]) -> Void) throws {
            var bad = good
            change(&bad)
            try write(bad, to: path)
            expectUserError(what) { _ = try DebugState(path, config: config) }
        }
        for cut in [0, 1, 1023, 1024, 1100, good.count - 1] + stride(from: 0, to: good.count, by: 4999) {
            try expectBad("cut to \(cut)") { $0 = Array($0[..<cut]) }
        }
        try expectBad("longer") { $0.append(0) }
        for (index, value) in [
            (0, 20_240_326), (1, 1), (2, 0), (2, -1), (2, .max), (3, 0), (3, -1), (3, .max), (2, 1 << 20), (256, -1),
            (256, Int32(config.V)),
        ] as [(Int, Int32)] {
            try expectBad("[\(index)] = \(value)") { replace(&$0, header: index, with: value) }
        }
        try write(good, to: path)
        expectUserError("another model") { _ = try DebugState(path, config: tiny) }
    }
}
