{{/* The pod of a StatefulSet or Deployment. */}}
{{- define "cicd-exporter.pod" -}}
metadata:
  labels:
    {{- include "cicd-exporter.labels" (list . .Values.podLabels) | nindent 4 }}
  annotations:
    kubectl.kubernetes.io/default-container: exporter
    {{- if not .Values.autoReload }}
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "cicd-exporter.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- range $key := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
  {{- with index $.Values $key }}
  {{ $key }}: {{ . | quote }}
  {{- end }}
  {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "dnsConfig" "hostAliases" }}
  {{- with index $.Values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- if and .Values.fleet.enabled (not .Values.topologySpreadConstraints) }}
  # A node or zone that goes takes one of them.
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "cicd-exporter.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: exporter
      image: {{ include "cicd-exporter.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - --config.file=/etc/cicd-exporter/config.yaml
        - --web.listen-address=:10054
        {{- if .Values.autoReload }}
        - --config.enable-auto-reload
        {{- end }}
        {{- if .Values.webConfig.secretName }}
        - --web.config.file=/etc/cicd-exporter-web/{{ .Values.webConfig.key }}
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      workingDir: /var/lib/cicd-exporter
      ports:
        - name: metrics
          containerPort: 10054
          protocol: TCP
      {{- if or .Values.secretEnv .Values.extraEnv }}
      env:
        {{- range $name, $key := .Values.secretEnv }}
        - name: {{ $name | quote }}
          valueFrom:
            secretKeyRef:
              {{- toYaml $key | nindent 14 }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      startupProbe:
        {{- include "cicd-exporter.probe" (list . "/-/ready" .Values.startupProbe) | trim | nindent 8 }}
      livenessProbe:
        {{- include "cicd-exporter.probe" (list . "/-/healthy" .Values.livenessProbe) | trim | nindent 8 }}
      readinessProbe:
        {{- include "cicd-exporter.probe" (list . "/-/ready" .Values.readinessProbe) | trim | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/cicd-exporter
          readOnly: true
        - name: state
          mountPath: /var/lib/cicd-exporter
        {{- if .Values.webConfig.secretName }}
        - name: web-config
          mountPath: /etc/cicd-exporter-web
          readOnly: true
        {{- end }}
        {{- range $index, $file := .Values.secretFiles }}
        - name: secret-{{ $index }}
          mountPath: {{ $file.mountPath | quote }}
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "cicd-exporter.fullname" . }}
    {{- if or .Values.fleet.enabled (not .Values.persistence.enabled) }}
    - name: state
      emptyDir: {}
    {{- else if .Values.persistence.existingClaim }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim | quote }}
    {{- end }}
    {{- with .Values.webConfig.secretName }}
    - name: web-config
      secret:
        secretName: {{ . | quote }}
        defaultMode: 0440
    {{- end }}
    {{- range $index, $file := .Values.secretFiles }}
    - name: secret-{{ $index }}
      secret:
        {{- omit $file "mountPath" | toYaml | nindent 8 }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
