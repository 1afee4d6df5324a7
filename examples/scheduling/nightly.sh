#!/bin/sh
# One run, as cron starts it: a log file of its own, and its exit code. Two at once wait for each other.
#   nightly.sh CONFIG [a.b=value ...]
# RMTL_TF_LOGS: folder of the log files (default: runs/logs), of which 30 days stay.
set -eu
cd "$(dirname "$0")/../.."
config=$1
shift
logs=${RMTL_TF_LOGS:-runs/logs}
mkdir -p "$logs"
find "$logs" -name 'run-*.log' -mtime +30 -delete
log=$logs/run-$(date -u +%Y-%m-%dT%H%M%SZ).log
[ $# -eq 0 ] || set -- --set "$@"
code=0
.venv/bin/python pipeline.py run --config "$config" "$@" >"$log" 2>&1 || code=$?
if [ "$code" -ne 0 ]; then
    echo "run of $config failed with code $code; the end of $log:" >&2  # cron mails what is written here
    tail -n 20 "$log" >&2
fi
exit "$code"
