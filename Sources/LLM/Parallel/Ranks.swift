// The processes that train one model together, each with its own share of every batch (data parallelism). A process is
// called by its rank, 0..<size, as in MPI. Rank 0 speaks, writes and decides nothing alone: whatever could differ
// between processes is exchanged first, so all of them go the same way through the program.
//
// The page that explains it is dev/doc/many-machines.md.

import Foundation
import Kernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The processes of this run. `runOnAllRanks` sets it, once.
package private(set) nonisolated(unsafe) var ranks = Ranks()

/// The processes that train together; one, if the program was started without a launcher.
package final class Ranks {
    package let rank: Int
    package let size: Int
    package var isFirst: Bool { rank == 0 }
    /// Those on this machine.
    package let here: Int
    /// Computers.
    private var machines = 1
    private let mpi: MPI?
    /// The others on this machine, as the system counts them.
    private let processes: [(rank: Int, process: pid_t)]
    /// The seconds that were spent waiting for other ranks.
    package private(set) var waited = 0.0
    /// Whether every rank is known to do the same. Until then each says what is wrong with it when they meet.
    private var areTraining = false

    /// A process alone.
    fileprivate init() { (rank, size, here, mpi, processes) = (0, 1, 1, nil, []) }

    fileprivate init(_ launch: Launch, environment: [String: String]) throws {
        let mpi = try MPI(launch, environment: environment)
        (self.mpi, rank, size) = (mpi, mpi.rank, mpi.size)
        let neighbours = Ranks.gather(Array("\(getpid()) \(hostName())".utf8), mpi).map { text in
            String(decoding: text, as: UTF8.self).split(separator: " ", maxSplits: 1)
        }
        let names = neighbours.map { $0.last ?? "" }
        here = names.count { $0 == names[mpi.rank] }
        machines = Set(names).count
        // A container may hide them.
        processes = neighbours.indices.filter { $0 != mpi.rank && names[$0] == names[mpi.rank] }.compactMap { other in
            neighbours[other].first.flatMap { pid_t($0) }.map { (other, $0) }
        }.filter { kill($0.process, 0) == 0 }
        let share = max(1, coreCount / here)
        let allowed = allowedCores()
        useThreads(min(share, allowed))
        if allowed < share {
            note(
                "note: the launcher binds a rank to \(allowed) of the \(share) cores that are its share; mpirun --bind-to "
                    + "none gives it all")
        }
    }

    /// `2 ranks over Open MPI 4.1.4 on 1 machine`; nil for a process alone.
    package var summary: String? {
        guard let mpi else { return nil }
        return "\(size) ranks over \(mpi.name) on \(machines) machine\(machines == 1 ? "" : "s")"
    }

    // MARK: - who does what

    /// The part of `count` that a rank computes: as many each, one rank's after another's.
    package func share(of count: Int) -> Range<Int> { rank * count / size..<(rank + 1) * count / size }

    // MARK: - what all have to know

    /// What each rank has, by rank. All ranks call it together, as they do everything that exchanges.
    package func gather(_ bytes: [UInt8]) -> [[UInt8]] {
        guard let mpi else { return [bytes] }
        return waiting { Ranks.gather(bytes, mpi, endIfAlone) }
    }

    package func gather(_ numbers: [Double]) -> [[Double]] {
        guard size > 1 else { return [numbers] }
        return gather(numbers.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { bytes in
                stride(from: 0, to: bytes.count, by: 8).map { bytes.loadUnaligned(fromByteOffset: $0, as: Double.self) }
            }
        }
    }

    /// Whether it is so on any rank.
    package func any(_ isSo: Bool) -> Bool {
        size == 1 ? isSo : gather([isSo ? 1 : 0] as [UInt8]).contains([1])
    }

    private static func gather(_ bytes: [UInt8], _ mpi: MPI, _ everySecond: () -> Void = {}) -> [[UInt8]] {
        let others = (0..<mpi.size).filter { $0 != mpi.rank }
        /// As many bytes from each rank as `counts` says.
        func exchange(_ bytes: [UInt8], counts: [Int]) -> [[UInt8]] {
            let starts = counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
            var all = [UInt8](repeating: 0, count: starts[mpi.size])
            all.withUnsafeMutableBytes { all in
                bytes.withUnsafeBytes { bytes in
                    // An empty array may have no place, and nothing is sent of it.
                    guard let base = all.baseAddress else { return }
                    var messages: [MPI.Message] = others.filter { counts[$0] > 0 }.map {
                        .receive(base + starts[$0], bytes: counts[$0], from: $0)
                    }
                    if let own = bytes.baseAddress, !bytes.isEmpty {
                        messages += others.map { .send(own, bytes: bytes.count, to: $0) }
                    }
                    // It may take long: rank 0 writes a checkpoint.
                    let start = now()
                    mpi.exchange(messages, isUrgent: { now() - start < 0.005 }, everySecond: everySecond)
                }
            }
            return (0..<mpi.size).map { $0 == mpi.rank ? bytes : Array(all[starts[$0]..<starts[$0 + 1]]) }
        }
        let count = withUnsafeBytes(of: Int64(bytes.count).littleEndian) { Array($0) }
        let counts = exchange(count, counts: Array(repeating: 8, count: mpi.size)).map { count in
            count.reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        return exchange(bytes, counts: counts)
    }

    /// Sends and receives messages; from one thread at a time.
    func exchange(_ messages: [MPI.Message], isUrgent: () -> Bool) {
        mpi?.exchange(messages, isUrgent: isUrgent, everySecond: endIfAlone)
    }

    /// Ends this rank if another one has died. The launchers end all, too, but Open MPI's asks the others to stop first,
    /// and they would wait for the dead one as long as it lets them. MPI_Abort would wait for the launcher.
    private func endIfAlone() {
        guard let dead = processes.first(where: { kill($0.process, 0) != 0 && errno == ESRCH }) else { return }
        speaks = true
        report(
            UserError(
                "rank \(dead.rank) has died",
                hint: "continue from the last checkpoint with -y 1, under mpirun as before"))
        _exit(1)
    }

    /// Whether that may be another thread than the main one.
    var mayExchangeBeside: Bool { mpi?.allowsThreads ?? false }

    /// Measures how long this rank waits.
    func waiting<Result>(_ body: () -> Result) -> Result {
        let start = now()
        defer { waited += now() - start }
        return body()
    }

    // MARK: - beginning and end

    /// Something that has to be the same on all ranks.
    package typealias Field = (name: String, value: String)

    /// Waits until all ranks have come so far.
    /// - Throws: on all ranks, if something was wrong on any.
    package func meet() throws { try meet([], nil) }

    /// Waits until all ranks are ready to train.
    /// - Parameter fields: what has to be the same, with the same names in the same order.
    /// - Throws: on all ranks, if something was wrong on any, or is another than on rank 0.
    package func meetToTrain(_ fields: [Field]) throws {
        try meet(fields, nil)
        areTraining = true
    }

    private func meet(_ fields: [Field], _ error: UserError?) throws {
        guard size > 1 else { return }
        var fields = fields
        if let error { fields = [("error", error.message), ("hint", error.hint), ("code", "\(error.exitCode)")] }
        let text = fields.map { "\($0.name)\u{1f}\($0.value)" }.joined(separator: "\u{1e}")
        let all = gather(Array(text.utf8)).map { Ranks.fields(String(decoding: $0, as: UTF8.self)) }
        if let refusal = Ranks.refusal(all) { throw Agreed(error: refusal) }
    }

    private static func fields(_ text: String) -> [Field] {
        text.split(separator: "\u{1e}").map { line in
            let parts = line.split(separator: "\u{1f}", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
    }

    /// What is wrong between ranks that have met; nil if they may go on.
    /// - Parameter all: by rank.
    package static func refusal(_ all: [[Field]]) -> UserError? {
        func value(_ fields: [Field], _ name: String) -> String? { fields.first { $0.name == name }?.value }
        for (rank, fields) in all.enumerated() {
            guard let message = value(fields, "error") else { continue }
            return UserError(
                rank == 0 ? message : "rank \(rank): \(message)", hint: value(fields, "hint") ?? "",
                exitCode: value(fields, "code").flatMap { Int32($0) } ?? 1)
        }
        for (rank, fields) in all.enumerated() where rank > 0 {
            for name in (all[0] + fields).map(\.name) {
                let (first, this) = (value(all[0], name), value(fields, name))
                guard first != this else { continue }
                let isOption = name.hasPrefix("--")
                return UserError(
                    isOption
                        ? "rank \(rank) has \(name) \(this ?? "not given"), and rank 0 \(first ?? "not given")"
                        : "rank \(rank) has another \(name) than rank 0"
                            + (Int(first ?? "") != nil || name == "version"
                                ? ": \(this ?? ""), not \(first ?? "")" : ""),
                    hint:
                        "start the same program on all machines, with the same options, data and model (a folder that "
                        + "they share is the simplest)")
            }
        }
        return nil
    }

    /// An error that all ranks know of, and end with.
    private struct Agreed: Error { let error: UserError }

    /// Takes leave, after everything went well.
    fileprivate func leave() { mpi?.finalize() }

    /// Ends this process because of an error, and the others with it.
    fileprivate func end(_ error: any Error) -> Never {
        var agreed = (error as? Agreed)?.error
        if agreed == nil, !areTraining {
            // The others learn of it where they are to meet next.
            do { try meet([], known(error)) } catch { agreed = (error as? Agreed)?.error }
        }
        // Ctrl-C is something that all have agreed on, too (Trainer.swift).
        if let last = agreed ?? (known(error).exitCode == 130 ? known(error) : nil) {
            report(last)
            try? meet()  // or the launcher would end rank 0 before it has spoken
            mpi?.finalize()
            exit(last.exitCode)
        }
        // What happens on all happens on rank 0, too, and it is enough to hear it once.
        if !isFirst { sleep(2) }
        speaks = true
        let last = known(error)
        report(isFirst ? last : UserError("rank \(rank): \(last.message)", hint: last.hint, exitCode: last.exitCode))
        fflush(nil)
        mpi?.abort(exitCode: last.exitCode)
        exit(last.exitCode)
    }
}

/// The frame of a program that may be started several times by mpirun, to train together: what `runReportingErrors` is
/// for the others. Only rank 0 speaks.
package func runOnAllRanks(_ body: () throws -> Void) {
    let environment = ProcessInfo.processInfo.environment
    let asks = ["--help", "--version"].contains { CommandLine.arguments.contains($0) }
    guard let launch = Launch(environment: environment) else {
        let count = Launch.aloneUnderSlurm(environment: environment)
        if count <= 1 || asks { return runReportingErrors(body) }
        // The first one says it, before srun may end all because one has failed.
        if environment["SLURM_PROCID"] != "0" {
            sleep(2)
            exit(1)
        }
        return runReportingErrors {
            throw UserError(
                "srun has started \(count) processes without MPI: each would train alone",
                hint:
                    "srun --mpi=pmix, or what srun --mpi=list offers; for runs that have nothing to do with each other: "
                    + "env -u SLURM_STEP_NUM_TASKS \(programName()) …")
        }
    }
    if launch.rank > 0 {
        speaks = false
        let nowhere = FileCalls.open("/dev/null", O_WRONLY)
        if nowhere >= 0 { dup2(nowhere, STDOUT_FILENO) }
        if asks { return }
    }
    if asks { return runReportingErrors(body) }
    runReportingErrors {
        do {
            ranks = try Ranks(launch, environment: environment)
        } catch {
            // Rank 0 says it, where all have the same to say; then the launcher ends the others.
            if launch.rank > 0 { sleep(2) }
            speaks = true
            throw error
        }
        do {
            try body()
            ranks.leave()
        } catch {
            ranks.end(error)
        }
    }
}

/// The computer's name, as it says itself. (Foundation asks the network for it, which may take half a minute to answer.)
private func hostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// The cores that this process may use.
private func allowedCores() -> Int {
    #if os(Linux)
        // `Cpus_allowed:	00000000,000000ff`, a bit for each.
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed:") }
        let count = (line ?? "").drop { $0 != ":" }.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
        return count > 0 ? count : coreCount
    #else
        return coreCount
    #endif
}
