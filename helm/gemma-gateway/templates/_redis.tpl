{{- define "gg.redisName" -}}
{{ include "gg.fullname" . }}-redis
{{- end }}

{{- define "gg.redisSecret" -}}
{{ .Values.redis.bundled.existingSecret | default (include "gg.redisName" .) }}
{{- end }}

{{- /* GATEWAY_REDIS_URL: from a Secret as a whole, or made of parts around the password's variable. */ -}}
{{- define "gg.redisEnv" -}}
{{- $r := .Values.redis.external -}}
{{- if eq .Values.redis.mode "bundled" -}}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "gg.redisSecret" . }}, key: password}}
- name: GATEWAY_REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ include "gg.redisName" . }}.{{ .Release.Namespace }}.svc:6379/0
{{- else if or $r.host $r.hosts -}}
{{- $scheme := ternary "rediss" "redis" $r.tls.enabled -}}
{{- $path := toString $r.database -}}
{{- $port := $r.port -}}
{{- $query := list -}}
{{- if ne $r.type "endpoint" }}{{ $scheme = printf "%s+%s" $scheme $r.type }}{{ end -}}
{{- if $r.tls.caSecret }}{{ $query = append $query "ssl_ca_certs=/etc/redis/ca.pem" }}{{ end -}}
{{- if and $r.tls.enabled (not $r.tls.checkHostname) }}{{ $query = append $query "ssl_check_hostname=false" }}{{ end -}}
{{- if eq $r.type "sentinel" -}}
{{- $path = printf "%s/%v" $r.sentinel.master $r.database -}}
{{- $port = $r.sentinel.port -}}
{{- with $r.sentinel.username }}{{ $query = append $query (printf "sentinel_username=%s" .) }}{{ end -}}
{{- if $r.sentinel.passwordSecret }}{{ $query = append $query "sentinel_password=$(SENTINEL_PASSWORD)" }}{{ end -}}
{{- end -}}
{{- $places := list -}}
{{- range $r.hosts | default (list $r.host) }}{{ $places = append $places (printf "%s:%v" . $port) }}{{ end -}}
{{- with $r.passwordSecret -}}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{ end -}}
{{- with $r.sentinel.passwordSecret -}}
- name: SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{ end -}}
- name: GATEWAY_REDIS_URL
  value: {{ $scheme }}://{{ if $r.passwordSecret }}{{ $r.username }}:$(REDIS_PASSWORD)@{{ end }}{{ join "," $places }}/{{ $path }}{{ with $query }}?{{ join "&" . }}{{ end }}
{{- else -}}
- name: GATEWAY_REDIS_URL
  valueFrom: {secretKeyRef: {{ include "gg.secretKey" (list . $r .Values.externalSecrets.redisUrl "redis-url") }}}
{{- end -}}
{{- end }}
