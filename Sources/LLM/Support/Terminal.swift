// The terminal as a person types into it: its modes, and what puts them back however the program ends.

import Foundation
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Standard input and output as a terminal in raw mode, in which each key comes at once.
package final class Terminal {
    private let before: termios
    private var editor = LineEditor()
    /// Read and not yet used: what was typed ahead.
    private var typed: ArraySlice<UInt8> = []

    /// nil if it is no terminal, or one that can only show lines.
    package init?() {
        var mode = termios()
        guard isatty(STDIN_FILENO) == 1, isatty(STDOUT_FILENO) == 1,
            getenv("TERM").map({ String(cString: $0) }) != "dumb",
            tcgetattr(STDIN_FILENO, &mode) == 0
        else { return nil }
        before = mode
        restoreAtEveryEnd(mode)
        setMode(readsSignals: true)
        printNow(pastesOn)
    }

    deinit { restoreTerminal() }

    /// Each paste between ESC [ 200 ~ and ESC [ 201 ~.
    private let pastesOn = "\u{1B}[?2004h"

    /// Raw, but for what is written.
    /// - Parameter readsSignals: whether Ctrl-C and Ctrl-Z are signals, and not bytes.
    private func setMode(readsSignals: Bool) {
        var mode = before
        mode.c_iflag &= ~tcflag_t(ICRNL | IXON)
        mode.c_lflag &= ~tcflag_t(ICANON | ECHO | IEXTEN | (readsSignals ? 0 : ISIG))
        tcsetattr(STDIN_FILENO, TCSADRAIN, &mode)
    }

    /// A line, or a text that was pasted; nil at the end of input.
    package func readLine(prompt: String) -> String? {
        editor.prompt = prompt
        setMode(readsSignals: false)
        defer { setMode(readsSignals: true) }
        measure()
        while true {
            while let byte = typed.popFirst() {
                switch editor.add(byte) {
                case .line(let line):
                    printNow(editor.takeLeft())
                    return line
                case .ended:
                    printNow(editor.takeLeft())
                    return nil
                case .suspended:
                    restoreTerminal()
                    raise(SIGTSTP)
                    setMode(readsSignals: false)
                    printNow(pastesOn)
                case .interrupted, nil: break
                }
            }
            measure()
            printNow(editor.draw())
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            typed = buffer[..<count]
        }
    }

    private func measure() {
        if let size = terminalSize(STDOUT_FILENO) { (editor.columns, editor.rows) = size }
    }
}

/// The size of the terminal that a descriptor leads to; nil if it is none, or one that can only show lines.
package func terminalSize(_ descriptor: Int32) -> (columns: Int, rows: Int)? {
    var size = winsize()
    guard isatty(descriptor) == 1, getenv("TERM").map({ String(cString: $0) }) != "dumb",
        ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0
    else { return nil }
    return (Int(size.ws_col), Int(size.ws_row))
}

// MARK: - back to what it was

/// What the terminal was before. In memory of its own, for a signal may ask for it at any time.
nonisolated(unsafe) private let modeBefore = UnsafeMutablePointer<termios>.allocate(capacity: 1)
nonisolated(unsafe) private let pasteOff = strdup("\u{1B}[?2004l")

/// Only what a signal's handler may do.
private func restoreTerminal() {
    tcsetattr(STDIN_FILENO, TCSANOW, modeBefore)
    if let pasteOff { _ = write(STDOUT_FILENO, pasteOff, 8) }
}

/// Lets every end of the program, by `exit` or a signal, first restore the terminal.
private func restoreAtEveryEnd(_ mode: termios) {
    modeBefore.initialize(to: mode)
    _ = pasteOff
    atexit { restoreTerminal() }
    for number in [SIGTERM, SIGHUP, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGBUS, SIGSEGV] {
        signal(number) { number in
            restoreTerminal()
            signal(number, SIG_DFL)
            raise(number)
        }
    }
}

// MARK: - Ctrl-C

/// Whether Ctrl-C was typed since it was asked last: a request to end what is being done, and not the program.
package enum Interrupt {
    private static let isRequested = Atomic<Bool>(false)

    /// From here on SIGINT only asks.
    /// - Parameter endsReading: whether a read that waits ends with EINTR. So would a write, which nobody wants.
    package static func listen(endsReading: Bool) {
        _ = take()
        var action = sigaction()
        let handler: @convention(c) (Int32) -> Void = { _ in Interrupt.isRequested.store(true, ordering: .relaxed) }
        #if canImport(Darwin)
            action.__sigaction_u.__sa_handler = handler
        #else
            action.__sigaction_handler.sa_handler = handler
        #endif
        action.sa_flags = endsReading ? 0 : SA_RESTART
        sigaction(SIGINT, &action, nil)
    }

    package static func take() -> Bool { isRequested.exchange(false, ordering: .relaxed) }
}
