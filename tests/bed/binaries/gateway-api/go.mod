// Not built: its custom resource definitions are taken from the module cache.
module rolloutplan.dev/bed/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.5.1
