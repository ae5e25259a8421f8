{{/* What the schema cannot say: each fault in one line, and what to do. */}}
{{- define "cicd-exporter.checks" -}}
{{- $values := .Values }}
{{- $faults := list }}
{{- if not $values.config.accounts }}
{{- $faults = append $faults "config.accounts: there is none (list at least one, as in config.example.yaml)" }}
{{- end }}
{{- if and $values.serviceMonitor.enabled $values.podMonitor.enabled }}
{{- $faults = append $faults "serviceMonitor, podMonitor: both are enabled, and everything would be scraped twice (enable one)" }}
{{- end }}
{{- if and $values.webConfig.clientCertificates (not $values.webConfig.tls) }}
{{- $faults = append $faults "webConfig.clientCertificates: there are none without TLS (set webConfig.tls too)" }}
{{- end }}
{{- if and $values.webConfig.tls (not $values.webConfig.secretName) }}
{{- $faults = append $faults "webConfig.tls: nothing turns TLS on (name the Secret with the web configuration in webConfig.secretName)" }}
{{- end }}
{{- $literal := dict }}
{{- $given := dict }}
{{- range $values.extraEnv }}
{{- $_ := set $given .name true }}
{{- if not .valueFrom }}
{{- $_ := set $literal .name true }}
{{- end }}
{{- end }}
{{- range $index, $account := $values.config.accounts }}
{{- range $key, $name := $account }}
{{- if and $name (hasSuffix "_env" $key) }}
{{- $place := printf "config.accounts[%d].%s" $index $key }}
{{- if hasKey $values.secretEnv $name }}
{{- else if hasKey $literal $name }}
{{- $faults = append $faults (printf "%s: %s would be a secret among the values (take it from a Secret by secretEnv, and out of extraEnv)" $place $name) }}
{{- else if not (or (hasKey $given $name) $values.extraEnvFrom) }}
{{- $faults = append $faults (printf "%s: nothing sets %s (secretEnv.%s names the key of a Secret)" $place $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $state := ($values.config.state | default dict).url | default "" }}
{{- if and (hasPrefix "sqlite:////" $state) (not (hasPrefix "sqlite:////var/lib/cicd-exporter/" $state)) (not $values.extraVolumeMounts) }}
{{- $faults = append $faults (printf "config.state.url: %s is on no volume (use sqlite:////var/lib/cicd-exporter/cicd-exporter.db)" $state) }}
{{- end }}
{{- $isDatabase := or (hasPrefix "postgresql://" $state) (hasPrefix "postgres://" $state) }}
{{- if and $values.fleet.enabled (not $isDatabase) }}
{{- $faults = append $faults "fleet.enabled: several pods cannot share a file (set config.state.url to postgresql://...)" }}
{{- end }}
{{- if and $values.fleet.enabled $values.serviceMonitor.enabled }}
{{- $faults = append $faults "serviceMonitor: it would scrape each pod of the fleet, of which each shows everything, and sums would be too high (use scrapeConfig, and podMonitor for what is each pod's own)" }}
{{- end }}
{{- if and $values.scrapeConfig.enabled $values.serviceMonitor.enabled }}
{{- $faults = append $faults "scrapeConfig, serviceMonitor: both are enabled, and everything would be scraped twice (enable one)" }}
{{- end }}
{{- if and $values.scrapeConfig.enabled $values.podMonitor.enabled (not $values.fleet.enabled) }}
{{- $faults = append $faults "scrapeConfig, podMonitor: both are enabled, and everything would be scraped twice (enable one)" }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n\ncicd-exporter:\n  - %s\n" (join "\n  - " $faults)) }}
{{- end }}
{{- end }}
