{{- /* The configuration file: `config`, with the chart's certificate for wss and tls listeners that name none. */ -}}
{{- define "sidebeat-sidecar.config" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $config := deepCopy .Values.sidebeat.config -}}
{{- $secret := .Values.sidebeat.tls.secretName -}}
{{- range $name, $listener := $config.listeners -}}
{{- if and (regexMatch "^(wss|tls)://" $listener.listen) (not (dig "tls" "certificates" "" $listener)) -}}
{{- if not $secret -}}
{{- fail (printf "config.listeners.%s.tls: %s needs a certificate; set tls.secretName, or certificates in config.listeners.%s.tls" $name $listener.listen $name) -}}
{{- end -}}
{{- $certificate := dict "cert" "/etc/sidebeat/tls/tls.crt" "key" "/etc/sidebeat/tls/tls.key" -}}
{{- $_ := set $listener "tls" (merge (dict "certificates" (list $certificate)) ($listener.tls | default dict)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* The ConfigMap. A change is taken up without a restart; see podAnnotations for the rest. */ -}}
{{- define "sidebeat-sidecar.configMap" -}}
{{- include "sidebeat-sidecar.ready" . -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "sidebeat-sidecar.name" . }}
  labels:
    {{- include "sidebeat-sidecar.labels" . | nindent 4 }}
data:
  sidebeat.yaml: |
    {{- include "sidebeat-sidecar.config" . | nindent 4 }}
{{- end -}}

{{- /* Entries of a Service's `ports`, one for each listener; `service.ports` of the values maps a listener to the Service's port. */ -}}
{{- define "sidebeat-sidecar.servicePorts" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $ports := dig "service" "ports" dict .Values.sidebeat -}}
{{- range $name, $port := $ports -}}
{{- if not (hasKey $.Values.sidebeat.config.listeners $name) -}}
{{- fail (printf "service.ports.%s: there is no listener of that name in config.listeners" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $listener := .Values.sidebeat.config.listeners }}
{{- $port := include "sidebeat-sidecar.portName" (dict "name" $name "listener" $listener) }}
- name: {{ $port }}
  port: {{ get $ports $name | default (include "sidebeat-sidecar.port" $listener.listen) }}
  targetPort: {{ $port }}
  {{- if regexMatch "^wss?:" $listener.listen }}
  appProtocol: kubernetes.io/{{ regexFind "^wss?" $listener.listen }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The PodMonitor. */ -}}
{{- define "sidebeat-sidecar.podMonitor" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- with .Values.sidebeat.podMonitor -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "sidebeat-sidecar.name" $ }}
  labels:
    {{- include "sidebeat-sidecar.labels" $ | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "sidebeat-sidecar.selector" $ | nindent 6 }}
  podMetricsEndpoints:
    - port: sb-telemetry
      path: /metrics
      interval: {{ .interval }}
{{- end }}
{{- end -}}

{{- /* The NetworkPolicy: what is not named here is not reachable, the app's own port above all. Loopback is not concerned. */ -}}
{{- define "sidebeat-sidecar.networkPolicy" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $values := .Values.sidebeat -}}
{{- with $values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "sidebeat-sidecar.name" $ }}
  labels:
    {{- include "sidebeat-sidecar.labels" $ | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "sidebeat-sidecar.selector" $ | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        {{- range $name, $listener := $values.config.listeners }}
        - port: {{ include "sidebeat-sidecar.port" $listener.listen }}
          protocol: TCP
        {{- end }}
      {{- with .from }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with .telemetryFrom }}
    - ports:
        - port: {{ include "sidebeat-sidecar.telemetryPort" $ }}
          protocol: TCP
      from:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- with .extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}
