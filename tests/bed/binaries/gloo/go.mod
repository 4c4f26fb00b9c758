// Not built: its custom resource definitions are taken from the module cache.
module rolloutplan.dev/bed/gloo

go 1.26.0

require github.com/solo-io/gloo v1.22.1
