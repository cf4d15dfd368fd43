// main.log, whole and resumed.

import Foundation
import LLM
import Testing

/// A log as a killed run leaves it: three steps written, the last checkpoint after the first two.
@Test func `a resumed log drops what is written again`() throws {
    try withTemporaryDirectory { folder in
        let path = folder + "/main.log"
        let first = try RunLog(path: path, resumingAt: nil)
        _ = first.validation(step: 0, loss: 5.25, accuracy: 0.125)
        for step in 0..<3 { _ = first.training(step: step, loss: 5, learningRate: 1e-3, norm: 1) }
        let again = try RunLog(path: path, resumingAt: 2)
        _ = again.training(step: 2, loss: 4, learningRate: 1e-3, norm: 2)
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(
            text == """
                s:0 tel:5.2500
                s:0 eval:0.1250
                s:0 trl:5.0000 lr:0.001000 norm:1.00
                s:1 trl:5.0000 lr:0.001000 norm:1.00
                s:2 trl:4.0000 lr:0.001000 norm:2.00

                """)
    }
}
