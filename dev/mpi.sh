# What the scripts that test runs under mpirun share: sourced, with $folder, where what a run prints goes to.

# In a container one is root, and there may be fewer cores than ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

fail() {
    echo "error: $*"
    tail -n 20 "$folder/output" "$folder/errors" 2>/dev/null || true
    exit 1
}

# The mpirun of a library: Debian's name, or the plain one if it says that it is.
launcher() {
    for name in "mpirun.$1" mpirun; do
        command -v "$name" >/dev/null || continue
        case $1:$("$name" --version 2>/dev/null || true) in
            openmpi:*"Open MPI"* | openmpi:*OpenRTE* | mpich:*HYDRA* | mpich:*MPICH*) echo "$name" && return ;;
        esac
    done
}

# Sets $mpirun, the command that starts ranks with $library; says so if there is none.
find_mpirun() {
    mpirun=$(launcher "$library")
    [ -n "$mpirun" ] || {
        echo "$library: skipped, it has no mpirun here"
        return 1
    }
    [ "$library" != openmpi ] || mpirun="$mpirun --map-by :OVERSUBSCRIBE --bind-to none"
}

# run RANKS COMMAND…: on so many ranks with $mpirun; 0 is without it.
run() {
    local start=
    [ "$1" -eq 0 ] || start="$mpirun -n $1"
    shift
    $start "$@" >"$folder/output" 2>"$folder/errors" </dev/null
}

# Like run, and it must end well.
train() { run "$@" || fail "$* ended with code $?"; }
