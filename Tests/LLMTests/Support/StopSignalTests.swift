// How a program is stopped.

import Foundation
import LLM
import Testing

/// timeout(1) sends its signal to the process and to its group, so it may arrive twice; a second one so soon must not
/// end the program before its checkpoint. If it does, the tests end here.
@Test func `two signals at once ask to stop once`() async throws {
    let stop = StopSignal(patience: 600)
    #expect(!stop.isRequested)
    // Dispatch begins to listen some time after it is told to.
    for _ in 0..<6000 where !stop.isRequested {
        kill(getpid(), SIGINT)
        try await Task.sleep(for: .milliseconds(10))
    }
    #expect(stop.isRequested)
    for number in [SIGINT, SIGTERM] {
        kill(getpid(), number)
        try await Task.sleep(for: .milliseconds(50))
    }
}
