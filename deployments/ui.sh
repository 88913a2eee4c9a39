#!/usr/bin/env bash
# Prefect server, work pools, deployments and a worker in one terminal; Ctrl-C stops them all.
set -euo pipefail
cd "$(dirname "$0")/.."

port="${PREFECT_SERVER_API_PORT:-4200}"
export PREFECT_API_URL="http://127.0.0.1:$port/api"
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false

stop() {
    trap - EXIT INT TERM
    kill $(jobs -p) 2>/dev/null || true
    wait
}
trap stop EXIT INT TERM

prefect server start --host 127.0.0.1 --port "$port" --log-level WARNING &
for _ in $(seq 60); do
    python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
    sleep 1
done

for pool in cpu gpu; do
    prefect work-pool inspect "$pool" >/dev/null 2>&1 || prefect work-pool create "$pool" --type process
done
prefect --no-prompt deploy --prefect-file deployments/prefect.yaml --all
prefect worker start --pool cpu &

echo "Pixelmill's flows are at http://127.0.0.1:$port/deployments (Ctrl-C stops everything)."
wait
