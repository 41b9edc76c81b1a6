{{- /* A duration of the configuration in milliseconds; off is 0. */ -}}
{{- define "sidebeat-sidecar.milliseconds" -}}
{{- $text := toString . -}}
{{- if contains "${" $text -}}
{{- fail (printf "config: %q stands where a drain is reckoned; write the duration itself" $text) -}}
{{- end -}}
{{- $units := dict "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+(ms|[dhms])" $text -1 -}}
{{- $total = add $total (mul (atoi (regexFind "^[0-9]+" .)) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{- /* The longest close_timeout of the listeners in milliseconds. */ -}}
{{- define "sidebeat-sidecar.closeTimeout" -}}
{{- $longest := 0 -}}
{{- range .Values.sidebeat.config.listeners -}}
{{- $heartbeat := .heartbeat | default dict -}}
{{- $longest = max $longest (include "sidebeat-sidecar.milliseconds" ($heartbeat.close_timeout | default "5s") | int64) -}}
{{- end -}}
{{- $longest -}}
{{- end -}}

{{- /* How long streams are being closed: delay, spread and close_timeout, in whole seconds. The app has to be there until then. */ -}}
{{- define "sidebeat-sidecar.closingSeconds" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $drain := .Values.sidebeat.config.drain | default dict -}}
{{- $delay := include "sidebeat-sidecar.milliseconds" (dig "delay" "5s" $drain) | int64 -}}
{{- $spread := include "sidebeat-sidecar.milliseconds" (dig "spread" "10s" $drain) | int64 -}}
{{- $close := include "sidebeat-sidecar.closeTimeout" . | int64 -}}
{{- div (add $delay $spread $close 999) 1000 -}}
{{- end -}}

{{- /* How long a drain takes at most: that, and hook_flush. */ -}}
{{- define "sidebeat-sidecar.drainSeconds" -}}
{{- $drain := .Values.sidebeat.config.drain | default dict -}}
{{- $flush := include "sidebeat-sidecar.milliseconds" ($drain.hook_flush | default "5s") | int64 -}}
{{- add (include "sidebeat-sidecar.closingSeconds" . | int64) (div (add $flush 999) 1000) -}}
{{- end -}}

{{- /* The pod's grace period: what takes longer, the drain or the app's wait and its end, and five seconds to spare. */ -}}
{{- define "sidebeat-sidecar.graceSeconds" -}}
{{- if .Values.sidebeat.terminationGracePeriodSeconds -}}
{{- int64 .Values.sidebeat.terminationGracePeriodSeconds -}}
{{- else -}}
{{- $app := add (include "sidebeat-sidecar.closingSeconds" . | int64) (int64 (default 0 .Values.sidebeat.appStopSeconds)) -}}
{{- add 5 (max (include "sidebeat-sidecar.drainSeconds" . | int64) $app) -}}
{{- end -}}
{{- end -}}

{{- /* Fields of the pod's spec: no variables from Services (one called sidebeat would give SIDEBEAT_PORT), and the grace period. */ -}}
{{- define "sidebeat-sidecar.podSettings" -}}
{{- include "sidebeat-sidecar.ready" . -}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "sidebeat-sidecar.graceSeconds" . }}
{{- end -}}

{{- /* Annotations of the pods: a checksum of what a running process does not take up, so that only that starts new pods. */ -}}
{{- define "sidebeat-sidecar.podAnnotations" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $config := .Values.sidebeat.config -}}
{{- $listen := dict -}}
{{- range $name, $listener := $config.listeners -}}
{{- $_ := set $listen $name $listener.listen -}}
{{- end -}}
{{- $kept := dict "listen" $listen "admin" $config.admin.listen "telemetry" $config.telemetry "workers" $config.workers "log" $config.log "state_dir" $config.state_dir -}}
checksum/sidebeat-restart: {{ toJson $kept | sha256sum | trunc 16 | quote }}
{{- end -}}

{{- /* The field `lifecycle` of the app's container: it stays until the last stream is closed, and takes the hooks of that. */ -}}
{{- define "sidebeat-sidecar.appPreStop" -}}
{{- include "sidebeat-sidecar.ready" . -}}
{{- $seconds := include "sidebeat-sidecar.closingSeconds" . -}}
preStop:
{{- if eq .Values.sidebeat.appPreStop "exec" }}
  exec:
    command: [sleep, {{ $seconds | quote }}]
{{- else }}
  sleep:
    seconds: {{ $seconds }}
{{- end }}
{{- end -}}
