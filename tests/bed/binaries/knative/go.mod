// Not built: its custom resource definitions are taken from the module cache.
module rolloutplan.dev/bed/knative

go 1.26.0

require knative.dev/serving v0.51.0
