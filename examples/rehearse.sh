#!/bin/sh
# A unit test for plans, for a pipeline: no cluster, no Prometheus, a few seconds each. The first that ends otherwise than
# it says ends the script with 1.
set -eu
cd "$(dirname "$0")"

rolloutplan rehearse counts.yaml --expect Succeeded
rolloutplan rehearse counts.yaml --fault 'errors=5% at 25% after 2m' --expect RolledBack
rolloutplan rehearse counts.yaml --fault 'latency=10% at 50%' --expect RolledBack
rolloutplan rehearse counts.yaml --fault 'prometheus down 3m' --expect Succeeded
rolloutplan rehearse counts.yaml --fault 'pods crash 2 at 25%' --expect RolledBack
rolloutplan rehearse approval.yaml --no-approvals --expect Held
