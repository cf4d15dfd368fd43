// MPI, the interface by which programs on many machines send each other messages, opened at run time: without its headers,
// and without a package to build against. (The MPI Forum: A Message-Passing Interface Standard, 3.1, 4.1 and 5.0.)
//
// The libraries have the same functions and differ in their constants: what a header calls MPI_COMM_WORLD is an address
// in Open MPI, and one of two numbers in the others. That is all there is to know, and it is in one table below. Of MPI's
// four hundred functions nine are needed, because only bytes are sent: what is added, and in which order, is up to us
// (GradientSum.swift).

import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// The libraries whose constants are the same.
package enum MPIFamily: String {
    /// Open MPI, 4 and 5.
    case openMPI
    /// MPICH 4, Intel MPI, MVAPICH and Cray MPICH.
    case mpich
    /// The binary interface of the MPI 5.0 standard.
    case standard

    /// - Parameters:
    ///   - abiVersion: the major number that MPI_Abi_get_version gives; nil if the library does not have it. (MPICH 5
    ///     has it in its own library, too, and gives −1 there.)
    ///   - hasOpenMPISymbols: whether there is a symbol `ompi_mpi_comm_world`.
    ///   - version: what MPI_Get_library_version gives.
    package init?(abiVersion: Int?, hasOpenMPISymbols: Bool, version: String) {
        if let abiVersion, abiVersion >= 1 {
            self = .standard
        } else if hasOpenMPISymbols {
            self = .openMPI
        } else if ["MPICH", "Intel(R) MPI", "MVAPICH", "CRAY"].contains(where: { version.contains($0) }) {
            self = .mpich
        } else {
            return nil
        }
    }
}

/// What the headers of a family define. A handle is 64 bits wide here: where it is an int, the callee reads its lower
/// half.
package struct MPIConstants {
    package typealias Handle = Int

    package let world, byte, ignoredStatus: Handle
    package let threadSerialized: Int32

    /// - Parameter symbol: the address of a symbol of the library.
    package init?(_ family: MPIFamily, symbol: (String) -> UnsafeMutableRawPointer?) {
        switch family {
        case .openMPI:
            guard let world = symbol("ompi_mpi_comm_world"), let byte = symbol("ompi_mpi_byte") else { return nil }
            self.init(world: Int(bitPattern: world), byte: Int(bitPattern: byte), ignored: 0, serialized: 2)
        //                         MPI_COMM_WORLD      MPI_BYTE          MPI_STATUS_IGNORE   MPI_THREAD_SERIALIZED
        case .mpich: self.init(world: 0x4400_0000, byte: 0x4c00_010d, ignored: 1, serialized: 2)
        case .standard: self.init(world: 0x101, byte: 0x247, ignored: 0, serialized: 2048)
        }
    }

    private init(world: Handle, byte: Handle, ignored: Handle, serialized: Int32) {
        (self.world, self.byte, ignoredStatus, threadSerialized) = (world, byte, ignored, serialized)
    }
}

/// An MPI library, opened and started. One thread at a time calls it.
package final class MPI {
    package let rank: Int
    package let size: Int
    /// `Open MPI 4.1.4`.
    package let name: String
    /// Whether another thread than the one that has opened it may call it.
    package let allowsThreads: Bool
    private let constants: MPIConstants
    private let functions: Functions

    /// The environment variable that names the library.
    package static let variable = "LLM_MPI"

    /// The files to try, in this order.
    package static func libraries(for launcher: Launch.Launcher, given: String?) -> [String] {
        if let given { return [given] }
        #if canImport(Darwin)
            let openMPI = ["libmpi.40.dylib", "libmpi.dylib"]
            let (mpich, standard) = (["libmpi.12.dylib", "libmpi.dylib"], ["libmpi_abi.1.dylib"])
            let folders = ["", "/opt/homebrew/lib/", "/usr/local/lib/"]
        #else
            let openMPI = ["libmpi.so.40", "libmpi.so"]
            let (mpich, standard) = (["libmpi.so.12", "libmpich.so.12", "libmpi.so"], ["libmpi_abi.so.1"])
            let folders = [""]
        #endif
        let names =
            switch launcher {
            case .openMPI: openMPI + standard
            case .mpich: standard + mpich
            case .other: standard + openMPI + mpich
            }
        return names.flatMap { name in folders.map { $0 + name } }
    }

    /// Opens the library of a launcher and joins its other processes.
    /// - Throws: if there is none, or if it belongs to another launcher: then every process would be alone in it.
    package init(_ launch: Launch, environment: [String: String]) throws {
        let given = environment[MPI.variable]
        let names = MPI.libraries(for: launch.launcher, given: given)
        let processes = launch.size.map { "\($0) processes" } ?? "several processes"
        // Open MPI loads parts of itself that look for its symbols among all.
        let library = names.lazy.compactMap { dlopen($0, RTLD_NOW | RTLD_GLOBAL) }.first
        let example = "\(MPI.variable)=/…/\(MPI.libraries(for: launch.launcher, given: nil)[0])"
        guard let library else {
            let reason = dlerror().map { String(cString: $0) } ?? ""
            throw UserError(
                "\(processes) were started together, and "
                    + (given == nil
                        ? "there is no MPI library here: none of \(names.joined(separator: ", "))"
                        : "the library that \(MPI.variable) names cannot be opened: \(reason)"),
                hint: given == nil
                    ? "install the launcher's (Debian: openmpi-bin or mpich), or name its file: \(example)"
                    : "name the launcher's MPI library, such as \(example), or leave \(MPI.variable) out")
        }
        let version = try MPI.version(library)
        let family = MPIFamily(
            abiVersion: MPI.abiVersion(library), hasOpenMPISymbols: dlsym(library, "ompi_mpi_comm_world") != nil,
            version: version)
        guard let family, let constants = MPIConstants(family, symbol: { dlsym(library, $0) }) else {
            throw UserError(
                "an unknown MPI library: \(MPI.shortName(ofVersion: version))",
                hint: "Open MPI, MPICH and its relatives are known, and libraries with the MPI 5 standard's binary "
                    + "interface: name one by \(example)")
        }
        self.constants = constants
        functions = try Functions(library)
        name = MPI.shortName(ofVersion: version)
        var provided: Int32 = 0
        var (rank, size): (Int32, Int32) = (0, 0)
        guard functions.initialize(nil, nil, constants.threadSerialized, &provided) == 0,
            functions.rank(constants.world, &rank) == 0, functions.size(constants.world, &size) == 0
        else { throw UserError("\(name) did not start", hint: "does mpirun start anything else here?") }
        allowsThreads = provided >= constants.threadSerialized
        (self.rank, self.size) = (Int(rank), Int(size))
        guard self.size == launch.size ?? self.size, self.size > 1 || launch.size != nil else {
            throw UserError(
                "\(name) sees \(size) of the \(processes) that were started together",
                hint: "the library is not the launcher's: name that one by \(example), or take the library's own mpirun"
            )
        }
    }

    /// Ends the use of the library; all processes do.
    package func finalize() { _ = functions.finalize() }

    /// Ends all processes at once.
    package func abort(exitCode: Int32) -> Never {
        _ = functions.abort(constants.world, exitCode)
        exit(exitCode)
    }

    // MARK: - messages

    /// Bytes for another process, or from it. Between two processes messages keep their order.
    package enum Message {
        case send(UnsafeRawPointer, bytes: Int, to: Int)
        case receive(UnsafeMutableRawPointer, bytes: Int, from: Int)
    }

    /// Sends and receives these, all at the same time, and returns when they have arrived and left.
    ///
    /// It asks again and again whether they have, and sleeps in between: the libraries' own way to wait keeps a core
    /// busy, which is needed for computing here. Many questions between two naps, because over TCP the bytes move only
    /// when the library is asked, some kilobytes at a time.
    /// - Parameters:
    ///   - isUrgent: whether somebody waits for it, and the core has nothing else to do. Then it does not sleep.
    ///   - everySecond: is called while it takes long.
    package func exchange(_ messages: [Message], isUrgent: () -> Bool, everySecond: () -> Void = {}) {
        var open: [UInt64] = []  // as large as the largest request there is
        for message in messages {
            var request: UInt64 = 0
            let code: Int32
            switch message {
            case .send(let start, let bytes, let rank):
                code = functions.send(
                    start, Int32(bytes), constants.byte, Int32(rank), 0, constants.world, &request)
            case .receive(let start, let bytes, let rank):
                code = functions.receive(
                    start, Int32(bytes), constants.byte, Int32(rank), 0, constants.world, &request)
            }
            check(code)
            open.append(request)
        }
        let start = now()
        var seconds = 1.0
        while true {
            for _ in 0..<16 {
                open.removeAll { isDone($0) }
                if open.isEmpty { return }
            }
            if isUrgent() { sched_yield() } else { usleep(50) }
            let time = now() - start
            if time > seconds {
                everySecond()
                seconds = time + 1
            }
        }
    }

    private func isDone(_ open: UInt64) -> Bool {
        var (request, done): (UInt64, Int32) = (open, 0)
        check(functions.test(&request, &done, constants.ignoredStatus))
        return done != 0
    }

    /// The libraries end the program themselves when something fails. This is for one that was told not to.
    private func check(_ code: Int32) {
        guard code != 0 else { return }
        note("error: \(name) failed with code \(code)")
        abort(exitCode: 1)
    }

    // MARK: - the library

    private typealias Handle = MPIConstants.Handle

    /// The functions that are used.
    private struct Functions {
        let initialize:
            @convention(c) (UnsafeRawPointer?, UnsafeRawPointer?, Int32, UnsafeMutablePointer<Int32>) -> Int32
        let rank, size: @convention(c) (Handle, UnsafeMutablePointer<Int32>) -> Int32
        let send:
            @convention(c) (UnsafeRawPointer, Int32, Handle, Int32, Int32, Handle, UnsafeMutableRawPointer) -> Int32
        let receive:
            @convention(c) (UnsafeMutableRawPointer, Int32, Handle, Int32, Int32, Handle, UnsafeMutableRawPointer)
                -> Int32
        let test: @convention(c) (UnsafeMutableRawPointer, UnsafeMutablePointer<Int32>, Handle) -> Int32
        let abort: @convention(c) (Handle, Int32) -> Int32
        let finalize: @convention(c) () -> Int32

        init(_ library: UnsafeMutableRawPointer) throws {
            initialize = try find("MPI_Init_thread", in: library)
            rank = try find("MPI_Comm_rank", in: library)
            size = try find("MPI_Comm_size", in: library)
            send = try find("MPI_Isend", in: library)
            receive = try find("MPI_Irecv", in: library)
            test = try find("MPI_Test", in: library)
            abort = try find("MPI_Abort", in: library)
            finalize = try find("MPI_Finalize", in: library)
        }
    }

    /// What the library says it is; it may be asked before it is started.
    private static func version(_ library: UnsafeMutableRawPointer) throws -> String {
        let ask: @convention(c) (UnsafeMutablePointer<CChar>, UnsafeMutablePointer<Int32>) -> Int32 = try find(
            "MPI_Get_library_version", in: library)
        var text = [CChar](repeating: 0, count: 8193)  // MPI 5 allows 8192, the others less
        var length: Int32 = 0
        guard ask(&text, &length) == 0 else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func abiVersion(_ library: UnsafeMutableRawPointer) -> Int? {
        typealias Ask = @convention(c) (UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>) -> Int32
        guard let ask: Ask = try? find("MPI_Abi_get_version", in: library) else { return nil }
        var (major, minor): (Int32, Int32) = (-1, -1)
        return ask(&major, &minor) == 0 ? Int(major) : -1
    }

    /// A library's name and number, out of what it says about itself: `Open MPI 4.1.4` out of `Open MPI v4.1.4, package:
    /// …`, and `MPICH 4.0.2` out of `MPICH Version:\t4.0.2\n…`.
    package static func shortName(ofVersion version: String) -> String {
        let line = version.prefix { $0 != "\n" && $0 != "," }.replacingOccurrences(of: "Version:", with: "")
        let words = line.split(whereSeparator: \.isWhitespace).map { word in
            word.hasPrefix("v") && word.dropFirst().first?.isNumber == true ? word.dropFirst() : word
        }
        return words.joined(separator: " ")
    }
}

/// A function of a library.
private func find<Function>(_ name: String, in library: UnsafeMutableRawPointer) throws -> Function {
    guard let address = dlsym(library, name) else {
        throw UserError(
            "the MPI library has no \(name)", hint: "name another library by \(MPI.variable)=FILE: MPI 3 or later")
    }
    return unsafeBitCast(address, to: Function.self)
}
