{{- define "rolloutplan.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* The name of all that a release makes: the release's own where it tells what it is. */ -}}
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

{{- /* Without the chart's version: a chart that changes nothing about the pod does not start it anew. */ -}}
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

{{- /* Replicas stand on different nodes where there are enough of them. */ -}}
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

{{- /* What the account may do to the objects of a namespace that it serves: each verb is one that the operator uses. */ -}}
{{- define "rolloutplan.rules" -}}
# Plans are read, and marked with a finalizer and the command that undoes them. `get`: read again after a conflict.
- apiGroups: [rolloutplan.dev]
  resources: [rolloutplans]
  verbs: [get, list, watch, patch]
- apiGroups: [rolloutplan.dev]
  resources: [rolloutplans/status]
  verbs: [patch]
- apiGroups: [rolloutplan.dev]
  resources: [metricsources, predicatetemplates]
  verbs: [list, watch]
# Traffic: one JSON Patch that tests what it relies on. `get`: read again after such a test has failed.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, patch]
# Both sides of a plan: how many pods are ready, why the others are not, whether the Services exist.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [services]
  verbs: [get]
# What a plan wants done beside the traffic. `get`: how a Job stands, while it is waited for.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create]
# A side is given another size by its scale alone, unless an autoscaler does that.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
# The trail: one Event for each decision.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* The kinds that belong to no namespace. */ -}}
{{- define "rolloutplan.clusterRules" -}}
- apiGroups: [rolloutplan.dev]
  resources: [clustermetricsources, clusterpredicatetemplates, rolloutpolicies]
  verbs: [list, watch]
{{- end -}}

{{- /* The Lease that the leader holds. A name cannot bound what is created. */ -}}
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
