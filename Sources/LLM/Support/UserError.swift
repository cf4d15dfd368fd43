// What a program says when something that came from outside is wrong: two lines on standard error, and an exit code.

import Foundation

/// An error in something that came from outside: what is wrong, and how to fix it.
package struct UserError: Error, Equatable {
    package let message: String
    package let hint: String
    /// 1, 2 for a wrong command line, or 130 after Ctrl-C, which is no error.
    package let exitCode: Int32

    package init(_ message: String, hint: String, exitCode: Int32 = 1) {
        self.message = message
        self.hint = hint
        self.exitCode = exitCode
    }

    /// What the last write to standard output ended in.
    static func outputNotWritten() -> UserError {
        let code = errno
        return UserError(
            "the output could not be written: \(String(cString: strerror(code)))",
            hint: code == EPIPE ? "the program that was to read it has ended" : "is the disk full?")
    }
}

/// The frame of every executable. An error that its body throws ends the program with two lines on standard error,
/// `error:` and `hint:`.
package func runReportingErrors(_ body: () throws -> Void) {
    // With a limit of files' sizes (ulimit -f) a write then fails, as on a full disk, and does not end the program.
    signal(SIGXFSZ, SIG_IGN)
    do {
        try body()
        // A full disk, or a pipe without a reader, shows only when what was printed is really written.
        guard fflush(nil) == 0 else {
            throw UserError.outputNotWritten()
        }
    } catch {
        let known = known(error)
        report(known)
        exit(known.exitCode)
    }
}

/// An error as one for people.
func known(_ error: any Error) -> UserError {
    error as? UserError
        ?? UserError("\(error.localizedDescription)", hint: "see --help for what this program reads and writes")
}

/// Writes an error's two lines, after all that was printed.
func report(_ known: UserError) {
    fflush(nil)
    let (error, hint) = known.exitCode == 130 ? ("", "") : ("error: ", "hint: ")
    writeToStandardError("\(error)\(known.message)\n\(hint)\(known.hint)\n")
}
