#!/usr/bin/env bash
# A training step over a network of one's own: each rank in a network namespace, its link shaped to a rate in both
# directions. Prints the median step and how long a rank waited in it: what machines.py calculates. As root, on Linux,
# with iproute2 and MPICH over UCX (Debian's mpich), and on an idle machine with a core for each rank.
#
# usage: dev/bench/mpi_network.sh RANKS RATE train_gpt2 OPTIONS…        such as 2 1gbit ./train_gpt2 -i SHARDS --threads 1
set -euo pipefail
ranks=$1 rate=$2
shift 2

down() {
    for i in $(seq 0 $((ranks - 1))); do
        ip netns del "llm$i" 2>/dev/null || true
        ip link del "llmv$i" 2>/dev/null || true
    done
    ip link del llmbridge 2>/dev/null || true
}
trap down EXIT
down
ip link add llmbridge type bridge
ip link set llmbridge up
command=()
for i in $(seq 0 $((ranks - 1))); do
    ip netns add "llm$i"
    ip link add "llmv$i" type veth peer name eth0 netns "llm$i"
    ip link set "llmv$i" master llmbridge up
    ip netns exec "llm$i" ip addr add "10.77.0.$((i + 1))/24" dev eth0
    ip netns exec "llm$i" ip link set eth0 up
    ip netns exec "llm$i" ip link set lo up
    tc qdisc add dev "llmv$i" root tbf rate "$rate" burst 256kb latency 50ms
    ip netns exec "llm$i" tc qdisc add dev eth0 root tbf rate "$rate" burst 256kb latency 50ms
    [ "$i" -eq 0 ] || command+=(:)
    command+=(-n 1 ip netns exec "llm$i" "$@" --log-every 1)
done
# No shared memory: the ranks are to believe that they are on different machines.
export MPIR_CVAR_NOLOCAL=1 UCX_TLS=tcp,self UCX_NET_DEVICES=eth0
mpirun.mpich "${command[@]}" 2>&1 | awk '
    /^step/ {
        for (i = 1; i <= NF; i++) { if ($i == "ms") time = $(i - 1); if ($i == "waiting") share = $(i - 1) + 0 }
        if (++n > 2) print time, time * share / 100
        next
    }
    { print > "/dev/stderr" }' | sort -n | awk '
    { step[NR] = $1; waiting[NR] = $2 }
    END { i = int((NR + 1) / 2); printf "step %.0f ms, waiting %.0f ms\n", step[i], waiting[i]; exit NR == 0 }'
