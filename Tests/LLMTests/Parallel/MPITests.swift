// What is read from launchers and libraries; the messages themselves are tested by dev/test_mpi.sh.

import LLM
import Testing

@Test func `a launcher says which process this is`() {
    #expect(Launch(environment: [:]) == nil)
    let openMPI = Launch(environment: ["OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "PMIX_RANK": "3"])
    #expect(openMPI?.launcher == .openMPI && openMPI?.rank == 3 && openMPI?.size == 8)
    let hydra = Launch(environment: ["PMI_RANK": "0", "PMI_SIZE": "2"])
    #expect(hydra?.launcher == .mpich && hydra?.rank == 0 && hydra?.size == 2)
    let slurm = Launch(environment: ["PMIX_RANK": "1", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"])
    #expect(slurm?.launcher == .other && slurm?.rank == 1 && slurm?.size == 2)
    #expect(Launch(environment: ["PMIX_RANK": "1"])?.size == nil)
    // One process needs no library, and a batch script of Slurm's is not one of its tasks.
    #expect(Launch(environment: ["OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"]) == nil)
    #expect(Launch(environment: ["SLURM_PROCID": "0", "SLURM_NTASKS": "8"]) == nil)
    #expect(Launch.aloneUnderSlurm(environment: ["SLURM_PROCID": "0", "SLURM_NTASKS": "8"]) == 1)
    // srun without --mpi starts processes that do not know each other.
    #expect(Launch.aloneUnderSlurm(environment: ["SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8"]) == 8)
}

@Test func `a library is known by what it says`() {
    let mpich = "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7 12:34:45 CDT 2022\n"
    let openMPI = "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022"
    func family(_ abi: Int?, _ symbols: Bool, _ version: String) -> MPIFamily? {
        MPIFamily(abiVersion: abi, hasOpenMPISymbols: symbols, version: version)
    }
    #expect(family(nil, true, openMPI) == .openMPI)
    #expect(family(nil, false, mpich) == .mpich)
    #expect(family(-1, false, mpich) == .mpich, "MPICH 5's own library has the standard's question, too")
    #expect(family(1, false, mpich) == .standard)
    #expect(family(1, true, openMPI) == .standard)
    #expect(family(nil, false, "Intel(R) MPI Library 2021.9 for Linux* OS\n") == .mpich)
    #expect(family(nil, false, "another one 1.0") == nil)
    #expect(MPI.shortName(ofVersion: openMPI) == "Open MPI 4.1.4")
    #expect(MPI.shortName(ofVersion: mpich) == "MPICH 4.0.2")
    #expect(MPI.shortName(ofVersion: "Intel(R) MPI Library 2021.9 for Linux* OS\n").hasPrefix("Intel(R) MPI Library"))
}

@Test func `constants are a family's`() {
    let symbols: [String: Int] = ["ompi_mpi_comm_world": 0x7000, "ompi_mpi_byte": 0x8000]
    func constants(_ family: MPIFamily) -> MPIConstants? {
        MPIConstants(family) { name in symbols[name].flatMap { UnsafeMutableRawPointer(bitPattern: $0) } }
    }
    #expect(constants(.openMPI)?.world == 0x7000 && constants(.openMPI)?.byte == 0x8000)
    #expect(constants(.openMPI)?.ignoredStatus == 0 && constants(.openMPI)?.threadSerialized == 2)
    #expect(MPIConstants(.openMPI) { _ in nil } == nil, "without its symbols it is none")
    #expect(constants(.mpich)?.world == 0x4400_0000 && constants(.mpich)?.byte == 0x4c00_010d)
    #expect(constants(.mpich)?.ignoredStatus == 1 && constants(.mpich)?.threadSerialized == 2)
    #expect(constants(.standard)?.world == 0x101 && constants(.standard)?.byte == 0x247)
    #expect(constants(.standard)?.ignoredStatus == 0 && constants(.standard)?.threadSerialized == 2048)
}

@Test func `the launcher's library is looked for first, and a given one alone`() {
    #expect(MPI.libraries(for: .openMPI, given: nil).first?.contains("40") == true)
    #expect(MPI.libraries(for: .mpich, given: nil).first?.contains("abi") == true)
    #expect(MPI.libraries(for: .other, given: "/opt/libmpi.so") == ["/opt/libmpi.so"])
}

@Test func `ranks that differ are refused, and what is wrong with one is said`() {
    typealias Fields = [Ranks.Field]
    let fields: Fields = [("version", "1"), ("--seed", "42"), ("model", "ab")]
    #expect(Ranks.refusal([fields, fields, fields]) == nil)
    func message(_ change: Fields) -> String? { Ranks.refusal([fields, fields, change])?.message }
    #expect(message([("version", "2"), fields[1], fields[2]]) == "rank 2 has another version than rank 0: 2, not 1")
    #expect(message([fields[0], ("--seed", "7"), fields[2]]) == "rank 2 has --seed 7, and rank 0 42")
    #expect(message([fields[0], fields[2]]) == "rank 2 has --seed not given, and rank 0 42")
    #expect(message(fields + [("--minutes", "3")]) == "rank 2 has --minutes 3, and rank 0 not given")
    #expect(message([fields[0], fields[1], ("model", "cd")]) == "rank 2 has another model than rank 0")
    let wrong: Fields = [("error", "no file"), ("hint", "make one"), ("code", "2")]
    #expect(Ranks.refusal([fields, wrong]) == UserError("rank 1: no file", hint: "make one", exitCode: 2))
    #expect(Ranks.refusal([wrong, fields]) == UserError("no file", hint: "make one", exitCode: 2))
}
