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
{{- if .Values.metrics.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: "8080"
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
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
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
  resources: [metricsources, predicatetemplates]
  verbs: [list, watch]
# Traffic: one JSON Patch, which tests the weights that it replaces. `get`: read again after such a test has failed.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, patch]
# What else may give the old Service traffic, before it is removed.
- apiGroups: [gateway.networking.k8s.io]
  resources: [grpcroutes, tcproutes, tlsroutes, udproutes]
  verbs: [list]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list]
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
# Jobs of a plan. `get`: the state of a Job while the run waits for it. `list`, `patch`: Jobs of a plan never run side by
# side, and `abort` suspends (spec.suspend) the one that has not ended.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, create, patch]
# Why a Job gets no pods: a quota, a webhook, PodSecurity.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Deployments are scaled through the scale subresource, unless an autoscaler scales them.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
# One Event for each decision.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* Cluster-scoped kinds. */ -}}
{{- define "rolloutplan.clusterRules" -}}
- apiGroups: [rolloutplan.dev]
  resources: [clustermetricsources, clusterpredicatetemplates, rolloutpolicies]
  verbs: [list, watch]
# Their labels, by which policies select.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
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

{{- define "rolloutplan.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rolloutplan.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
