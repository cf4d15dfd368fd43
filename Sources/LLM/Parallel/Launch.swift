// Whether this process is one of several that mpirun or srun has started: the launcher says so in the environment.

/// A process's place among those that a launcher has started together.
package struct Launch: Equatable {
    /// Whose launcher it is, as far as its variables say.
    package enum Launcher { case openMPI, mpich, other }

    package let launcher: Launcher
    package let rank: Int
    /// nil where the launcher does not say.
    package let size: Int?

    /// The variables of launchers: which process this is, and of how many.
    private static let variables: [(launcher: Launcher, rank: String, size: String)] = [
        (.openMPI, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        (.mpich, "PMI_RANK", "PMI_SIZE"),  // and Intel's, Cray's and MVAPICH's
        // Slurm's srun --mpi=pmix. Slurm's own numbers are not enough: a batch script has them, too.
        (.other, "PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
    ]

    /// nil for a process that was started by itself.
    package init?(environment: [String: String]) {
        for (launcher, rankName, sizeName) in Launch.variables {
            guard let rank = environment[rankName].flatMap({ Int($0) }) else { continue }
            let size = environment[sizeName].flatMap { Int($0) }
            guard size != 1 else { return nil }
            (self.launcher, self.rank, self.size) = (launcher, rank, size)
            return
        }
        return nil
    }
    /// How many processes srun has started without MPI, as it does where nobody says --mpi: each would train alone. 1 if
    /// it has not; called where there is no launch.
    package static func aloneUnderSlurm(environment: [String: String]) -> Int {
        environment["SLURM_STEP_NUM_TASKS"].flatMap { Int($0) } ?? 1
    }
}
