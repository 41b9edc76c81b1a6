{{- /* The container without what only a sidecar has. */ -}}
{{- define "sidebeat-sidecar.proxy" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $values := .Values.sidebeat -}}
name: sidebeat
image: {{ include "sidebeat-sidecar.image" . | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
command: [/usr/local/bin/sidebeat, run]
env:
  - name: SIDEBEAT_CONFIG
    value: /etc/sidebeat/config/sidebeat.yaml
  - name: POD_NAME
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
  - name: POD_NAMESPACE
    valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- range $name, $listener := $values.config.listeners }}
  - name: {{ include "sidebeat-sidecar.portName" (dict "name" $name "listener" $listener) }}
    containerPort: {{ include "sidebeat-sidecar.port" $listener.listen }}
  {{- end }}
  - name: sb-telemetry
    containerPort: {{ include "sidebeat-sidecar.telemetryPort" $ }}
startupProbe:
  httpGet: { path: /startupz, port: sb-telemetry }
  {{- toYaml $values.probes.startup | nindent 2 }}
livenessProbe:
  httpGet: { path: /livez, port: sb-telemetry }
  {{- toYaml $values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: { path: /readyz, port: sb-telemetry }
  {{- toYaml $values.probes.readiness | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  - name: sidebeat-config
    mountPath: /etc/sidebeat/config
    readOnly: true
  - name: sidebeat-run
    mountPath: /run/sidebeat
  - name: sidebeat-state
    mountPath: /var/lib/sidebeat
  {{- if $values.tls.secretName }}
  - name: sidebeat-tls
    mountPath: /etc/sidebeat/tls
    readOnly: true
  {{- end }}
  {{- range $name, $secret := $values.secrets }}
  - name: sidebeat-secret-{{ $name }}
    mountPath: /etc/sidebeat/secrets/{{ $name }}
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* An entry of `containers`. Its drain begins with the pod's end; when the app goes is the kubelet's choice. */ -}}
{{- define "sidebeat-sidecar.container" -}}
- {{ include "sidebeat-sidecar.proxy" . | nindent 2 | trim }}
  lifecycle:
    preStop:
      exec:
        command: [/usr/local/bin/sidebeat, drain, --wait]
{{- end -}}

{{- /* An entry of `initContainers`: a native sidecar, which is there before the app starts and until it has ended.
SIGTERM reaches it only then, so that the drain has to begin with preStop. */ -}}
{{- define "sidebeat-sidecar.nativeSidecar" -}}
{{ include "sidebeat-sidecar.container" . }}
  restartPolicy: Always
{{- end -}}

{{- /* Entries of `volumes`. Secrets are readable for the sidecar's user, since the pod may have no fsGroup. */ -}}
{{- define "sidebeat-sidecar.volumes" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $values := .Values.sidebeat -}}
{{- $mode := ternary 288 292 (not (empty (dig "fsGroup" "" ($values.podSecurityContext | default dict)))) -}}
- name: sidebeat-config
  configMap:
    name: {{ include "sidebeat-sidecar.name" . }}
- name: sidebeat-run
  emptyDir: { sizeLimit: 1Mi }
- name: sidebeat-state
  emptyDir: { sizeLimit: {{ $values.stateDir.sizeLimit }} }
{{- if $values.tls.secretName }}
- name: sidebeat-tls
  secret:
    secretName: {{ $values.tls.secretName }}
    defaultMode: {{ $mode }}
{{- end }}
{{- range $name, $secret := $values.secrets }}
- name: sidebeat-secret-{{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: {{ $mode }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
