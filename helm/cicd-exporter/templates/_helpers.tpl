{{- define "cicd-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52, as the label controller-revision-hash is this name and 11 characters more: 63 at most. */}}
{{- define "cicd-exporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "cicd-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "cicd-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cicd-exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* (list ROOT LABELS...): those of all objects, then an object's own, then the common ones; the
first wins, so that nobody else's label breaks a selector. */}}
{{- define "cicd-exporter.labels" -}}
{{- $root := first . }}
{{- $labels := include "cicd-exporter.selectorLabels" $root | fromYaml }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $labels "app.kubernetes.io/version" ($root.Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $own := dict }}
{{- range rest . }}
{{- $own = mergeOverwrite $own (deepCopy .) }}
{{- end }}
{{- toYaml (merge $labels $own $root.Values.commonLabels) }}
{{- end }}

{{- define "cicd-exporter.serviceAccountName" -}}
{{- default (ternary (include "cicd-exporter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "cicd-exporter.image" -}}
{{- $image := .Values.image }}
{{- $registry := default $image.registry .Values.global.imageRegistry }}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "cicd-exporter.scheme" -}}
{{- ternary "https" "http" .Values.webConfig.tls }}
{{- end }}

{{- define "cicd-exporter.telemetryPath" -}}
{{- default "/metrics" (.Values.config.web | default dict).telemetry_path }}
{{- end }}

{{/* (list ROOT PATH TIMING): who has no client certificate can only connect. */}}
{{- define "cicd-exporter.probe" -}}
{{- $root := index . 0 }}
{{- if $root.Values.webConfig.clientCertificates }}
tcpSocket:
  port: metrics
{{- else }}
httpGet:
  path: {{ index . 1 }}
  port: metrics
  scheme: {{ include "cicd-exporter.scheme" $root | upper }}
{{- end }}
{{- with index . 2 }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (list ROOT MONITOR): the endpoint of a ServiceMonitor or PodMonitor. In a fleet that is what is
each pod's own, as all else is the same at each. */}}
{{- define "cicd-exporter.endpoint" -}}
{{- $root := index . 0 }}
{{- $monitor := index . 1 }}
{{- $path := include "cicd-exporter.telemetryPath" $root }}
{{- if $root.Values.fleet.enabled }}
{{- $path = printf "%s/worker" (trimSuffix "/" $path) }}
{{- end }}
{{- $endpoint := dict "port" "metrics" "path" $path "scheme" (include "cicd-exporter.scheme" $root) }}
{{- range $key := list "interval" "scrapeTimeout" "relabelings" "metricRelabelings" }}
{{- with index $monitor $key }}
{{- $_ := set $endpoint $key . }}
{{- end }}
{{- end }}
{{- toYaml (mergeOverwrite $endpoint (deepCopy $monitor.endpoint)) }}
{{- end }}

{{/* The ports that the accounts are reached at, as a JSON list. */}}
{{- define "cicd-exporter.ports" -}}
{{- $ports := list }}
{{- range .Values.config.accounts }}
{{- $url := default (default "https://default" .url) .proxy | lower | urlParse }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) }}
{{- $ports = append $ports (default (ternary 80 443 (eq $url.scheme "http")) $port | int) }}
{{- end }}
{{- $ports | uniq | sortAlpha | toJson }}
{{- end }}
