{{- define "sidebeat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sidebeat.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "sidebeat.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sidebeat.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sidebeat.selector" -}}
app.kubernetes.io/name: {{ include "sidebeat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "sidebeat.labels" -}}
{{ include "sidebeat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "sidebeat.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "sidebeat.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "sidebeat.tlsSecret" -}}
{{- if and .Values.certificate.enabled .Values.tls.secretName -}}
{{- fail "certificate.enabled: tls.secretName names a certificate already; set one of the two" -}}
{{- end -}}
{{- .Values.tls.secretName | default (ternary (printf "%s-tls" (include "sidebeat.fullname" .)) "" .Values.certificate.enabled) -}}
{{- end -}}

{{- /* Renders a template of the library: (list "NAME" $), with this chart's values where the library looks for them. */ -}}
{{- define "sidebeat.with" -}}
{{- $root := index . 1 -}}
{{- range $name, $listener := $root.Values.config.listeners -}}
{{- if not $listener.upstream -}}
{{- fail (printf "config.listeners.%s.upstream: say where the app is, such as ws://legacy:8080" $name) -}}
{{- end -}}
{{- end -}}
{{- $own := dict
  "fullnameOverride" (include "sidebeat.fullname" $root)
  "instanceLabels" (include "sidebeat.labels" $root | fromYaml)
  "selectorLabels" (include "sidebeat.selector" $root | fromYaml)
  "tls" (dict "secretName" (include "sidebeat.tlsSecret" $root))
-}}
{{- $values := merge $own $root.Values -}}
{{- include (index . 0) (dict "Values" (dict "sidebeat" $values) "Release" $root.Release "Chart" $root.Chart) -}}
{{- end -}}

{{- define "sidebeat.testLabels" -}}
app.kubernetes.io/name: {{ include "sidebeat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}
