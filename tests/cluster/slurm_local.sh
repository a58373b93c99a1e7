#!/usr/bin/env bash
# A Slurm cluster of two nodes (or more) on this one machine: the daemons, queue and commands are real, the nodes share a host.
#   slurm_local.sh start DIR [NODES] [CPUS]   then: export SLURM_CONF=DIR/slurm.conf
#   slurm_local.sh stop DIR
# Needs root and Debian's slurm-wlm and munge. Everything is written below DIR, but for munge's socket in /run/munge.
set -euo pipefail

# Ports of this cluster alone: several can live side by side. Below those that the system hands out to whoever asks for
# any, since it is a moment until the daemons listen at them.
ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
first = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
held = []
while len(held) < int(sys.argv[1]):
    each = socket.socket()
    try:
        each.bind(("", random.randrange(25_000, first if first > 26_000 else 32_768)))
    except OSError:  # somebody has it
        continue
    held.append(each)
print(*(each.getsockname()[1] for each in held))
PYTHON
}

start() {
    local dir=$1 nodes=$2 cpus=$3 host memory port
    mkdir -p "$dir/state" "$dir/log"
    host=$(hostname -s)
    memory=$(awk -v nodes="$nodes" '/MemTotal/ {print int($2 / 1024 / nodes * 0.9)}' /proc/meminfo)
    read -r -a port <<<"$(ports $((nodes + 1)))"
    # Jobs of several processes meet at port 15000 + the last four digits of their number: clusters count from elsewhere.
    # A job that is requeued begins again cred_expire later. By then its first srun must have given its step up, which
    # takes KillWait and two seconds: it would end the step of that number, which is the new one.
    cat >"$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${port[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=15
KillWait=10
MinJobAge=3600
FirstJobId=$((RANDOM % 9000 + 1))
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobRequeue=1
ReturnToService=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    for ((node = 1; node <= nodes; node++)); do
        mkdir -p "$dir/spool.n$node"
        printf 'NodeName=n%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=%d RealMemory=%d State=UNKNOWN\n' \
            "$node" "$host" "${port[node]}" "$cpus" "$memory" >>"$dir/slurm.conf"
    done
    export SLURM_CONF="$dir/slurm.conf"
    mkdir -p /run/munge
    exec 9>/run/munge/slurm_local.lock # clusters share munge, and may start and stop at the same time
    flock 9
    if ! munge -n >/dev/null 2>&1; then
        chown munge: /run/munge
        su munge -s /bin/sh -c /usr/sbin/munged 9>&-
        touch /run/munge/slurm_local.started
    fi
    slurmctld -f "$SLURM_CONF" 9>&-
    exec 9>&-
    for ((node = 1; node <= nodes; node++)); do slurmd -f "$SLURM_CONF" -N "n$node"; done
    for _ in $(seq 480); do # two minutes, on a machine that is busy
        if [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$nodes" ]; then return; fi
        sleep 0.25
    done
    echo "slurm_local.sh: the nodes did not come up" >&2
    tail -n 5 "$dir"/log/*.log >&2
    return 1
}

stop() {
    local file daemon
    exec 9>/run/munge/slurm_local.lock
    flock 9
    for file in "$1"/slurmd.*.pid "$1"/slurmctld.pid; do
        if [ -f "$file" ]; then kill "$(cat "$file")" 2>/dev/null || true; fi
    done
    for _ in $(seq 40); do # the last cluster takes along what the first one started
        if ! [ -f "$1/slurmctld.pid" ] || ! kill -0 "$(cat "$1/slurmctld.pid")" 2>/dev/null; then break; fi
        sleep 0.25
    done
    if [ -f /run/munge/slurm_local.started ] && ! pgrep -x slurmctld >/dev/null; then
        rm /run/munge/slurm_local.started
        daemon=$(cat /run/munge/munged.pid)
        kill "$daemon" 2>/dev/null || true
        for _ in $(seq 40); do # who starts next asks whether there is one
            if ! kill -0 "$daemon" 2>/dev/null; then break; fi
            sleep 0.25
        done
    fi
}

case ${1:-} in
    start) start "$(realpath -m "${2:?a folder}")" "${3:-2}" "${4:-1}" ;;
    stop) stop "$(realpath -m "${2:?a folder}")" ;;
    *) echo "usage: slurm_local.sh start DIR [NODES] [CPUS] | stop DIR" >&2; exit 2 ;;
esac
