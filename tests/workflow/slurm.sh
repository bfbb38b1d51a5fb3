#!/usr/bin/env bash
# A real Slurm on loopback, without accounting, munge or root-owned folders, from Debian's packages:
#   tests/workflow/slurm.sh up DIR     writes DIR/slurm.conf, starts one slurmctld and two slurmd
#   tests/workflow/slurm.sh down DIR   ends them, by the process numbers they wrote there
# Then: export SLURM_CONF=DIR/slurm.conf PATH=DIR/bin:$PATH; sinfo
set -euo pipefail
[ $# = 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
PATH=$PATH:/usr/sbin

down() {
  local pid_file pid
  for pid_file in "$1"/*.pid; do
    [ -s "$pid_file" ] || continue
    pid=$(<"$pid_file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
    kill -0 "$pid" 2>/dev/null && kill -KILL "$pid" || true
  done
}

# Three ports that nobody listens on now.
free_ports() {
  python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

up() {
  mkdir -p "$1"
  local dir controller first second
  dir=$(cd "$1" && pwd)
  read -r controller first second < <(free_ports)
  mkdir -p "$dir"/{bin,state,n1,n2}
  # MinJobAge: a finished job must stay visible to squeue for at least three polls.
  # Memory as a training node's, whatever is there, so that the shipped requests fit.
  # A GPU that is /dev/null: the scheduler counts it, nothing computes on it.
  cat >"$dir/slurm.conf" <<CONF
ClusterName=miniature
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$controller
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=300
KillWait=20
SchedulerParameters=sched_interval=1,batch_sched_delay=0
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
GresTypes=gpu
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$first CPUs=2 RealMemory=128000 Gres=gpu:1
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$second CPUs=2 RealMemory=128000 Gres=gpu:1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
  echo "NodeName=n[1-2] Name=gpu File=/dev/null" >"$dir/gres.conf"
  # slurmd 22.05 loads a cgroup plugin even where nothing uses it; v1 loads on every machine.
  echo "CgroupPlugin=cgroup/v1" >"$dir/cgroup.conf"
  # Inside a job the executor plugin drops SLURM_CONF, and /etc/slurm is not ours to write.
  printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$dir/slurm.conf" "$(command -v srun)" >"$dir/bin/srun"
  chmod +x "$dir/bin/srun"
  export SLURM_CONF=$dir/slurm.conf
  if slurmctld && slurmd -N n1 && slurmd -N n2; then wait_until_idle && return; fi
  echo "error: Slurm did not come up; read $dir/*.log" >&2
  tail -n 3 "$dir"/*.log >&2
  down "$dir"
  exit 1
}

wait_until_idle() {
  for _ in $(seq 100); do
    [ "$(sinfo --noheader --format=%T --Node 2>/dev/null | sort -u)" = idle ] && return 0
    sleep 0.1
  done
  return 1
}

case $1 in
  up) up "$2" ;;
  down) down "$2" ;;
  *) echo "error: got $1; allowed: up, down" >&2; exit 2 ;;
esac
