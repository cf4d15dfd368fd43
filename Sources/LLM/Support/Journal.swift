// Several renames and removals that happen all or not at all, however the program ends.
//
// The system renames one file at a time. So the list of what is to happen is written to the folder first, as
// `.journal`. Whoever finds one there, because its writer was killed, does the rest before anything else: every item
// can be done twice without harm. The writer holds a lock on the journal, so a living one is waited for.

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The renames and removals in one folder that belong together.
struct Journal {
    /// Names in the folder, without their path.
    var renames: [(temporary: String, final: String)]
    var removals: [String]

    static let name = ".journal"

    private static func path(in folder: String) -> String { "\(folder)/\(name)" }

    /// Whether a list waits to be done.
    static func isPending(in folder: String) -> Bool { fileExists(path(in: folder)) }

    /// Does everything on the list.
    /// - Throws: if the list could not be written, and nothing was done; or if a later call failed, and the rest will be
    ///   done by the next `finishInterruptedWrites`.
    func carryOut(in folder: String) throws {
        let path = Journal.path(in: folder)
        let temporary = "\(path).\(getpid()).tmp"
        let file = try OutputFile(temporary)
        defer { withExtendedLifetime(file) {} }  // with it goes the lock
        do {
            try file.write(text)
            try file.synchronize()
            flock(file.descriptor, LOCK_EX | LOCK_NB)
            guard FileCalls.rename(temporary, path) == 0 else { throw cannotWrite(path) }
        } catch {
            _ = FileCalls.remove(temporary)
            throw error
        }
        do {
            try synchronizeDirectory(folder)
        } catch {
            _ = FileCalls.remove(path)
            throw error
        }
        try perform(in: folder)
    }

    /// Does what is left of the list, and removes it.
    private func perform(in folder: String) throws {
        for (temporary, final) in renames {
            let path = "\(folder)/\(final)"
            guard FileCalls.rename("\(folder)/\(temporary)", path) == 0 || errno == ENOENT else {
                throw cannotWrite(path)
            }
        }
        // A file that nobody may remove must not stand in the way of all that comes later.
        var refused: UserError?
        for name in removals {
            let path = "\(folder)/\(name)"
            guard FileCalls.remove(path) != 0, errno != ENOENT else { continue }
            guard errno == EPERM || errno == EACCES else { throw cannotRemove(path) }
            refused = refused ?? cannotRemove(path)
        }
        try synchronizeDirectory(folder)
        let path = Journal.path(in: folder)
        guard FileCalls.remove(path) == 0 || errno == ENOENT else { throw cannotRemove(path) }
        try synchronizeDirectory(folder)
        if let refused { throw refused }
    }

    private var text: [UInt8] {
        func name(_ text: String) -> JSON { .string(Array(text.utf8)) }
        let list: JSON = [
            "rename": .array(renames.map { [name($0.temporary), name($0.final)] }),
            "remove": .array(removals.map { name($0) }),
        ]
        return list.text() + [UInt8(ascii: "\n")]
    }

    /// - Throws: if a name leads out of the folder, or this is not a journal.
    private init(_ text: [UInt8], path: String) throws {
        func damaged() -> UserError {
            UserError(
                "\(path), the list of an interrupted write, is damaged",
                hint: "remove it, and write again what was being written to \(folder(of: path))")
        }
        func names(_ value: JSON?) throws -> [String] {
            guard case .array(let values)? = value else { throw damaged() }
            return try values.map {
                guard let name = $0.text, !name.isEmpty, name != ".", name != "..", !name.utf8.contains(47) else {
                    throw damaged()
                }
                return name
            }
        }
        guard let list = try? JSON(text, name: path), case .array(let pairs)? = list["rename"] else { throw damaged() }
        renames = try pairs.map {
            let pair = try names($0)
            guard pair.count == 2 else { throw damaged() }
            return (pair[0], pair[1])
        }
        removals = try names(list["remove"])
    }

    init(renames: [(temporary: String, final: String)], removals: [String]) {
        (self.renames, self.removals) = (renames, removals)
    }

    /// Does what an interrupted program left on its list, if there is one.
    static func finish(in folder: String) throws {
        let path = Journal.path(in: folder)
        guard fileExists(path) else { return }
        let hint = "an interrupted write must be finished first: make \(folder) writable"
        let file: InputFile
        do {
            file = try InputFile(path, hint: hint)
        } catch {
            guard fileExists(path) else { return }  // its writer has just finished
            throw error
        }
        defer { withExtendedLifetime(file) {} }  // with it goes the lock
        if flock(file.descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
            note("another program is writing to \(folder); waiting for it")
            flock(file.descriptor, LOCK_EX)
        }
        var status = stat()
        guard fstat(file.descriptor, &status) == 0, status.st_nlink > 0 else { return }
        let text = try file.read(file.size, of: UInt8.self, at: 0)
        do {
            try Journal(text, path: path).perform(in: folder)
        } catch let error as UserError where error.message.hasPrefix("cannot ") {
            guard isPending(in: folder) else { return note("warning: \(error.message)") }
            throw UserError(error.message, hint: hint)
        }
    }
}

/// Does what an interrupted program left undone in a folder, so that files that belong together are all old or all new.
/// Every reader of such files calls it first.
package func finishInterruptedWrites(in folder: String) throws { try Journal.finish(in: folder) }
