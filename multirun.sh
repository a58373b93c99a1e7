#!/usr/bin/env bash
# Four treatments of the imbalance x two networks x three seeds; then one table and one page of all of them.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ./multirun.sh [--quick] [--dry-run] [--resume] [--jobs N | --slurm | --lsf] [key=value ...]

Trains 24 networks and compares them:
  sampler  none, random_over, random_under, smote
  model    small (0.7 M parameters, three patterns through one encoder) and resnet18 (11 M, as published, patterns
           stacked as channels): does the answer depend on the network? The larger ones need a GPU.
  seed     1, 2, 3: how far does repeating the training move the numbers?

All train for the same number of steps: an epoch has as many draws as there are training samples, whatever the sampler
plans (trainer.epoch_draws=0; random_over and smote plan many times as many, random_under fewer).

Given again, the same line skips what is finished and goes on with what was interrupted.

  --quick     600 crystals and 8 epochs: under 20 minutes on two cores. To see that it works; the figures say nothing
  --dry-run   list the jobs, their number, and which are finished; run nothing
  --resume    go on, and also run again the jobs that failed
  --jobs N    N jobs at a time; they share the cores and take the GPUs in turn (default 1)
  --slurm     submit each job to Slurm (--lsf: to LSF) with task=submit, and end; docs/clusters.md tells more. Task keys
              say what to ask for: ./multirun.sh --slurm task.partition=gpu task.time=02:00:00. Given again, the same
              line submits what is neither finished, running nor waiting
  --help      this text

Whatever else is given is passed on, and comes last, so it wins: seed=1 trains one seed, model=resnet50 another network.
Run folders, the manifest and the page go below outputs/multirun (outputs/multirun-quick with --quick), or output_dir=...
TEXT
}

python=${PYTHON:-python}
output_dir=outputs/multirun
dry_run=false
system=
sweep=()
more=()
while (($#)); do
    case $1 in
        --quick)
            output_dir=outputs/multirun-quick
            sweep+=(size=small trainer.epochs=8)
            ;;
        --dry-run) dry_run=true ;;
        --resume) sweep+=(launcher.retry_failed=true) ;;
        --jobs)
            (($# > 1)) || { echo "multirun.sh: --jobs needs a number" >&2; exit 2; }
            sweep+=("launcher.jobs=$2")
            shift
            ;;
        --jobs=*) sweep+=("launcher.jobs=${1#*=}") ;;
        --slurm | --lsf) system=${1#--} ;;
        -h | --help) usage; exit 0 ;;
        output_dir=*) output_dir=${1#*=} ;;
        -*) echo "multirun.sh: there is no option '$1' (./multirun.sh --help lists them)" >&2; exit 2 ;;
        *=*) more+=("$1") ;;
        *) echo "multirun.sh: '$1' is no override: write key=value" >&2; exit 2 ;;
    esac
    shift
done

if [[ -n $system ]]; then
    # Handing over a script takes no time, so the jobs of this sweep need no processes of their own.
    sweep+=(hydra/launcher=basic task=submit "task.system=$system" task.submit=true)
fi

code=0
"$python" -m sgexp -m "sampler=none,random_over,random_under,smote" "model=small,resnet18" "seed=1,2,3" \
    trainer.epoch_draws=0 "output_dir=$output_dir" "launcher.dry_run=$dry_run" \
    ${sweep[@]+"${sweep[@]}"} ${more[@]+"${more[@]}"} || code=$?

if [[ -n $system && $dry_run == false && $code == 0 ]]; then
    printf '\nOnce jobs are finished: %s -m sgexp task=report output_dir=%q\n' "$python" "$output_dir"
    exit 0
fi

# A page of what is there, also when some jobs failed; not after Ctrl-C (130), a wrong question (2) or a dry run.
if [[ -z $system && $dry_run == false && ($code == 0 || $code == 1) ]]; then
    "$python" -m sgexp task=report "output_dir=$output_dir" || code=$?
fi
exit "$code"
