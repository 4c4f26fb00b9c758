{{- define "rolloutplan.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* The name of all objects of a release: the release's own name if it contains the chart's. */ -}}
{{- define "rolloutplan.fullname" -}}
{{- $name := include "rolloutplan.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rolloutplan.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "rolloutplan.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name: write the account's name, since serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "rolloutplan.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rolloutplan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Without the chart's version: a new chart that does not change the pod does not restart it. */ -}}
{{- define "rolloutplan.podLabels" -}}
{{ include "rolloutplan.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "rolloutplan.podAnnotations" -}}
kubectl.kubernetes.io/default-container: operator
{{- if and .Values.metrics.enabled .Values.metrics.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.metrics.port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end -}}

{{- define "rolloutplan.labels" -}}
{{ include "rolloutplan.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- define "rolloutplan.image" -}}
{{- with .Values.image -}}
{{- $repository := required "image.repository: write the address of your image; none is published" .repository -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ required "image.digest: write the digest of your image (sha256:...), or a tag in image.tag" .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A file for each credential. One whose Secret is missing keeps no pod from starting: its source says so. */ -}}
{{- define "rolloutplan.credentials" -}}
{{- range . }}
{{- $file := . }}
{{- range $kind := list "secret" "configMap" }}
{{- with index $file $kind }}
- {{ $kind }}:
    name: {{ .name }}
    optional: true
    items:
      - key: {{ .key | quote }}
        path: {{ $file.name | quote }}
{{- end }}
{{- end }}
{{- with .serviceAccountToken }}
- serviceAccountToken:
    audience: {{ .audience | quote }}
    expirationSeconds: {{ .expirationSeconds | default 3600 | int }}
    path: {{ $file.name | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Fails where the metrics are off, or the cluster has no such kind of the Prometheus Operator. `without`: what else to do. */ -}}
{{- define "rolloutplan.forPrometheusOperator" -}}
{{- if not .root.Values.metrics.enabled }}
{{- fail (printf "%s: a %s needs the operator's metrics: set metrics.enabled to true, or this to false" .value .kind) }}
{{- end }}
{{- /* `helm template` has no cluster and does not know the first kind, which every API server has. */ -}}
{{- $served := .root.Capabilities.APIVersions }}
{{- if and ($served.Has "apiregistration.k8s.io/v1") (not ($served.Has (printf "monitoring.coreos.com/v1/%s" .kind))) }}
{{- fail (printf "%s: the cluster has no %s (monitoring.coreos.com/v1). Install the Prometheus Operator first, or set this to false%s" .value .kind .without) }}
{{- end }}
{{- end -}}

{{- define "rolloutplan.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "rolloutplan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "rolloutplan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Places replicas on different nodes if there are enough. */ -}}
{{- define "rolloutplan.apart" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "rolloutplan.selectorLabels" . | nindent 12 }}
{{- end -}}

{{- /* The account's rights in each namespace that it serves. The operator uses every verb here. */ -}}
{{- define "rolloutplan.rules" -}}
# Plans get a finalizer and the undo command. `get`: read again after a conflict.
- apiGroups: [rolloutplan.dev]
  resources: [rolloutplans]
  verbs: [get, list, watch, patch]
- apiGroups: [rolloutplan.dev]
  resources: [rolloutplans/status]
  verbs: [patch]
- apiGroups: [rolloutplan.dev]
  resources: [metricsources, predicatetemplates, notifiers]
  verbs: [list, watch]
# Whether the decisions of plans get through to a webhook.
- apiGroups: [rolloutplan.dev]
  resources: [notifiers/status]
  verbs: [patch]
# Traffic: one JSON Patch, which tests the weights that it replaces. `get`: read again after such a test has failed.
{{- include "rolloutplan.routerRules" . }}
{{- if or .Values.jobs.enabled .Values.scaling.enabled }}
# What else may give the old Service traffic, before it is removed: the kinds of route in groups that the cluster serves.
{{- include "rolloutplan.userRules" . }}
{{- end }}
# Both sides of a plan: ready pods, why other pods are not ready, whether the Services exist and what they select.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# Who would receive the traffic: the ready endpoints of the Services that plans name, and of no others.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- if .Values.jobs.enabled }}
# Jobs of a plan. `get`: the state of a Job while the run waits for it. `list`, `patch`: Jobs of a plan never run side by
# side, and `abort` suspends (spec.suspend) the one that has not ended.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, create, patch]
# Whether the namespace has named the ServiceAccount of a Job for Jobs of plans.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
# Why a Job gets no pods: a quota, a webhook, PodSecurity.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
{{- if .Values.scaling.enabled }}
# Deployments are scaled through the scale subresource, unless an autoscaler scales them.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
{{- end }}
{{- if .Values.ownedRoutes.enabled }}
{{- if not (has "HTTPRoute" .Values.routers) }}
{{- fail "ownedRoutes.enabled: owned routes are HTTPRoutes: add HTTPRoute to routers" }}
{{- end }}
# The operator's own routes, which are made from those of plans and deleted when these divide the traffic in the same way.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [create, delete]
{{- end }}
# What scaled a side to no pods, and what is not to be scaled by a plan.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
# One record for each run; each decision is added to it. `get`: read it before, unless it was just written. `list`, `delete`:
# old ones are deleted.
- apiGroups: [rolloutplan.dev]
  resources: [rolloutrecords]
  verbs: [get, list, create, patch, delete]
# One Event for each decision.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* The right to list, before a removal, every kind of route whose group is served or is in `routers`. */ -}}
{{- define "rolloutplan.userRules" -}}
{{- $known := .Files.Get "routers.yaml" | fromYaml }}
{{- $served := dict }}
{{- range .Capabilities.APIVersions }}
{{- $_ := set $served (splitList "/" . | first) true }}
{{- end }}
{{- range .Values.routers }}
{{- $_ := set $served (first (first (get $known .)).apiGroups) true }}
{{- end }}
{{- $resources := dict }}
{{- range $known }}
{{- $rule := first . }}
{{- $group := first $rule.apiGroups }}
{{- if and $group (hasKey $served $group) }}
{{- $_ := set $resources $group (concat (get $resources $group | default list) $rule.resources | uniq) }}
{{- end }}
{{- end }}
{{- range $group, $names := $resources }}
- apiGroups: [{{ $group }}]
  resources: [{{ join ", " $names }}]
  verbs: [list]
{{- end }}
{{- end -}}

{{- /* The rights on the kinds of route in `routers`, each rule once: several kinds may be on one resource. */ -}}
{{- define "rolloutplan.routerRules" -}}
{{- $known := .Files.Get "routers.yaml" | fromYaml }}
{{- $rules := list }}
{{- range .Values.routers }}
{{- if not (hasKey $known .) }}
{{- fail (printf "routers: %s is no kind of route. Write some of: %s" . (keys $known | sortAlpha | join ", ")) }}
{{- end }}
{{- range get $known . }}
{{- $rules = append $rules (toYaml (list .)) }}
{{- end }}
{{- end }}
{{- range uniq $rules }}
{{ . }}
{{- end }}
{{- end -}}

{{- /* Cluster-scoped kinds. */ -}}
{{- define "rolloutplan.clusterRules" -}}
- apiGroups: [rolloutplan.dev]
  resources: [clustermetricsources, clusterpredicatetemplates, rolloutpolicies, routekinds, clusternotifiers]
  verbs: [list, watch]
# Whether a kind of route of your own is served, and whether routes may be moved; whether decisions get through to a webhook.
- apiGroups: [rolloutplan.dev]
  resources: [routekinds/status, clusternotifiers/status]
  verbs: [patch]
# The plans that a policy selects, its places, its focus.
- apiGroups: [rolloutplan.dev]
  resources: [rolloutpolicies/status]
  verbs: [patch]
- apiGroups: [authorization.k8s.io]
  resources: [selfsubjectaccessreviews]
  verbs: [create]
# Their labels, by which policies select.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end -}}

{{- /* Events on policies: those on objects without a namespace are in `default`. */ -}}
{{- define "rolloutplan.policyEventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* The Lease of the leader. RBAC cannot restrict `create` by name. */ -}}
{{- define "rolloutplan.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "rolloutplan.fullname" . }}]
  verbs: [get, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end -}}

{{- /* The Lease that names the installation that serves all namespaces. */ -}}
{{- define "rolloutplan.clusterLeaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [rolloutplan.dev]
  verbs: [get, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end -}}

{{- /* The name of what is cluster-scoped: it contains the release's namespace where not all namespaces are served. */ -}}
{{- define "rolloutplan.clusterName" -}}
{{- $name := include "rolloutplan.fullname" . -}}
{{- .Values.namespaces | empty | ternary $name (printf "%s-%s" .Release.Namespace $name) -}}
{{- end -}}

{{- define "rolloutplan.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rolloutplan.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
