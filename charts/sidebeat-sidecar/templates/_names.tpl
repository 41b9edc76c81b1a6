{{- /* All templates take the root context of the chart that uses them and find their values under `sidebeat`. */ -}}

{{- /* Fails with the way out, if the values are not where they are looked for. */ -}}
{{- define "sidebeat-sidecar.ready" -}}
{{- if not (kindIs "map" .Values.sidebeat) -}}
{{- fail "sidebeat-sidecar: declare the dependency with `alias: sidebeat`, and give its values under `sidebeat`" -}}
{{- end -}}
{{- $config := .Values.sidebeat.config -}}
{{- if not $config.listeners -}}
{{- fail "config.listeners: give at least one, with listen and upstream" -}}
{{- end -}}
{{- $admin := $config.admin -}}
{{- if not (kindIs "map" $admin) -}}
{{- fail "config.admin: it cannot be off, since preStop asks it to drain; the default is a unix socket" -}}
{{- end -}}
{{- if not (or (hasPrefix "unix:" (default "" $admin.listen)) $admin.token_file) -}}
{{- fail "config.admin: every container of the pod shares its loopback; set config.admin.token_file, or config.admin.listen to unix:/run/sidebeat/admin.sock" -}}
{{- end -}}
{{- if not (kindIs "map" $config.telemetry) -}}
{{- fail "config.telemetry: it cannot be off, since the probes ask it" -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\])" (default "" $config.telemetry.listen) -}}
{{- fail "config.telemetry.listen: the kubelet probes the pod's address, not its loopback; use [::]:9601 or 0.0.0.0:9601" -}}
{{- end -}}
{{- end -}}

{{- /* The name of the objects of the sidecar. */ -}}
{{- define "sidebeat-sidecar.name" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- .Values.sidebeat.fullnameOverride | default (printf "%s-sidebeat" (trunc 54 .Release.Name)) -}}
{{- end -}}

{{- /* The labels of the objects of the sidecar; `instanceLabels` in the values takes their place. */ -}}
{{- define "sidebeat-sidecar.labels" -}}
{{- if .Values.sidebeat.instanceLabels -}}
{{ toYaml .Values.sidebeat.instanceLabels }}
{{- else -}}
app.kubernetes.io/name: sidebeat
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: sidecar
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- end -}}

{{- /* The labels by which the pods are found. */ -}}
{{- define "sidebeat-sidecar.selector" -}}
{{- if not .Values.sidebeat.selectorLabels -}}
{{- fail "selectorLabels: give the labels of the app's pods, which PodMonitor and NetworkPolicy select" -}}
{{- end -}}
{{- toYaml .Values.sidebeat.selectorLabels -}}
{{- end -}}

{{- /* The image of the values. */ -}}
{{- define "sidebeat-sidecar.image" -}}
{{- with .Values.sidebeat.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default "0.1.0" }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* The port of an address like ws://0.0.0.0:8080 or [::]:9601. */ -}}
{{- define "sidebeat-sidecar.port" -}}
{{- if not (regexMatch ":[0-9]+$" .) -}}
{{- fail (printf "config: %q should end in a port, as ports of containers and Services are made from it" .) -}}
{{- end -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{- /* The name of a listener's port: the listener's, where that can be one. */ -}}
{{- define "sidebeat-sidecar.portName" -}}
{{- if and (regexMatch "^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$" .name) (not (contains "--" .name)) -}}
{{ .name }}
{{- else -}}
port-{{ include "sidebeat-sidecar.port" .listener.listen }}
{{- end -}}
{{- end -}}

{{- /* The port of metrics and probes. */ -}}
{{- define "sidebeat-sidecar.telemetryPort" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- include "sidebeat-sidecar.port" .Values.sidebeat.config.telemetry.listen -}}
{{- end -}}
